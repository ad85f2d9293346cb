"""Backends: what computes a model's networks: torch, torch's compiler, or a library that takes them over."""

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

__all__ = ["COMPILE", "OPENVINO", "PACKAGES", "TORCH", "check_backend", "loading", "on_backend"]

COMPILE, OPENVINO, TORCH = "compile", "openvino", "torch"

PACKAGES = {COMPILE: "torch", OPENVINO: "openvino"}
"""The package of each backend that networks are handed to."""


def check_backend(backend: str) -> None:
    """Refuse a backend that networks cannot be handed to here.

    Raises:
        SettingsError: there is no such backend, or its package is not installed.
    """
    if backend not in PACKAGES:
        raise SettingsError(f"backend {backend!r} is unknown: use {TORCH}, {COMPILE} or {OPENVINO}")
    try:
        version(PACKAGES[backend])
    except PackageNotFoundError:
        raise SettingsError(f"backend {backend} needs a package: pip install 'wordbrush[{backend}]'") from None


def loading(backend: str | None, source: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `load_model` for a backend: OpenVINO runs float32 on the CPU.

    Raises:
        SettingsError: there is no such backend here, or a keyword contradicts it; the message names the keyword.
    """
    if backend is None or backend == TORCH:
        return dict(keywords)
    check_backend(backend)
    if not isinstance(source, str | Path):
        raise SettingsError(f"backend {backend} changes networks; a loaded pipeline is used as it is: give its folder")
    device, dtype, offload = (keywords.get(name) for name in ("device", "dtype", "offload"))
    if offload is not None:
        raise SettingsError(f"backend {backend} cannot offload: leave --offload {offload} (offload=) out")
    if backend == COMPILE:
        return dict(keywords)
    if device is not None and resolve_device(device).type != "cpu":
        raise SettingsError(f"backend {backend} runs on the CPU: leave --device {device} (device=) or the backend out")
    cpu = resolve_device("cpu")
    if dtype is not None and str(resolve_dtype(dtype, cpu)) != "torch.float32":
        raise SettingsError(f"backend {backend} computes in float32: leave --dtype {dtype} (dtype=) or the backend out")
    return {**keywords, "device": "cpu", "dtype": "float32"}


def on_backend(model: Model, backend: str | None) -> Model:
    """Hand a model's denoising network and the decoder of its autoencoder to a backend.

    The modules are changed: they are called as before, and what answers is the backend. Each is converted or compiled
    when it is first called. OpenVINO takes conversions from its cache, and gives up torch's weights of what serves all
    sizes.

    Args:
        model: loaded as `loading` says.
        backend: None and `torch` leave the model as it is.

    Raises:
        ModelError: a network has quantised weights, or the model is not of diffusers networks; the message names it.
        SettingsError: the backend does not compute in the model's dtype or on its device, or is not here.
    """
    if backend is None or backend == TORCH:
        return model
    check_backend(backend)
    if backend == OPENVINO and (model.device.type != "cpu" or str(model.dtype) != "torch.float32"):
        raise SettingsError(f"backend {backend} takes float32 on the CPU, not {model.dtype} on {model.device}")
    if model.device.type not in {"cuda", "cpu"}:
        raise SettingsError(f"backend {backend} runs on CUDA and the CPU, not on {model.device} (--device, device=)")
    network = model.denoiser.network if isinstance(model.denoiser, NetworkDenoiser) else None
    if not isinstance(network, ModuleNetwork):
        raise ModelError(f"backend {backend} takes networks of diffusers; of this model {model.denoiser!r} is none")
    parts = {"denoising network": (network.module, network.module.config, network.notes)}
    if isinstance(model.codec, AutoencoderCodec):
        autoencoder = model.codec.autoencoder
        parts["decoder of the autoencoder"] = (autoencoder.decoder, autoencoder.config, model.codec.notes)
    for part, (module, _, _) in parts.items():
        if getattr(module, "is_quantized", False):
            raise ModelError(f"backend {backend} takes no quantised weights: those of the {part} are; load it in full")
    if backend == COMPILE:
        from wordbrush.speed import compiled

        for part, (module, _, notes) in parts.items():
            compiled.take_over(module, part, notes)
    else:
        from wordbrush.speed import openvino

        for part, (module, config, _) in parts.items():
            openvino.take_over(module, part, model.identity, str(config))
    return replace(model, identity=replace(model.identity, backend=backend))
