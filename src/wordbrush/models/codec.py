"""Codecs: between pixels in [-1, 1] and the latents a model works on.

`encode` answers with the posterior mean, scaled and shifted as the model was trained, so the same picture always has
the same latent. Both directions take and give float32, whatever the network inside computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordbrush.diffusion.faults import check_items, items_not_finite

__all__ = ["AutoencoderCodec", "Codec", "IdentityCodec", "Notes", "batch_of", "pixels_of"]

TILE_CELLS = 32
"""Side of a tile in latent cells: 256 pixels for Stable Diffusion, a quarter of the memory of its native size."""


class Notes:
    """Notes on fallbacks (tiles, another precision), each once, until a caller takes them for its report."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()

    def add(self, text: str) -> None:
        """Remember `text`, unless it is there."""
        if text not in self.texts:
            self.texts = (*self.texts, text)

    def take(self) -> tuple[str, ...]:
        """Return the notes and start afresh, so that the next run's notes are its own."""
        taken, self.texts = self.texts, ()
        return taken


class Codec(Protocol):
    """Maps pixels to latents and back."""

    @property
    def notes(self) -> Notes:
        """Fallbacks since the notes were last taken."""
        ...

    @property
    def factor(self) -> int:
        """Pixels per latent cell, along each side."""
        ...

    @property
    def channels(self) -> int:
        """Latent channels."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Turn pixels (batch, 3, height, width) in [-1, 1] into latents (batch, channel, height/f, width/f)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents (batch, channel, height, width) into pixels (batch, 3, height*f, width*f), about [-1, 1]."""
        ...


def batch_of(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (height, width, 3) bytes into a batch of one: (1, 3, height, width), float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1


def pixels_of(decoded: Tensor) -> NDArray[np.uint8]:
    """Turn (3, height, width) in [-1, 1] into (height, width, 3) bytes."""
    scaled = ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().contiguous().numpy()


class IdentityCodec:
    """Pixels are the latents: for models that work on pixels, and for tests."""

    factor = 1
    channels = 3

    def __init__(self) -> None:
        self.notes = Notes()

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the pixels as float32."""
        return pixels.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Return the latents as float32."""
        return latents.float()


class AutoencoderCodec:
    """A diffusers autoencoder behind the protocol. The autoencoder is used in place and left as it was.

    A half-precision pass that gives any value that is not finite is done again in float32, for the items it happened
    to and for no others, and `notes` says so.

    Args:
        autoencoder: an AutoencoderKL, or an AutoencoderTiny.
        device: where it runs; by default where its weights are.
        tiled: work in overlapping tiles. Slower, needs less memory, and differs slightly at the seams.
    """

    def __init__(self, autoencoder: Any, *, device: torch.device | None = None, tiled: bool = False) -> None:
        config = autoencoder.config
        self.autoencoder, self.device, self.tiled = autoencoder, device or autoencoder.device, tiled
        widths = getattr(config, "block_out_channels", None) or config.decoder_block_out_channels
        self.factor = 2 ** (len(widths) - 1)
        self.channels = int(config.latent_channels)
        self._scale = float(getattr(config, "scaling_factor", None) or 1.0)
        self._shift = float(getattr(config, "shift_factor", None) or 0.0)
        self.notes = Notes()

    def with_tiles(self) -> AutoencoderCodec:
        """Return a codec around the same autoencoder that works in tiles and writes to the same notes."""
        other = AutoencoderCodec(self.autoencoder, device=self.device, tiled=True)
        other.notes = self.notes
        return other

    def encode(self, pixels: Tensor) -> Tensor:
        """Turn pixels into latents: the posterior mean, `(mean - shift) * scale`.

        Raises:
            NotFiniteError: pixels or latents are not finite, the latter even in float32.
        """
        mean = self._run(self._mean, check_items(pixels, "the picture to encode"), "encode")
        return (mean - self._shift) * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents into pixels: the autoencoder decodes `latents / scale + shift`.

        Raises:
            NotFiniteError: latents or pixels are not finite, the latter even in float32.
        """
        plain = check_items(latents, "the latent to decode").float() / self._scale + self._shift
        return self._run(self._pixels, plain, "decode")

    def _mean(self, pixels: Tensor) -> Tensor:
        encoded = self.autoencoder.encode(pixels)
        mean: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return mean

    def _pixels(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.autoencoder.decode(latents, return_dict=False)[0]
        return pixels

    def _run(self, step: Callable[[Tensor], Tensor], value: Tensor, verb: str) -> Tensor:
        dtype = self.autoencoder.dtype
        with torch.no_grad(), evaluating(self.autoencoder), _tiles(self.autoencoder, self.factor, self.tiled):
            result = step(value.to(self.device, dtype)).to(value.device, torch.float32)
            bad = items_not_finite(result)
            if bad and dtype != torch.float32:
                note = f"{verb} overflowed in {str(dtype).removeprefix('torch.')} and was done again in float32"
                self.notes.add(note)
                with _dtype(self.autoencoder, torch.float32):
                    result[bad] = step(value[bad].to(self.device, torch.float32)).to(result.device)
        return check_items(result, f"the autoencoder ({verb})")


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Run `module` without dropout inside the block, whatever mode its owner has it in."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _dtype(module: Any, dtype: torch.dtype) -> Iterator[None]:
    """Hold `module` in a wider dtype; going back to the narrow one restores its values exactly."""
    before = module.dtype
    nn.Module.to(module, dtype=dtype)  # diffusers' own would log a caution about the dtype
    try:
        yield
    finally:
        nn.Module.to(module, dtype=before)


@contextmanager
def _tiles(autoencoder: Any, factor: int, tiled: bool) -> Iterator[None]:
    """Switch tiling on inside the block, with tiles small enough to help at a model's native size."""
    names = ("use_tiling", "tile_latent_min_size", "tile_sample_min_size")
    before = {name: getattr(autoencoder, name) for name in names if hasattr(autoencoder, name)}
    if not tiled or len(before) < len(names):
        yield
        return
    autoencoder.enable_tiling()
    autoencoder.tile_latent_min_size = TILE_CELLS
    autoencoder.tile_sample_min_size = TILE_CELLS * factor
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(autoencoder, name, value)
