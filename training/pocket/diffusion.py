"""The training objective on cached latents: random captions, random levels, v-prediction, and the truth head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .precision import autocast
from .truth_head import truth_loss
from .unet import new_scheduler

_ALPHAS = new_scheduler().alphas_cumprod
LEVEL_POWER = 0.8
"""Levels are 1000 u^power for uniform u: below 1 the noisy ones come more often."""
TRUTH_NOISE = 0.9
"""The truth head is asked below this share of noise only: above it nothing is to be seen yet."""

Predict = Callable[..., Any]
"""Called with noised latents, levels and tokens: returns v; with ``truth=True`` as well: v and the head's logits."""


@dataclass(frozen=True)
class Batch:
    """Latents (batch, channel, row, column), tokens (batch, position), class maps (batch, row, column) if known."""

    latents: Tensor
    tokens: Tensor
    classes: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        classes = None if self.classes is None else self.classes.to(device)
        return Batch(self.latents.to(device), self.tokens.to(device), classes)


class Examples(Protocol):
    """Where training examples come from; the random numbers are those of `generator`, on the examples' device."""

    generator: torch.Generator

    def skip(self, step: int) -> None:
        """Continue with fresh random numbers at `step` of a resumed run."""
        ...

    def refresh(self) -> None:
        """Look for examples that have come since."""
        ...

    def batch(self, size: int, dropout: float) -> Batch:
        """Return random examples; a share `dropout` of the captions is empty."""
        ...


class Corpus:
    """Memory-mapped latents (scene, channel, 16, 16) with the tokens of several captions and the class map a scene."""

    def __init__(self, latents: Path, seed: int) -> None:
        """Open ``NAME.npy``, ``NAME-tokens.npy`` and, if it is there, ``NAME-classes.npy``."""
        self._latents = np.load(latents, mmap_mode="r")
        self._tokens = np.load(latents.with_name(f"{latents.stem}-tokens.npy"))
        classes = latents.with_name(f"{latents.stem}-classes.npy")
        self._classes = np.load(classes, mmap_mode="r") if classes.is_file() else None
        self._seed = seed
        self.channels = int(self._latents.shape[1])
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

    def rows(self, chosen: NDArray[np.int64], caption: NDArray[np.int64]) -> Batch:
        """Return the chosen scenes with the chosen captions."""
        latents = torch.from_numpy(self._latents[chosen].astype(np.float32))
        tokens = torch.from_numpy(self._tokens[chosen, caption].astype(np.int64))
        return Batch(latents, tokens, None if self._classes is None else torch.from_numpy(self._classes[chosen]))

    def batch(self, size: int, dropout: float) -> Batch:
        """Return random scenes; a share `dropout` of the captions is empty."""
        chosen = self._ready[torch.randint(len(self), (size,), generator=self.generator).numpy()]
        caption = torch.randint(self._tokens.shape[1], (size,), generator=self.generator).numpy()
        batch = self.rows(chosen, caption)
        dropped = torch.rand(size, generator=self.generator) < dropout
        batch.tokens[dropped] = torch.from_numpy(self.empty.astype(np.int64))
        return batch


class Process(Protocol):
    """How latents are noised and what is predicted: of diffusion, or of a rectified flow."""

    even: Tensor
    """48 levels spread evenly, at which the held-out error is measured."""

    def draw(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Return random levels (batch,) for training."""
        ...

    def noised(self, batch: Batch, level: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noised latents and what is to be predicted for them."""
        ...

    def visible(self, level: Tensor) -> Tensor:
        """Whether objects can be seen at the levels, so that the truth head may be asked."""
        ...


class Diffusion:
    """Stable Diffusion's noise schedule and v."""

    even = torch.linspace(20, 979, 48).long()

    def draw(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Return random levels; see `Process`."""
        uniform = torch.rand(count, generator=generator, device=device)
        return (uniform**LEVEL_POWER * len(_ALPHAS)).long().clamp(max=len(_ALPHAS) - 1)

    def noised(self, batch: Batch, level: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noised latents and their v."""
        alphas = _ALPHAS.to(level.device)[level].view(-1, 1, 1, 1)
        signal, spread = alphas.sqrt(), (1 - alphas).sqrt()
        noised = (signal * batch.latents + spread * noise).contiguous(memory_format=torch.channels_last)
        return noised, signal * noise - spread * batch.latents

    def visible(self, level: Tensor) -> Tensor:
        """Whether the share of noise is below `TRUTH_NOISE`."""
        noise: Tensor = (1 - _ALPHAS.to(level.device)[level]).sqrt()
        return noise < TRUTH_NOISE


DIFFUSION = Diffusion()


def v_loss(
    predict: Predict, batch: Batch, generator: torch.Generator, truth: float = 0.0, process: Process = DIFFUSION
) -> tuple[Tensor, Tensor]:
    """Return the training loss at random levels, and the mean squared error of the prediction in it.

    The loss is that error plus `truth` times the truth head's cross-entropy over the less noisy examples. The
    generator must live on the latents' device.
    """
    latents = batch.latents
    device = latents.device
    level = process.draw(len(latents), generator, device)
    noised, v = process.noised(batch, level, torch.randn(latents.shape, generator=generator, device=device))
    asked = truth > 0 and batch.classes is not None
    with autocast(device):
        out = predict(noised, level, batch.tokens, truth=True) if asked else predict(noised, level, batch.tokens)
    made, logits = out if asked else (out, None)
    error = (made.float() - v).square().mean()
    if logits is None or batch.classes is None:
        return error, error.detach()
    return error + truth * truth_loss(logits, batch.classes, process.visible(level)), error.detach()


@torch.no_grad()
def held_out_loss(
    predict: Predict,
    corpus: Corpus,
    count: int = 192,
    device: torch.device | None = None,
    process: Process = DIFFUSION,
) -> float:
    """Return the error over the first `count` scenes, or all, in 48s, at evenly spread levels and fixed noises."""
    generator = torch.Generator().manual_seed(11)
    device = device or torch.device("cpu")
    total = 0.0
    count = min(count, len(corpus) // 48 * 48)
    for start in range(0, count, 48):
        chosen = np.arange(start, start + 48)
        batch = corpus.rows(chosen, np.zeros_like(chosen)).to(device)
        noise = torch.randn(batch.latents.shape, generator=generator).to(device)
        level = process.even.to(device)
        noised, v = process.noised(batch, level, noise)
        with autocast(device):
            made = predict(noised, level, batch.tokens)
        total += float((made.float() - v).square().mean((1, 2, 3)).sum())
    return total / count
