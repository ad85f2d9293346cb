"""Solvers: walking a latent along the levels, up into the noise (`invert`) and down again (`decode`).

A step rule is a function of tensors. The two walks are programs (see `wordbrush.diffusion.ask`): they ask for every
prediction, hold no state of their own and draw no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor

from wordbrush.diffusion.ask import Key, Once, Program
from wordbrush.diffusion.denoiser import Prediction, reanchored
from wordbrush.diffusion.guidance import Estimate
from wordbrush.diffusion.schedule import Level, factors
from wordbrush.errors import SettingsError

__all__ = [
    "DDIM",
    "DPM2M",
    "SOLVERS",
    "InversionLabel",
    "Soft",
    "Solver",
    "decode",
    "held",
    "invert",
    "renoised",
    "step",
]

InversionLabel = Literal["source", "target"]
"""Which level an inversion step tells the network: that of x (the Euler step of the paper) or that it goes to."""

Soft = Literal["strength", "blend"]
"""What a value of a mask between 0 and 1 means, see `held`."""


class Solver(Protocol):
    """A step rule. `order` says how many past estimates it looks at."""

    order: int

    def __call__(self, history: Sequence[tuple[Level, Prediction]], target: Level) -> Tensor:
        """Go to `target` from the last of `history`, which is oldest first and at most `order` long."""
        ...


def step(prediction: Prediction, target: Level) -> Tensor:
    """Return `alpha * x0 + sigma * eps` at `target`.

    The deterministic DDIM step (Song et al. 2021, equation 12 with eta 0), and on a flow schedule the Euler step.
    """
    alpha, sigma = target.scales(prediction.x0)
    return alpha * prediction.x0 + sigma * prediction.eps


class DDIM:
    """First order: DDIM on variance-preserving schedules, Euler on flows."""

    order = 1

    def __call__(self, history: Sequence[tuple[Level, Prediction]], target: Level) -> Tensor:
        """See `Solver`."""
        return step(history[-1][1], target)


class DPM2M:
    """Second order, two steps: DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), on any levels and in both directions.

    With l = log(alpha / sigma) and x0 taken to be linear in l through the last two estimates, the exact solution of the
    walk from s to t is the DDIM step with x0 taken half-way, at (l_s + l_t) / 2:
    `x_t = sigma_t / sigma_s * x_s + (alpha_t - alpha_s * sigma_t / sigma_s) * (x0_s + h / (2 h') * (x0_s - x0_u))`,
    h = l_t - l_s, h' = l_s - l_u, where u is the level before s. Where the past says nothing - the first step, and a
    step from, to or just after a level without signal or without noise, whose l is infinite - it is the DDIM step.
    So the last step to the clean level gives the estimate of x0 itself.
    """

    order = 2

    def __call__(self, history: Sequence[tuple[Level, Prediction]], target: Level) -> Tensor:
        """See `Solver`."""
        here, prediction = history[-1]
        plain = step(prediction, target)
        if len(history) < 2:
            return plain
        before, earlier = history[-2]
        return plain + factors(_half_way(before, here, target), plain) * (prediction.x0 - earlier.x0)


def _half_way(before: Level, here: Level, target: Level) -> Tensor:
    """Return the weight of the last change of x0 in a second-order step; 0 where it is not finite."""
    last, now, then = (level.alpha.log() - level.sigma.log() for level in (before, here, target))
    gain = target.alpha - here.alpha * target.sigma / here.sigma
    weight = gain * (then - now) / (2 * (now - last))
    return torch.where(weight.isfinite() & then.isfinite(), weight, 0.0)


SOLVERS: Final[Mapping[str, Callable[[], Solver]]] = {"ddim": DDIM, "dpm2m": DPM2M}
"""Step rules by the name of the switch `solver`."""


def invert(
    estimate: Estimate,
    x: Tensor,
    levels: Sequence[Level],
    *,
    label: InversionLabel = "source",
    fixed_point: int = 0,
    stride: int = 1,
    solver: Solver | None = None,
    key: Key | None = None,
    region: Tensor | None = None,
) -> Program[list[Tensor]]:
    """Carry latents into the noise, level by level: `x_s = alpha_s * x0_hat + sigma_s * eps_hat`, upwards.

    Args:
        estimate: how predictions come about, guided or not.
        x: latents at `levels[0]`, (row, channel, height, width).
        levels: clean level first.
        label: which level the network is told at each step. A solver that looks back needs estimates at the levels it
            passed and always tells the source: `target` is for first order, whose way back it comes near to.
        fixed_point: further evaluations a step, each at the point reached by the one before. Their fixed point is the
            latent that a decode step carries back to where the step came from (Pan et al. 2023, AIDI). First order
            only: a step back of higher order looks at estimates that the way up has not come to yet.
        stride: levels that a step goes up. Those between its ends are read off the same estimate: a step rule is a
            formula for any target (dense output, Hairer, Norsett and Wanner 1993, section II.6).
        solver: the step rule, DDIM unless given.
        key: what determines the path whatever its depth, where its latents are to be kept: a deeper path then begins
            where a kept one ends.
        region: the cells that will be free on the way down, (row or 1, 1, height, width); the asks name it.

    Returns:
        The latents at every level, x first.

    Raises:
        SettingsError: fixed-point evaluations with a solver that looks back.
    """
    rule = solver or DDIM()
    if fixed_point and rule.order > 1:
        raise SettingsError(f"fixed_point {fixed_point} is for first-order solvers: set it to 0")
    path, history = [x], list[tuple[Level, Prediction]]()
    stops = [*range(0, len(levels) - 1, stride), len(levels) - 1]
    for step, (start, stop) in enumerate(pairwise(stops), 1):
        place = {"stage": "invert", "step": step, "steps": len(stops) - 1, "region": region}
        passed = levels[start + 1 : stop + 1]
        climb = _climb(estimate, path[-1], levels[start], passed, history, rule, label, fixed_point, place)
        reached: _Reached = (yield from climb) if key is None else (yield Once((*key, stop), climb))
        path.extend(reached.latents)
        if reached.past is not None:
            history = [*history, reached.past][-(rule.order - 1) :]
    return path


@dataclass(frozen=True, eq=False)
class _Reached:
    """Latents of the path, and the estimate that led there where a solver will look back at it."""

    latents: tuple[Tensor, ...]
    past: tuple[Level, Prediction] | None

    @property
    def nbytes(self) -> int:
        past = (self.past[1].x0, self.past[1].eps) if self.past else ()
        return sum(x.nbytes for x in (*self.latents, *past))


def _climb(
    estimate: Estimate,
    x: Tensor,
    here: Level,
    passed: Sequence[Level],
    history: Sequence[tuple[Level, Prediction]],
    rule: Solver,
    label: InversionLabel,
    fixed_point: int,
    place: Mapping[str, Any],
) -> Program[_Reached]:
    """Take one step up, through the levels `passed`."""
    there = passed[-1]
    told_level = there if label == "target" and rule.order == 1 else None
    prediction = yield from estimate(x, here, label=told_level, closes=not fixed_point, **place)
    for left in range(fixed_point - 1, -1, -1):
        reached = rule([*history, (here, prediction)], there)
        prediction = reanchored((yield from estimate(reached, there, closes=not left, **place)), x, here)
    latents = tuple(rule([*history, (here, prediction)], level) for level in passed)
    return _Reached(latents, (here, prediction) if rule.order > 1 else None)


def held(x: Tensor, recorded: Tensor, mask: Tensor, index: int, depth: int, soft: Soft) -> Tensor:
    """Replace the outside of the mask by the recorded latents of the same level.

    Args:
        x: decoded latents at level `index`.
        recorded: the trajectory's latents at the same level.
        mask: (batch, 1, height, width) in [0, 1].
        index: the level, 0 is clean.
        depth: the level where the decode began.
        soft: what a value between 0 and 1 means: `strength` lets a cell of strength m go free for the last m of the
            way (Levin and Fried 2023, Differential Diffusion); `blend` mixes x and recorded at every level. On
            binary masks both are the paper's `M x + (1 - M) recorded`.
    """
    if soft == "strength":
        return torch.where(mask > index / depth, x, recorded)
    return mask * x + (1 - mask) * recorded


def renoised(x: Tensor, prediction: Prediction, here: Level, there: Level, eta: float, fresh: Tensor) -> Tensor:
    """Trade part of the estimated noise for fresh noise of the same size (Song et al. 2021, equation 16).

    Args:
        x: where a deterministic step from `here` to `there` led, (row, channel, height, width).
        prediction: the estimate that led there.
        here: the noisier level.
        there: the level of x.
        eta: 0 is deterministic, 1 the ancestral sampler.
        fresh: standard normal draws, shape of x.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = here.scales(x), there.scales(x)
    variance = (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).clamp(min=0.0)
    spread = torch.minimum(eta * sigma_s / sigma_t * variance.sqrt(), sigma_s)
    return x + ((sigma_s**2 - spread**2).sqrt() - sigma_s) * prediction.eps + spread * fresh


