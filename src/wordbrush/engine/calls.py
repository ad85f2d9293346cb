"""Asks side by side in one call of the network: which may be, and at what levels their rows are."""

from __future__ import annotations

from collections.abc import Sequence

from wordbrush.diffusion.ask import Ask
from wordbrush.diffusion.denoiser import MASK
from wordbrush.diffusion.schedule import Level

__all__ = ["joinable", "joined"]


def joined(levels: Sequence[Level], counts: Sequence[int]) -> Level:
    """Return one level for all rows where it is the same for all asks, else one a row."""
    if all(level is levels[0] for level in levels):
        return levels[0]
    repeated = [[level] * (1 if level.time.ndim else count) for level, count in zip(levels, counts, strict=True)]
    return Level.stack([level for group in repeated for level in group])


def joinable(one: Ask, other: Ask) -> bool:
    """Say whether two asks may stand in one call."""
    texts = (one.conditioning, other.conditioning)
    return (
        one.x.shape[1:] == other.x.shape[1:]
        and one.x.dtype == other.x.dtype
        and texts[0].keys() == texts[1].keys()
        and (MASK in texts[0] or all(texts[0][k].shape[1:] == texts[1][k].shape[1:] for k in texts[0]))
    )
