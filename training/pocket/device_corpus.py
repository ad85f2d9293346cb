"""Training data made where it is used: scenes drawn, and for the denoiser encoded, on the training's own device."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .compose import DeviceScenes
from .diffusion import Batch
from .precision import autocast
from .render import SIZE
from .train_vae import Source

_BLOCK = 256


def picture_source(scenes: DeviceScenes, batch: int, side: int) -> Source:
    """Return a source of random crops of that side, at one corner a batch, with their silhouettes."""

    def source(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = scenes.draw(torch.from_numpy(rng.integers(len(scenes), size=batch)).to(scenes.device))
        y, x = rng.integers(SIZE - side + 1, size=2)
        return drawn.pictures[..., y : y + side, x : x + side], drawn.inside[..., y : y + side, x : x + side]

    return source


class DeviceCorpus:
    """Random scenes of a table as latents, tokens and class maps: encoded once, in half precision, on the device."""

    def __init__(self, scenes: DeviceScenes, vae: AutoencoderKL, scale: float, empty: Tensor, seed: int) -> None:
        """Draw and encode every scene on the scenes' device; `empty` (position,) is the tokens of the empty caption."""
        self._scenes, self._seed = scenes, seed
        self._empty = empty.to(scenes.device)
        self.generator = torch.Generator(scenes.device).manual_seed(seed)
        vae = vae.to(scenes.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        latents, classes = [], []
        with torch.no_grad(), autocast(scenes.device):
            for rows in torch.split(torch.arange(len(scenes), device=scenes.device), _BLOCK):
                drawn = scenes.draw(rows)
                pictures = drawn.pictures.contiguous(memory_format=torch.channels_last)
                latents.append((vae.encode(pictures).latent_dist.mean.float() * scale).half())
                classes.append(drawn.classes.byte())
        self._latents, self._classes = torch.cat(latents), torch.cat(classes)

    def skip(self, step: int) -> None:
        """Continue with fresh random numbers at `step` of a resumed run."""
        if step:
            self.generator.manual_seed(self._seed * 1_000_003 + step)

    def refresh(self) -> None:
        """Nothing comes later: every scene of the table is there."""

    def batch(self, size: int, dropout: float) -> Batch:
        """Return random scenes; a share `dropout` of the captions is empty."""
        device, generator = self._scenes.device, self.generator
        rows = torch.randint(len(self._scenes), (size,), generator=generator, device=device)
        caption = torch.randint(self._scenes.captions, (size,), generator=generator, device=device)
        dropped = torch.rand(size, generator=generator, device=device) < dropout
        tokens = torch.where(dropped[:, None], self._empty, self._scenes.tokens(rows, caption))
        return Batch(self._latents[rows].float(), tokens, self._classes[rows])
