"""Estimates of x0 and eps under a text, with classifier-free guidance or without.

An *estimate* is a program for one prediction: `prediction = yield from estimate(x, level, stage=..., ...)`. The walks
of `wordbrush.diffusion.solvers` take any; one that wraps another changes what is walked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from wordbrush.diffusion.ask import Ask, Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction, convert, reanchored
from wordbrush.diffusion.position import between
from wordbrush.diffusion.schedule import Level

__all__ = ["Estimate", "Join", "combine", "guided", "norm_kept", "token_norm"]

_ALWAYS = (0.0, 1.0)


class Join(Protocol):
    """Makes one estimate of two."""

    def __call__(
        self, negative: Prediction, positive: Prediction, scale: float, x: Tensor, level: Level
    ) -> Prediction:
        """Combine the estimates at x; scale 1 is the positive alone."""
        ...


class Estimate(Protocol):
    """A program that estimates x0 and eps."""

    def __call__(self, x: Tensor, level: Level, **place: Any) -> Program[Prediction]:
        """Estimate x0 and eps of the latents.

        Args:
            x: latents (row, channel, height, width) at `level`.
            level: one for all rows, or one a row.
            place: further fields of the `Ask`: label, stage, step, steps, region, closes.
        """
        ...


def combine(negative: Tensor, positive: Tensor, scale: float) -> Tensor:
    """Return `negative + scale * (positive - negative)`: scale 1 is the positive alone, 0 the negative alone.

    This is the scale of diffusers; the guidance weight w of Ho and Salimans 2022 is scale - 1. It may be applied to
    x0, eps, v or velocity alike, since at one x they are affine in one another.
    """
    return negative + scale * (positive - negative)


def norm_kept(norm: Callable[[Tensor], Tensor]) -> Join:
    """Return what combines two estimates of a flow network and keeps the norm that the velocity has under the text.

    With v = eps - x0 and w = v_negative + scale (v_positive - v_negative), the answer is read off w |v_positive| / |w|.

    Args:
        norm: of velocities (row, channel, height, width), of a shape that multiplies them.
    """

    def join(negative: Prediction, positive: Prediction, scale: float, x: Tensor, level: Level) -> Prediction:
        along = positive.eps - positive.x0
        mixed = combine(negative.eps - negative.x0, along, scale)
        return convert(mixed * (norm(along) / norm(mixed)), x, level, "flow")

    return join


def token_norm(v: Tensor) -> Tensor:
    """Return the norm over channels and 2 x 2 cells, a network's token, at every cell (row, 1, height, width)."""
    norms = 4 * torch.nn.functional.avg_pool2d(v.square().sum(1, keepdim=True), 2)
    return norms.sqrt().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def guided(
    text: Conditioning,
    negative: Conditioning | None = None,
    scale: float = 1.0,
    *,
    interval: tuple[float, float] = _ALWAYS,
    every: int = 1,
    join: Join | None = None,
) -> Estimate:
    """Return the estimate under a text, with classifier-free guidance (Ho and Salimans 2022).

    Guidance may be held to an interval of noise (Kynkaanniemi et al. 2024, equation 4): outside it the estimate is that
    of the text alone, at one row instead of two.

    From step to step the two estimates of the noise change, but hardly their difference. With `every` above 1 it is
    kept for the steps after the one that it was taken at, `eps = eps_text + (scale - 1) * (eps_text - eps_negative)`
    with the last known bracket, and such a step costs one row. That the difference may be foretold from steps before is
    shown by Castillo et al. 2023 (Adaptive Guidance, section 5), who fit its weights; here the last one serves.

    Args:
        text: one row a row of x.
        negative: what is guided away from, as many rows; not needed at scale 1.
        scale: 1 is off and costs one row, not two; 0 is the negative alone.
        interval: positions, see `wordbrush.diffusion.position`: noisier than the first and not than the second.
        every: steps that one difference serves. An estimate with more than 1 remembers, and is for one walk.
        join: makes one estimate of two in place of `combine`.
    """
    kept: list[Tensor] = []  # the difference of the noise estimates, once a step that has used it
    sides: dict[int, Conditioning] = {}  # both texts for so many rows of x

    def estimate(
        x: Tensor, level: Level, *, label: Level | None = None, **place: Any
    ) -> Program[Prediction]:
        if scale == 1.0 or negative is None or (interval != _ALWAYS and not between(level, *interval)):
            plain: Prediction = yield Ask(x, level, text, label, **place)
            return plain
        if 0 < len(kept) < every:
            alone: Prediction = yield Ask(x, level, text, label, **place)
            kept.append(kept[-1])
            if join is not None:
                other = reanchored(Prediction(alone.x0, alone.eps - kept[-1]), x, level)
                return join(other, alone, scale, x, level)
            return reanchored(Prediction(alone.x0, alone.eps + (scale - 1) * kept[-1]), x, level)
        if len(x) not in sides:
            # An item's two rows stand side by side, so that a batch limit never mixes items that need not be mixed.
            order = [row + side * len(x) for row in range(len(x)) for side in (0, 1)]
            sides[len(x)] = Conditioning.concat([negative, text]).select(order)
        labels = None if label is None else label.repeat_interleave(2)
        pairs, levels = x.repeat_interleave(2, dim=0), level.repeat_interleave(2)
        both: Prediction = yield Ask(pairs, levels, sides[len(x)], labels, **place)
        kept[:] = [both.eps[1::2] - both.eps[0::2]]
        if join is not None:
            under = [Prediction(both.x0[side::2], both.eps[side::2]) for side in (0, 1)]
            return join(under[0], under[1], scale, x, level)
        return Prediction(*(combine(t[0::2], t[1::2], scale) for t in (both.x0, both.eps)))

    return estimate
