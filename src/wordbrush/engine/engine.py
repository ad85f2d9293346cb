"""The engine: a model and how it is run - batch limits, counting, prompts encoded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.contrast import differences, disagreement
from wordbrush.diffusion.denoiser import Conditioning, Counted, Denoiser, Guided
from wordbrush.diffusion.schedule import Level, depth_of
from wordbrush.diffusion.solvers import SOLVERS, Solver
from wordbrush.engine.memory import Chunked, ChunkedCodec

if TYPE_CHECKING:
    from wordbrush.models.model import Model, Prompt
    from wordbrush.settings import Settings

__all__ = ["Engine"]

PROMPTS_KEPT = 256


class Engine:
    """Runs one model.

    Args:
        model: the checkpoint.
        batch_limit: most rows in one network call; by default 8 on a CPU and 16 elsewhere.
        mix_items: whether rows of different items may share a call. By default not on a CPU, where it gains nothing:
            an item's result is then bit for bit the same whatever its mates.
    """

    def __init__(self, model: Model, *, batch_limit: int | None = None, mix_items: bool | None = None) -> None:
        on_cpu = torch.device(model.device).type == "cpu"
        self.model = model
        self.batch_limit = batch_limit or (8 if on_cpu else 16)
        self.mix_items = (not on_cpu) if mix_items is None else mix_items
        self.chunked = Chunked(model.denoiser, self.batch_limit)
        self.denoiser = Counted(self.chunked)
        self.codec = ChunkedCodec(model.codec)
        self._prompts: OrderedDict[tuple[str, int], Prompt] = OrderedDict()
        self._prompts_lock = threading.Lock()

    def prompt(self, text: str, settings: Settings) -> Prompt:
        """Encode a text, or take it from the cache. Threads take turns."""
        key = (text, settings.clip_skip)
        with self._prompts_lock:  # held while encoding: a tokenizer serves one thread at a time
            if key not in self._prompts:
                self._prompts[key] = self.model.text.encode([text], clip_skip=settings.clip_skip)[0]
                if len(self._prompts) > PROMPTS_KEPT:
                    self._prompts.popitem(last=False)
            self._prompts.move_to_end(key)
            return self._prompts[key]

    def take_notes(self) -> tuple[str, ...]:
        """Return what had to be done differently since the last call: smaller chunks, tiles, another precision."""
        return (*self.chunked.notes.take(), *self.codec.notes.take())

    def levels(self, settings: Settings) -> tuple[Level, ...]:
        """Return the grid cut at the encoding ratio, clean level first."""
        return self.model.schedule.grid(settings.steps)[: depth_of(settings.ratio, settings.steps) + 1]

    def solver(self, settings: Settings) -> Solver:
        """Return the step rule of the walks."""
        return SOLVERS[settings.solver]()

    def guidance(self, settings: Settings) -> float:
        """Return the decode's guidance scale: the one set, or the model's own.

        Raises:
            SettingsError: one is set and the model has no guidance.
        """
        return self.model.policy.scale_of(settings.guidance)

    def guided(self, negative: Conditioning, scale: float) -> Denoiser:
        """Return the denoiser with guidance, or the plain one where the scale is 1."""
        return self.denoiser if scale == 1.0 else Guided(self.denoiser, negative, scale)

    def contrast_levels(self, settings: Settings) -> list[Level]:
        """Return the levels the contrast looks at."""
        count = settings.strengths
        times = [settings.strength + 0.1 * (i - (count - 1) / 2) for i in range(count)]
        times = [min(max(t, 0.0), 1.0) for t in times]
        if settings.strength_axis == "time":
            return [self.model.schedule.level(t) for t in times]
        grid = self.model.schedule.grid(settings.steps)
        return [grid[depth_of(t, settings.steps)] for t in times]

    def raw_contrast(
        self, z0: Tensor, query: str, reference: str, seed: int, settings: Settings, on_map: Callable[[int], None]
    ) -> Tensor:
        """Return the raw contrast map (height, width) of one latent (1, channel, height, width)."""
        texts = [self.prompt(text, settings).conditioning for text in (query, reference)]
        draws = [self._draw(z0, seed, i, settings.antithetic) for i in range(settings.maps)]
        maps = []
        for number, level in enumerate(self.contrast_levels(settings)):

            def done(count: int, before: int = number * settings.maps) -> None:
                on_map(before + count)

            found = differences(
                self.denoiser, z0, level, texts[0], texts[1], draws, batch_limit=self.chunked.limit, on_map=done
            )
            maps.append(disagreement(found, sign=settings.sign, norm=settings.norm))
        if len(maps) == 1:
            return maps[0]
        # Levels differ in how far the texts can disagree at all; each counts the same.
        return torch.stack([m / m.mean().clamp(min=torch.finfo(m.dtype).tiny) for m in maps]).mean(dim=0)

    @staticmethod
    def _draw(z0: Tensor, seed: int, index: int, antithetic: bool) -> Tensor:
        if not antithetic:
            return noise.normal(seed, "contrast", index, z0.shape[1:])
        return noise.normal(seed, "contrast", index // 2, z0.shape[1:]) * (1 - 2 * (index % 2))
