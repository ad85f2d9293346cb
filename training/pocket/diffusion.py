"""The training objective on cached latents: random captions, random levels, v-prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .unet import new_scheduler

_ALPHAS = new_scheduler().alphas_cumprod
LEVEL_POWER = 0.8
"""Levels are 1000 u^power for uniform u: below 1 the noisy ones come more often."""

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


class Corpus:
    """Memory-mapped latents (scene, 8, 16, 16) with the tokens of several captions a scene."""

    def __init__(self, latents: Path, seed: int) -> None:
        """Open ``NAME.npy`` and ``NAME-tokens.npy``."""
        self._latents = np.load(latents, mmap_mode="r")
        self._tokens = np.load(latents.with_name(f"{latents.stem}-tokens.npy"))
        self._seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        empty = self._tokens[0, 0].copy()
        empty[1:] = empty[-1]  # start, then only the end token, which also pads
        self.empty = empty
        self.refresh()

    def refresh(self) -> None:
        """Look which scenes are encoded by now: encoding may still be at work beside the training."""
        self._ready = np.flatnonzero(self._latents[:, 0, 0].any(1))

    def __len__(self) -> int:
        """Return the number of encoded scenes."""
        return len(self._ready)

    def skip(self, step: int) -> None:
        """Continue with fresh random numbers at `step` of a resumed run."""
        if step:
            self.generator.manual_seed(self._seed * 1_000_003 + step)

    def rows(self, chosen: np.ndarray, caption: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return latents and tokens of the chosen scenes and captions."""
        latents = torch.from_numpy(self._latents[chosen].astype(np.float32))
        return latents, torch.from_numpy(self._tokens[chosen, caption].astype(np.int64))

    def batch(self, size: int, dropout: float) -> tuple[Tensor, Tensor]:
        """Return random latents and tokens; a share `dropout` of the captions is empty."""
        chosen = self._ready[torch.randint(len(self), (size,), generator=self.generator).numpy()]
        caption = torch.randint(self._tokens.shape[1], (size,), generator=self.generator).numpy()
        latents, tokens = self.rows(chosen, caption)
        dropped = torch.rand(size, generator=self.generator) < dropout
        tokens[dropped] = torch.from_numpy(self.empty.astype(np.int64))
        return latents, tokens


def _error(predict: Predict, latents: Tensor, tokens: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    signal = _ALPHAS[level].sqrt().view(-1, 1, 1, 1)
    spread = (1 - _ALPHAS[level]).sqrt().view(-1, 1, 1, 1)
    noised = (signal * latents + spread * noise).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        made = predict(noised, level, tokens)
    error: Tensor = (made.float() - (signal * noise - spread * latents)).square().mean((1, 2, 3))
    return error


def v_loss(predict: Predict, latents: Tensor, tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean squared error of v at random levels; latents (batch, 8, 16, 16), tokens (batch, position)."""
    uniform = torch.rand(len(latents), generator=generator)
    level = (uniform**LEVEL_POWER * len(_ALPHAS)).long().clamp(max=len(_ALPHAS) - 1)
    noise = torch.randn(latents.shape, generator=generator)
    return _error(predict, latents, tokens, level, noise).mean()


@torch.no_grad()
def held_out_loss(predict: Predict, corpus: Corpus, count: int = 192) -> float:
    """Return the v error over the first `count` scenes at evenly spread levels and fixed noises."""
    generator = torch.Generator().manual_seed(11)
    total = 0.0
    for start in range(0, count, 48):
        chosen = np.arange(start, start + 48)
        latents, tokens = corpus.rows(chosen, np.zeros_like(chosen))
        level = torch.linspace(20, 979, 48).long()
        noise = torch.randn(latents.shape, generator=generator)
        total += float(_error(predict, latents, tokens, level, noise).sum())
    return total / count
