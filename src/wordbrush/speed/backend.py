"""Backends: what computes a model's networks, torch or a library that takes them over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.diffusion.denoiser import NetworkDenoiser
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.devices import resolve_device, resolve_dtype
from wordbrush.models.network import ModuleNetwork

if TYPE_CHECKING:
    from wordbrush.models.model import Model

__all__ = ["OPENVINO", "TORCH", "backend_version", "loading", "on_backend"]

OPENVINO, TORCH = "openvino", "torch"


def backend_version(backend: str) -> str:
    """Return the installed version of a backend.

    Raises:
        SettingsError: there is no such backend, or its package is not installed.
    """
    if backend != OPENVINO:
        raise SettingsError(f"backend {backend!r} is unknown: use {OPENVINO} or {TORCH}")
    try:
        return version(OPENVINO)
    except PackageNotFoundError:
        raise SettingsError("backend openvino needs a package: pip install 'wordbrush[openvino]'") from None


def loading(backend: str | None, source: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `load_model` for a backend: OpenVINO runs float32 on the CPU.

    Raises:
        SettingsError: there is no such backend here, or a keyword contradicts it; the message names the keyword.
    """
    if backend is None or backend == TORCH:
        return dict(keywords)
    backend_version(backend)
    if not isinstance(source, str | Path):
        raise SettingsError(f"backend {backend} changes networks; a loaded pipeline is used as it is: give its folder")
    device, dtype, offload = (keywords.get(name) for name in ("device", "dtype", "offload"))
    if device is not None and resolve_device(device).type != "cpu":
        raise SettingsError(f"backend {backend} runs on the CPU: leave --device {device} (device=) or the backend out")
    cpu = resolve_device("cpu")
    if dtype is not None and str(resolve_dtype(dtype, cpu)) != "torch.float32":
        raise SettingsError(f"backend {backend} computes in float32: leave --dtype {dtype} (dtype=) or the backend out")
    if offload is not None:
        raise SettingsError(f"backend {backend} cannot offload: leave --offload {offload} (offload=) out")
    return {**keywords, "device": "cpu", "dtype": "float32"}


def on_backend(model: Model, backend: str | None) -> Model:
    """Hand a model's denoising network and the decoder of its autoencoder to a backend.

    The modules are changed: they are called as before, and what answers is the backend. Each is converted when it is
    first called, or taken from the cache, and torch's weights of it are given up where it serves all sizes.

    Args:
        model: loaded as `loading` says.
        backend: None and `torch` leave the model as it is.

    Raises:
        ModelError: a network has quantised weights, or the model is not of diffusers networks; the message names it.
        SettingsError: the model is not in float32 on the CPU, or the backend is not here.
    """
    if backend is None or backend == TORCH:
        return model
    backend_version(backend)
    if model.device.type != "cpu" or str(model.dtype) != "torch.float32":
        raise SettingsError(f"backend {backend} takes float32 on the CPU, not {model.dtype} on {model.device}")
    network = model.denoiser.network if isinstance(model.denoiser, NetworkDenoiser) else None
    if not isinstance(network, ModuleNetwork):
        raise ModelError(f"backend {backend} takes networks of diffusers; of this model {model.denoiser!r} is none")
    from wordbrush.speed.openvino import take_over

    parts = {"denoising network": (network.module, network.module.config)}
    if isinstance(model.codec, AutoencoderCodec):
        autoencoder = model.codec.autoencoder
        parts["decoder of the autoencoder"] = (autoencoder.decoder, autoencoder.config)
    for part, (module, _) in parts.items():
        if getattr(module, "is_quantized", False):
            raise ModelError(f"backend {backend} takes no quantised weights: those of the {part} are; load it in full")
    for part, (module, config) in parts.items():
        take_over(module, part, model.identity, str(config))
    return replace(model, identity=replace(model.identity, backend=backend))