def decode(
    estimate: Estimate,
    x: Tensor,
    levels: Sequence[Level],
    *,
    path: Sequence[Tensor] | None = None,
    mask: Tensor | None = None,
    ring: Tensor | None = None,
    ring_until: float = 0.0,
    soft: Soft = "strength",
    eta: float = 0.0,
    fresh: Callable[[int], Tensor] | None = None,
    solver: Solver | None = None,
    stage: str = "decode",
) -> Program[Tensor]:
    """Walk latents down from `levels[-1]` to `levels[0]`: `y_s = M * step(y_t) + (1 - M) * x_s` after every step.

    Args:
        estimate: how predictions come about, guided or not.
        x: latents at `levels[-1]`, (row, channel, height, width).
        levels: clean level first.
        path: kept latents, one a level; the outside of the mask is held to that of the same level.
        mask: (row or 1, 1, height, width) in [0, 1], 1 = edit; None edits everything.
        ring: a wider mask of the same shape that takes the mask's place while the noise is high: all that it frees
            beyond the mask is drawn along, so that the region meets surroundings of its own, and is held again at the
            end.
        ring_until: share of the way, counted from the clean end, that belongs to the mask alone.
        soft: what a value between 0 and 1 means, see `held`.
        eta: 0 is deterministic, 1 the ancestral sampler (Song et al. 2021, equation 16).
        fresh: draws the noise of the step that lands on a level; needed where eta is above 0.
        solver: the step rule, DDIM unless given.
        stage: what the asks say of themselves.

    Returns:
        Latents at `levels[0]`.
    """
    rule, depth = solver or DDIM(), len(levels) - 1
    history: list[tuple[Level, Prediction]] = []
    for index in range(depth - 1, -1, -1):
        here, there = levels[index + 1], levels[index]
        free = mask if ring is None or index < ring_until * depth else ring
        prediction = yield from estimate(x, here, stage=stage, step=depth - index, steps=depth, region=free)
        history = [*history, (here, prediction)][-rule.order :]
        x = rule(history, there)
        if eta > 0.0 and fresh is not None and index > 0:
            x = renoised(x, prediction, here, there, eta, fresh(index))
        if free is not None and path is not None:
            x = held(x, path[index], free, index, depth, soft)
    return x
