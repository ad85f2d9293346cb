"""Positions in the noise: where the contrast looks, and how deep the picture is carried, on one axis for every model.

A noise strength or an encoding ratio is a position on the axis of Stable Diffusion, for whose latents the paper states
its numbers: the model time of its 1,000 steps, where `beta` runs from .00085 to .012, linear in its root. The same time
of another model is another picture of noise: half-way, Stable Diffusion has alpha / sigma = .62, rectified flow 1. So a
position is translated: the model is asked at the level of its own schedule with the same alpha**2 / sigma**2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from wordbrush.diffusion.schedule import Level, Schedule, schedule_from_config
from wordbrush.errors import SettingsError

__all__ = ["between", "contrast_levels", "cut_grid", "depth_of", "stable_diffusion", "translated"]

_ROUNDING = 1e-6
"""Angles nearer than this are of one level: schedules are stored in single precision."""

_HALVINGS = 50
"""Bisections of the time in [0, 1]: what is left is near the rounding of a float."""


@functools.cache
def stable_diffusion() -> Schedule:
    """Return the schedule of Stable Diffusion, which is the axis of positions."""
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return schedule_from_config({**betas, "num_train_timesteps": 1000, "steps_offset": 1})


def _angle(level: Level) -> float:
    """Return atan(sigma / alpha) in [0, pi / 2]: it grows as the signal-to-noise falls, and is finite at both ends."""
    return math.atan2(float(level.sigma), float(level.alpha))


def translated(schedule: Schedule, wanted: Level) -> Level:
    """Return the level of a schedule whose alpha**2 / sigma**2 is nearest to that of another schedule's level.

    Args:
        schedule: whose noise grows with its time.
        wanted: a single level. One that `schedule` has itself is found exactly.
    """
    angle, low, high = _angle(wanted), 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _angle(schedule.level(middle)) <= angle else (low, middle)
    return min((schedule.level(low), schedule.level(high)), key=lambda level: abs(_angle(level) - angle))


def between(level: Level, low: float, high: float) -> bool:
    """Say whether a level is noisier than the position `low` and not noisier than `high`; 1 has no upper end.

    Args:
        level: a single one, of any schedule.
        low: in [0, 1]; the clean level is above no position.
        high: in [0, 1].
    """
    below, above = (_angle(stable_diffusion().level(place)) + _ROUNDING for place in (low, high))
    return below < _angle(level) and (high >= 1.0 or _angle(level) <= above)


def contrast_levels(
    schedule: Schedule, strengths: Sequence[float], axis: Literal["snr", "time", "grid"], steps: int
) -> list[Level]:
    """Return the levels the contrast looks at, one a strength.

    Args:
        schedule: of the model.
        strengths: each in [0, 1].
        axis: what a strength counts: `snr`: time of Stable Diffusion, translated to the model; `time`: the model's own
            time; `grid`: a share of the grid's steps.
        steps: of the grid.
    """
    if axis == "snr":
        return [translated(schedule, stable_diffusion().level(strength)) for strength in strengths]
    if axis == "time":
        return [schedule.level(strength) for strength in strengths]
    grid = schedule.grid(steps)
    return [grid[round(strength * steps)] for strength in strengths]


def depth_of(ratio: float, steps: int) -> int:
    """Return how many of `steps` grid steps the encoding ratio r in [0, 1] runs: r * steps, halves rounded up.

    The ratio is taken as it is written in decimals: .145 of 100 steps is a half, though its binary number is less.

    Raises:
        SettingsError: the ratio is outside [0, 1].
    """
    if not 0.0 <= ratio <= 1.0:
        raise SettingsError(f"ratio {ratio} is outside [0, 1]: 0 changes nothing, 1 starts from the noisiest level")
    return int((Decimal(repr(float(ratio))) * steps).to_integral_value(ROUND_HALF_UP))


def cut_grid(
    schedule: Schedule,
    ratio: float,
    steps: int,
    axis: Literal["snr", "grid"],
    spacing: Literal["model", "even"] = "model",
) -> tuple[Level, ...]:
    """Return the grid up to the encoding ratio, clean level first.

    Args:
        schedule: of the model.
        ratio: in [0, 1]; 0 leaves the clean level alone, 1 is the whole grid on either axis.
        steps: of the whole grid.
        axis: `snr`: as noisy as Stable Diffusion is after that share of as many steps, by the deepest level of the
            model's grid that is not noisier; `grid`: that share of the model's own steps.
        spacing: `model`: the grid of the model's own scheduler. Those that lead or go from end to end spend a step,
            three evaluations, between the clean level and the first one beside it, where nothing happens. `even`:
            the clean level and positions as far apart as the first is from it, i / steps for i = 0 ... steps, on the
            axis of Stable Diffusion or in the model's own time (the "trailing" spacing of Lin et al. 2024, table 2).

    Raises:
        SettingsError: the ratio is outside [0, 1], the schedule has no grid of so many steps, or every level of its
            grid is noisier than a ratio of a step or more; the message says which ratio would do.
    """
    depth = depth_of(ratio, steps)
    if spacing == "even":
        return tuple(_at(schedule, i / steps, axis) for i in range(depth + 1))
    grid = schedule.grid(steps)
    if axis == "snr" and depth > 0 and ratio < 1.0:
        ends = [_angle(level) + _ROUNDING for level in stable_diffusion().grid(steps)]
        least = next((step for step, end in enumerate(ends) if _angle(grid[1]) <= end), steps + 1)
        if depth < least:
            enough = 1.0 if least > steps else math.ceil((least - 0.5) / steps * 10_000) / 10_000
            raise SettingsError(
                f"ratio {ratio:g} is clearer than every level of this model's {steps} steps: give {enough:g} or more, "
                "more steps, or spacing even"
            )
        depth = sum(_angle(level) <= ends[depth] for level in grid) - 1
    return grid[: depth + 1]


def _at(schedule: Schedule, place: float, axis: Literal["snr", "grid"]) -> Level:
    """Return the model's level at a position; the noisiest one at 1, on either axis."""
    if axis == "snr" and place < 1.0:
        return translated(schedule, stable_diffusion().level(place))
    return schedule.level(place)
