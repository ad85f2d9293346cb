"""Sparse decode: of a decode step only the part around the region is computed, the rest is as the inversion left it.

The decode holds the outside of the region to the path, so at every level the network sees there what it saw in the
inversion. What the inversion's calls leave of the outside stands in for it in the decode's calls at the same level; a
level without a record, passed over by the inversion or one too many for the memory, takes the mean of its neighbours',
weighted by time. Every few steps one is computed whole: by how much the outside differed there, under the texts of the
decode, all later records are corrected.

The part is a box of the map in a UNet, or several (`unet`), and any tokens of the picture in a transformer (`tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from wordbrush.diffusion.ask import Ask
from wordbrush.diffusion.faults import Notes
from wordbrush.settings import Settings
from wordbrush.speed import tokens, unet
from wordbrush.speed.boxes import Box, Scale, box_of, boxes_of, scales_of, tiled_scales
from wordbrush.speed.records import OUTPUT, Record, Standing, difference, nbytes

__all__ = ["HALO", "MOST", "Part", "SparseDecode", "part_of", "refusal", "sparsely"]

HALO = 2
"""Latent cells around the region that are computed with it."""

MOST = 0.6
"""Largest share of the map that is computed alone: beyond it hardly anything is saved."""

MUCH_SMALLER = 0.7
"""Several boxes are computed in place of one around all where their cells are fewer than this share of its."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the map that a network can compute alone.

    Attributes:
        share: of the map.
        recording: gives the context in which a whole run leaves its record.
        within: gives the context in which the network computes the part alone.
    """

    share: float
    recording: Callable[..., AbstractContextManager[None]]
    within: Callable[[Standing], AbstractContextManager[None]]


def refusal(module: Any) -> str:
    """Return why a network cannot compute a part alone, in words that follow "because", or ""."""
    return unet.refusal(module) if _is_unet(module) else tokens.refusal(module)


def sparsely(denoiser: Any, settings: Settings, notes: Notes) -> SparseDecode:
    """Return what answers the asks of one edit sparsely.

    Args:
        denoiser: of the model.
        settings: of the edit.
        notes: where it says what it could not do.
    """
    network = getattr(denoiser, "network", None)
    return SparseDecode(getattr(network, "module", None), settings.sparse, settings.sparse_memory << 20, notes)


class SparseDecode:
    """The records of one edit; called with an ask, it gives the context to answer that in.

    Args:
        module: the denoising network; it is as ever outside of such a context.
        every: steps of the decode of which the first is computed whole; 1 = all are.
        limit: most bytes of all records.
        notes: where it says what it could not do.
    """

    def __init__(self, module: Any, every: int, limit: int, notes: Notes) -> None:
        self.module, self.every, self.limit, self.notes = module, every, limit, notes
        self.held = self.sparse = 0
        self._records: dict[float, Record] = {}
        self._correction: Record = {}
        self._part: Part | None = None
        self._chosen: frozenset[int] = frozenset()
        self._reason = refusal(module)
        self.able = not self._reason and every > 1

    def __call__(self, ask: Ask) -> AbstractContextManager[None]:
        """Return the context to answer an ask in."""
        if self._reason:
            self._give_up(self._reason)
        if not self.able or ask.region is None:
            return nullcontext()
        if ask.stage == "invert":
            return self._recorded(ask, ask.region)
        if ask.stage != "decode":
            return nullcontext()
        if self._part is None:
            self._give_up("nothing was inverted")
            return nullcontext()
        standing = self._standing(_time(ask))
        if standing is None:
            return nullcontext()
        if (ask.step - 1) % self.every == 0:
            return self._compared(ask, self._part)
        self.sparse += 1
        return self._part.within(standing)

    def _give_up(self, reason: str) -> None:
        self.able, self._reason = False, ""
        self._records.clear()
        self.notes.add(f"the decode is not sparse, because {reason}")

    @contextmanager
    def _recorded(self, ask: Ask, region: Tensor) -> Iterator[None]:
        """Record the ask that is answered in the block."""
        part = self._part = self._part or part_of(self.module, region)
        if not 0 < part.share <= MOST:
            self._give_up(f"the part around the region is {part.share:.0%} of the picture, and not 1% to {MOST:.0%}")
            yield
            return
        if self._chosen and ask.step not in self._chosen:
            yield
            return
        kept: Record = {}
        with part.recording(kept):
            yield
        if not kept:
            self._give_up("its attention is not computed by torch")
            return
        time, size = _time(ask), nbytes(kept)
        self._chosen = self._chosen or self._choice(ask.steps, size)
        self.held -= nbytes(self._records.pop(time, {}))
        if self.able and self.held + size <= self.limit:
            self._records[time] = kept
            self.held += size

    def _choice(self, steps: int, size: int) -> frozenset[int]:
        """Return the steps up to record: evenly apart, so that a correction of two rows has room beside them."""
        room = self.limit // size
        count = min(steps, max(2, room - 2))
        if count > room:
            self._give_up(f"sparse_memory must hold {count} levels, and one takes {-(-size // 2**20)} MiB")
        elif count < steps:
            self.notes.add(f"sparse decode: sparse_memory holds {count} of {steps} levels, means stand for the others")
        return frozenset(1 + round(index * (steps - 1) / max(count - 1, 1)) for index in range(count))

    @contextmanager
    def _compared(self, ask: Ask, part: Part) -> Iterator[None]:
        """Compare what the ask that is answered in the block leaves with the record, where it has room for that."""
        self.held -= nbytes(self._correction)
        self._correction = {}
        standing, kept = self._standing(_time(ask)), Record()
        room = self.held + len(ask.x) * max(map(nbytes, self._records.values()), default=0) <= self.limit
        if standing is None or not room or ask.step == ask.steps:
            yield
            return
        with part.recording(kept, each=True):
            yield
        if len(kept.get(OUTPUT, ())) == len(ask.x):  # not so where rows were computed again
            self._correction = difference(kept, standing)
            self.held += nbytes(self._correction)

    def _standing(self, time: float) -> Standing | None:
        """Return what stands for the outside at a level; None where the records do not reach it."""
        more = [(self._correction, 1.0)] if self._correction else []
        if time in self._records:
            return Standing((self._records[time], 1.0), *more)
        below = [other for other in self._records if other < time]
        above = [other for other in self._records if other > time]
        if not below or not above:
            return None
        low, high = max(below), min(above)
        weight = (time - low) / (high - low)
        return Standing((self._records[low], 1 - weight), (self._records[high], weight), *more)


def _is_unet(module: Any) -> bool:
    return type(module).__name__ == "UNet2DConditionModel"


def part_of(module: Any, region: Tensor) -> Part:
    """Return the part of the map around a region (row, 1, height, width) in latent cells."""
    if not _is_unet(module):
        chosen = tokens.tokens_of(module, region, HALO)
        ways = (partial(way, module, chosen) for way in (tokens.recording, tokens.within))
        return Part(chosen.share, *ways)
    scales = _scales(region, unet.halvings(module))
    ways = (partial(way, module, scales) for way in (unet.recording, unet.within))
    return Part(scales[0].share, *ways)


def _scales(region: Tensor, halvings: int) -> tuple[Scale, ...]:
    """Return one box around a region on every scale, or several where those are much smaller together."""
    size, box = (region.shape[2], region.shape[3]), box_of(region)
    if box is None:
        return (Scale(size, (Box(0, 0, 0, 0),)),)
    one = scales_of(box.grown(HALO, size), size, halvings)
    wide = nn.functional.max_pool2d(region.amax(dim=0, keepdim=True).float(), 2 * HALO + 1, stride=1, padding=HALO)
    several = boxes_of(wide, 2**halvings)
    if len(several) > 1 and sum(each.area for each in several) < MUCH_SMALLER * one[0].boxes[0].area:
        return tiled_scales(several, size, halvings)
    return one


def _time(ask: Ask) -> float:
    """Return the time that the network is told."""
    return float((ask.label or ask.level).time.flatten()[0])
