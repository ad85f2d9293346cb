"""Sparse decode: of a decode step only the box around the region is computed, the rest is as the inversion left it.

The decode holds the outside of the region to the path, so at every level the network sees there what it saw in the
inversion. What the inversion's calls leave of the outside (`unet.recording`) stands in for it in the decode's calls at
the same level, under either text; a level that the inversion passed over takes the mean of its neighbours' records,
weighted by time. Every few steps one is computed whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from wordbrush.diffusion.ask import Ask
from wordbrush.diffusion.faults import Notes
from wordbrush.speed.boxes import Scale, box_of, scales_of
from wordbrush.speed.unet import Record, halvings, recording, refusal, within

__all__ = ["HALO", "MOST", "SparseDecode"]

HALO = 1
"""Latent cells that the box is wider than the region on each side."""

MOST = 0.6
"""Largest share of the map that a box may have: beyond it hardly anything is saved."""


class SparseDecode:
    """The records of one edit, and how its asks are answered with them.

    Args:
        module: the denoising network.
        every: steps of the decode of which the first is computed whole; 1 = all are.
        limit: most bytes of all records; levels that do not fit are computed whole.
        notes: where it says what it could not do.
    """

    def __init__(self, module: Any, every: int, limit: int, notes: Notes) -> None:
        self.module, self.every, self.limit, self.notes = module, every, limit, notes
        self.held = self.sparse = 0
        self._records: dict[float, Record] = {}
        self._scales: tuple[Scale, ...] = ()
        reason = refusal(module)
        self.able = not reason and every > 1
        if reason:
            notes.add(f"the decode is not sparse, because {reason}")

    def around(self, ask: Ask) -> AbstractContextManager[None]:
        """Return the context to answer an ask in; the network is as ever outside of it."""
        if not self.able or ask.region is None:
            return nullcontext()
        if ask.stage == "invert":
            return self._recorded(ask)
        if ask.stage != "decode" or (ask.step - 1) % self.every == 0:
            return nullcontext()
        if not self._scales:
            self.able = False
            self.notes.add("the decode is not sparse, because nothing was inverted")
            return nullcontext()
        record = self._record_at(_time(ask))
        if record is None:
            return nullcontext()
        self.sparse += 1
        return within(self.module, self._scales, record)

    @contextmanager
    def _recorded(self, ask: Ask) -> Iterator[None]:
        """Record the ask that is answered in the block."""
        if not self._scales:
            self._scales = self._scales_for(ask)
        if not self.able:
            yield
            return
        kept: Record = {}
        with recording(self.module, self._scales, kept):
            yield
        time, size = _time(ask), sum(values.nbytes for values in kept.values())
        self.held -= sum(values.nbytes for values in self._records.pop(time, {}).values())
        if self.held + size > self.limit:
            self.notes.add("sparse decode: not all levels fit into sparse_memory, the others are computed whole")
            return
        self._records[time] = kept
        self.held += size

    def _scales_for(self, ask: Ask) -> tuple[Scale, ...]:
        """Return the box around the ask's region on all scales; gives up where it is too large."""
        size = (ask.x.shape[2], ask.x.shape[3])
        region = None if ask.region is None else box_of(ask.region)
        if region is not None:
            scales = scales_of(region.grown(HALO, size), size, halvings(self.module))
            if scales[0].box.area <= MOST * size[0] * size[1]:
                return scales
        self.able = False
        self.notes.add(f"the decode is not sparse, because the box around the region is over {MOST:.0%} of the picture")
        return ()

    def _record_at(self, time: float) -> Record | None:
        """Return what stands for the outside at a level; None where the records do not reach it."""
        if time in self._records:
            return self._records[time]
        below = [other for other in self._records if other < time]
        above = [other for other in self._records if other > time]
        if not below or not above:
            return None
        low, high = max(below), min(above)
        first, second, weight = self._records[low], self._records[high], (time - low) / (high - low)
        return {name: torch.lerp(first[name].float(), second[name].float(), weight) for name in first}


def _time(ask: Ask) -> float:
    """Return the time that the network is told."""
    return float((ask.label or ask.level).time.flatten()[0])
