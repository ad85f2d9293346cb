"""Digests of weights: the same weights have the same digest, whatever order or place they are read from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.weights import plain_tensors

if TYPE_CHECKING:
    from torch import nn

__all__ = ["digest_digests", "digest_files", "digest_modules", "file_digest"]

_KNOWN: dict[tuple[str, int, int], str] = {}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read as a stream; remembered while path, size and time stay."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _KNOWN:
        with path.open("rb") as file:
            _KNOWN[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _KNOWN[key]


def digest_files(files: Mapping[str, Path]) -> str:
    """Return one digest over several weight files.

    Args:
        files: name within the checkpoint, as in `unet/diffusion_pytorch_model.safetensors`, to path.

    Returns:
        For one file its own SHA-256; for more, the SHA-256 of the sorted lines "name sha256".
    """
    return digest_digests({name: file_digest(path) for name, path in files.items()})


def digest_digests(digests: Mapping[str, str]) -> str:
    """Return one digest over several, by name: for one itself, for more as `digest_files` does."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = sorted(f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_modules(modules: Mapping[str, nn.Module]) -> str:
    """Return a digest over the weights of modules in memory: their names, shapes, dtypes and bytes.

    Raises:
        ModelError: weights are not in memory (sequential offload), so there is nothing to take a digest of.
    """
    import torch

    total = hashlib.sha256()
    for component, module in sorted(modules.items()):
        for name, value in sorted(module.state_dict().items()):
            if value.is_meta:
                raise ModelError(
                    f"weight {name!r} of the {component} is offloaded: use enable_model_cpu_offload() instead of "
                    "enable_sequential_cpu_offload(), or none"
                )
            total.update(f"{component} {name} {tuple(value.shape)} {value.dtype}\n".encode())
            for plain in plain_tensors(value):
                total.update(plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
