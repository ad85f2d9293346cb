"""An autoencoder that a user gives beside a checkpoint: a folder in diffusers layout, or one safetensors file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.layout import choose_weights, list_files, read_json, whole_files
from wordbrush.models.checkpoint.networks import check_loaded, load_network, surplus_note, translated
from wordbrush.models.checkpoint.quantised import quantised_note
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_stored
from wordbrush.models.checkpoint.weights import read_header, read_state
from wordbrush.models.family import PartSpec
from wordbrush.models.header import TensorEntry
from wordbrush.models.refused import groups

if TYPE_CHECKING:
    import torch

__all__ = ["Autoencoder", "find_vae", "load_vae", "vae_of_file"]

_CLASS = "AutoencoderKL"
_SCALE = 0.18215
"""What AutoencoderKL scales by where its configuration does not say."""

_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_FIRST = re.compile(r"((?:.*\.)?)decoder\.conv_in\.weight")


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder given beside a checkpoint.

    Attributes:
        module: ready to run.
        files: its weight files, for the digest, by name.
        notes: what a user should know about it.
    """

    module: Any
    files: Mapping[str, Path]
    notes: tuple[str, ...] = ()


def find_vae(names: Iterable[str]) -> str | None:
    """Return what the names of an autoencoder's tensors begin with in a file, or None where there is no whole one."""
    every = set(names)
    found = (match[1] for match in map(_FIRST.fullmatch, sorted(every)) if match)
    return next((prefix for prefix in found if f"{prefix}encoder.conv_in.weight" in every), None)


def load_vae(path: Path, spec: PartSpec, usual: Mapping[str, Any], dtype: torch.dtype) -> Autoencoder:
    """Load an autoencoder.

    Args:
        path: a folder with its config.json, a checkpoint folder with such a folder `vae`, or a safetensors file.
        spec: what it must be.
        usual: the configuration of the checkpoint's own; a single file carries none and gets this one.
        dtype: of the network.

    Raises:
        UnsafeWeightsError: it is only there as a pickle.
        ModelError: there is no such thing, it is damaged, or it is for other latents than the checkpoint's.
    """
    if path.is_dir():
        return _from_folder(path, spec, usual, dtype)
    where = f"VAE {path.name}"
    tensors = read_header(path).tensors
    prefix = find_vae(tensors)
    if prefix is None:
        raise ModelError(f"{where} holds no autoencoder (decoder.conv_in and encoder.conv_in); {groups(tensors)}")
    if usual.get("_class_name", _CLASS) != _CLASS:
        raise ModelError(f"{where}: the checkpoint's own is an {usual['_class_name']}; give the VAE as a folder")
    module, notes = vae_of_file(path, prefix, tensors, usual, dtype, where)
    return Autoencoder(module, {"vae": path}, notes)


def vae_of_file(
    path: Path,
    prefix: str,
    tensors: Mapping[str, TensorEntry],
    config: Mapping[str, Any],
    dtype: torch.dtype,
    where: str,
    advice: str = "",
) -> tuple[Any, tuple[str, ...]]:
    """Load the autoencoder in a safetensors file, under original or diffusers names that begin with `prefix`.

    Returns:
        The autoencoder, ready to run, and what a user should know about it.

    Raises:
        ModelError: it does not fit its configuration, or is damaged.
    """
    names = {name.removeprefix(prefix): name for name in tensors if name.startswith(tuple(prefix + p for p in _PARTS))}
    own = {name: tensors[there] for name, there in names.items()}
    check_stored(own, where)
    check_network(config, f"{where}: the VAE's configuration", own)
    shape = own["decoder.conv_in.weight"].shape
    if len(shape) != 4 or shape[1] != int(config.get("latent_channels", 4)):
        raise ModelError(f"{where}: the autoencoder is made for other latents ({shape[1:2]}) than the network")
    with quiet(), TemporaryDirectory(prefix="wordbrush-") as scratch:
        from diffusers import AutoencoderKL

        folder = Path(scratch, "vae")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, "_class_name": _CLASS}), encoding="utf-8")
        with translated(f"{where}: the autoencoder does not fit its configuration", advice):
            module = AutoencoderKL.from_single_file(
                read_state(path, names), config=scratch, subfolder="vae", local_files_only=True, torch_dtype=dtype
            )
    surplus = len(own) - len(module.state_dict())
    return check_loaded(module, f"{where}: vae"), surplus_note(surplus, f"{where}: vae")


def _from_folder(path: Path, spec: PartSpec, usual: Mapping[str, Any], dtype: torch.dtype) -> Autoencoder:
    folder = path / "vae" if (path / "vae" / "config.json").is_file() else path.resolve()
    where = f"VAE {path.name}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"{where}: config.json is missing, so it is no autoencoder in diffusers layout")
    config = read_json(folder / "config.json", where)
    kind = config.get("_class_name")
    if kind not in spec.classes:
        raise ModelError(f"{where} is of the class {kind!r}, not {' or '.join(spec.classes)}")
    names = [f"{folder.name}/{name}" for name in list_files(folder)]
    weights = choose_weights(names, folder.name, spec.weights, where, prefer_half=str(dtype) == "torch.float16")
    files = {f"vae/{Path(name).name}": folder.parent / name for name in whole_files(folder.parent, weights, where)}
    tensors = {name: entry for file in files.values() for name, entry in read_header(file).tensors.items()}
    check_network(config, f"{where}: config.json", tensors, quantised=True)
    check_stored(tensors, where, config)
    ours, theirs = (int(table.get("latent_channels", 4)) for table in (config, usual))
    if ours != theirs:
        raise ModelError(f"{where} has {ours} latent channels and this model {theirs}: it is made for other models")
    with quiet():
        module, notes = load_network(spec.library, str(kind), folder.parent, folder.name, weights.variant, dtype, where)
    told = (*_other_scale(config, usual, where), *quantised_note(config, where))
    return Autoencoder(module, files, (*notes, *told))


def _other_scale(config: Mapping[str, Any], usual: Mapping[str, Any], where: str) -> tuple[str, ...]:
    ours, theirs = (float(table.get("scaling_factor") or _SCALE) for table in (config, usual))
    if abs(ours - theirs) < 1e-6:
        return ()
    return (f"{where} scales latents by {ours:g} and the checkpoint's own by {theirs:g}: it is made for other models",)
