"""Codecs: between pixels in [-1, 1] and the latents a model works on.

`encode` answers with the posterior mean, scaled and shifted as the model was trained, so the same picture always has
the same latent. Both directions take and give float32, whatever the network inside computes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordbrush.diffusion.faults import Notes, check_items
from wordbrush.models.precision import answered, evaluating

__all__ = ["AutoencoderCodec", "Codec", "IdentityCodec", "batch_of", "pixels_of"]

TILE_CELLS = 32
"""Side of a tile in latent cells: 256 pixels for Stable Diffusion, a quarter of the memory of its native size."""


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
        autoencoder: of diffusers: AutoencoderKL, AutoencoderTiny, AutoencoderKLFlux2, AutoencoderDC, or
            AutoencoderKLQwenImage, whose pictures are films of one frame. Of AutoencoderKLQwenImage21 pictures have a
            fourth channel: what is encoded is opaque, and what is decoded lies on white.
        device: where it runs; by default where its weights are.
        tiled: work in overlapping tiles. Slower, needs less memory, and differs slightly at the seams.
    """

    def __init__(self, autoencoder: Any, *, device: torch.device | None = None, tiled: bool = False) -> None:
        config = autoencoder.config
        self.autoencoder, self.device, self.tiled = autoencoder, device or autoencoder.device, tiled
        self._film = hasattr(config, "temperal_downsample")
        self._alpha = self._film and int(getattr(config, "in_channels", 3)) == 4
        if self._film:
            side = int(getattr(config, "patch_size", None) or 1)
            self.factor, self.channels = 2 ** len(config.temperal_downsample) * side, int(config.z_dim)
        else:
            widths = getattr(config, "block_out_channels", None) or config.decoder_block_out_channels
            self.factor, self.channels = 2 ** (len(widths) - 1), int(config.latent_channels)
        self._shift, self._scale = _affine(autoencoder)
        self.notes = Notes()

    @property
    def has_tiles(self) -> bool:
        """Whether the autoencoder works in tiles; an AutoencoderTiny does where its tiles count cells as large."""
        scale = getattr(self.autoencoder, "spatial_scale_factor", self.factor)
        return hasattr(self.autoencoder, "use_tiling") and scale == self.factor

    def with_tiles(self) -> AutoencoderCodec:
        """Return a codec around the same autoencoder that works in tiles and writes to the same notes."""
        other = AutoencoderCodec(self.autoencoder, device=self.device, tiled=True)
        other.notes = self.notes
        return other

    def encode(self, pixels: Tensor) -> Tensor:
        """Turn pixels into latents: the posterior mean, `(mean - shift) * scale`, see `_affine`.

        Raises:
            NotFiniteError: pixels or latents are not finite, the latter even in float32.
        """
        mean = self._run(self._mean, check_items(pixels, "the picture to encode"), "encode")
        return (mean - _over(self._shift, mean)) * _over(self._scale, mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents into pixels: the autoencoder decodes `latents / scale + shift`.

        Raises:
            NotFiniteError: latents or pixels are not finite, the latter even in float32.
        """
        given = check_items(latents, "the latent to decode").float()
        return self._run(self._pixels, given / _over(self._scale, given) + _over(self._shift, given), "decode")

    def _mean(self, pixels: Tensor) -> Tensor:
        pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1) if self._alpha else pixels
        encoded = self.autoencoder.encode(pixels[:, :, None] if self._film else pixels)
        if hasattr(encoded, "latent_dist"):
            mean: Tensor = encoded.latent_dist.mode()
        else:
            mean = encoded.latent if hasattr(encoded, "latent") else encoded.latents
        return mean[:, :, 0] if self._film else mean

    def _pixels(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.autoencoder.decode(latents[:, :, None] if self._film else latents, return_dict=False)[0]
        pixels = pixels[:, :, 0] if self._film else pixels
        return _on_white(pixels) if self._alpha else pixels

    def _run(self, step: Callable[[Tensor], Tensor], value: Tensor, verb: str) -> Tensor:
        def call(rows: slice | Sequence[int]) -> Tensor:
            return step(value[rows].to(self.device, self.autoencoder.dtype)).to(value.device, torch.float32)

        with torch.no_grad(), evaluating(self.autoencoder), _tiles(self.autoencoder, self.factor, self.tiled):
            return answered(
                self.autoencoder, call, f"the autoencoder ({verb})", self.notes, narrow=(torch.float16, torch.bfloat16)
            )


def _on_white(pixels: Tensor) -> Tensor:
    """Lay pictures (batch, 4, height, width) in [-1, 1], opacity last, on white: (batch, 3, height, width)."""
    opacity = (pixels[:, 3:].clamp(-1, 1) + 1) / 2
    return pixels[:, :3] * opacity + (1 - opacity)


def _affine(autoencoder: Any) -> tuple[float | Tensor, float | Tensor]:
    """Return shift and scale of `latent = (mean - shift) * scale`: numbers, or tensors (1, channel, rows, columns).

    Most autoencoders have one number each; some one a channel (`latents_mean`, `latents_std`). That of FLUX.2 brings
    the 2 x 2 cells of a channel to mean 0 and variance 1 one by one, by the running figures of a batch norm over the
    channels (channel, row, column) of such patches; here they are laid out over the cells.
    """
    config, norm = autoencoder.config, getattr(autoencoder, "bn", None)
    if norm is not None:
        spread = (norm.running_var.float() + float(config.batch_norm_eps)).sqrt()
        return norm.running_mean.float().reshape(1, -1, 2, 2), (1 / spread).reshape(1, -1, 2, 2)
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    factor = float(getattr(config, "scaling_factor", None) or 1.0)
    if mean is None or std is None:
        return float(getattr(config, "shift_factor", None) or 0.0), factor
    shift, spread = (torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1) for values in (mean, std))
    return shift, factor / spread


def _over(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Return a number as it is, a pattern of cells repeated over latents (batch, channel, height, width)."""
    if not isinstance(value, Tensor):
        return value
    rows, columns = value.shape[2:]
    return value.to(like).repeat(1, 1, like.shape[2] // rows, like.shape[3] // columns)


_TILE = re.compile("tile_(latent|sample)_(min|stride)_(size|height|width)")


@contextmanager
def _tiles(autoencoder: Any, factor: int, tiled: bool) -> Iterator[None]:
    """Switch tiling on inside the block, with tiles small enough to help at a model's native size."""
    if not tiled:
        yield
        return
    before = {name: value for name, value in vars(autoencoder).items() if name == "use_tiling" or _TILE.fullmatch(name)}
    autoencoder.enable_tiling()
    for name in before.keys() - {"use_tiling"}:
        side = TILE_CELLS * (factor if "sample" in name else 1)
        setattr(autoencoder, name, side * 3 // 4 if "stride" in name else side)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(autoencoder, name, value)
