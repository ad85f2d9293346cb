"""The autoencoder in a safetensors file, under its authors' names or those of diffusers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.networks import check_loaded, surplus_note, translated
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_stored
from wordbrush.models.checkpoint.weights import read_state
from wordbrush.models.header import TensorEntry

if TYPE_CHECKING:
    import torch

__all__ = ["find_vae", "vae_of_file"]

_CLASS = "AutoencoderKL"
_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_FIRST = re.compile(r"((?:.*\.)?)decoder\.conv_in\.weight")


def find_vae(names: Iterable[str]) -> str | None:
    """Return what the names of an autoencoder's tensors begin with in a file, or None where there is no whole one."""
    every = set(names)
    found = (match[1] for match in map(_FIRST.fullmatch, sorted(every)) if match)
    return next((prefix for prefix in found if f"{prefix}encoder.conv_in.weight" in every), None)


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
