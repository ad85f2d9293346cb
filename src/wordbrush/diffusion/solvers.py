"""Solvers: walking a latent along the levels, up into the noise (invert) and down again (decode).

Both are generators that yield every state: the caller keeps what it wants, shows progress, or stops. They hold no
state of their own and draw no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, Denoiser, Prediction, reanchored
from wordbrush.diffusion.schedule import Level
from wordbrush.errors import SettingsError

__all__ = ["DDIM", "DPM2M", "SOLVERS", "InversionLabel", "Solver", "State", "decode", "held", "invert", "step"]

InversionLabel = Literal["source", "target"]
"""Which level an inversion step tells the network: that of x (the Euler step of the paper) or that it goes to."""


@dataclass(frozen=True, eq=False)
class State:
    """Where a walk stands.

    Attributes:
        index: position in the list of levels.
        x: latents (batch, channel, height, width) at `levels[index]`.
        prediction: the estimate that led here.
        residual: largest change of x by the last fixed-point evaluation (invert only; None without one).
    """

    index: int
    x: Tensor
    prediction: Prediction
    residual: float | None = None


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
        weight = _half_way(before, here, target).to(plain).reshape(-1, *[1] * (plain.ndim - 1))
        return plain + weight * (prediction.x0 - earlier.x0)


def _half_way(before: Level, here: Level, target: Level) -> Tensor:
    """Return the weight of the last change of x0 in a second-order step; 0 where it is not finite."""
    last, now, then = (level.alpha.log() - level.sigma.log() for level in (before, here, target))
    gain = target.alpha - here.alpha * target.sigma / here.sigma
    weight = gain * (then - now) / (2 * (now - last))
    return torch.where(weight.isfinite() & then.isfinite(), weight, 0.0)


SOLVERS: Final[Mapping[str, Callable[[], Solver]]] = {"ddim": DDIM, "dpm2m": DPM2M}
"""Step rules by the name of the switch `solver`."""


def invert(
    denoiser: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    conditioning: Conditioning,
    *,
    start: int = 0,
    label: InversionLabel = "source",
    fixed_point: int = 0,
    solver: Solver | None = None,
) -> Iterator[State]:
    """Carry latents into the noise, one level a step; yields the states at `levels[start + 1]` and on.

    Args:
        denoiser: the denoiser, guided or not.
        x: latents at `levels[start]`, (batch, channel, height, width).
        levels: clean level first.
        conditioning: one row an item.
        start: where x stands; above 0 it extends a shorter inversion.
        label: which level the network is told at each step. A solver that looks back needs estimates at the levels it
            passed and always tells the source: `target` is for first order, whose way back it comes near to.
        fixed_point: further evaluations a step, each at the point reached by the one before. Their fixed point is
            the latent that a decode step carries back to where the step came from (Pan et al. 2023, AIDI). First
            order only: a step back of higher order looks at estimates that the way up has not come to yet.
        solver: the step rule, DDIM unless given.

    Raises:
        SettingsError: fixed-point evaluations with a solver that looks back.
    """
    rule = solver or DDIM()
    if fixed_point and rule.order > 1:
        raise SettingsError(f"fixed_point {fixed_point} is for first-order solvers: set it to 0")
    ahead = label == "target" and rule.order == 1
    history: list[tuple[Level, Prediction]] = []
    for index in range(start, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        prediction = denoiser(x, here, conditioning, label=there if ahead else None)
        past = history[-(rule.order - 1) :] if rule.order > 1 else []
        reached, residual = rule([*past, (here, prediction)], there), None
        for _ in range(fixed_point):
            prediction = reanchored(denoiser(reached, there, conditioning), x, here)
            improved = rule([*past, (here, prediction)], there)
            residual = float((improved - reached).abs().max())
            reached = improved
        history = [*past, (here, prediction)]
        x = reached
        yield State(index + 1, x, prediction, residual)


def held(x: Tensor, kept: Tensor, mask: Tensor, index: int, depth: int, soft: Literal["strength", "blend"]) -> Tensor:
    """Replace the outside of the mask by the recorded latents of the same level.

    Args:
        x: decoded latents at level `index`.
        kept: the trajectory's latents at the same level.
        mask: (batch, 1, height, width) in [0, 1].
        index: the level, 0 is clean.
        depth: the level where the decode began.
        soft: what a value between 0 and 1 means: `strength` lets a cell of strength m go free for the last m of the
            way (Levin and Fried 2023, Differential Diffusion); `blend` mixes x and kept at every level. On binary
            masks both are the paper's `M x + (1 - M) kept`.
    """
    if soft == "strength":
        return torch.where(mask > index / depth, x, kept)
    return mask * x + (1 - mask) * kept


def decode(
    denoiser: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    conditioning: Conditioning,
    *,
    trajectory: Sequence[Tensor] | None = None,
    mask: Tensor | None = None,
    soft: Literal["strength", "blend"] = "strength",
    eta: float = 0.0,
    noise: Callable[[int], Tensor] | None = None,
    solver: Solver | None = None,
) -> Iterator[State]:
    """Walk latents down from `levels[-1]` to `levels[0]`; yields the state at each level reached.

    Args:
        denoiser: the denoiser, guided or not.
        x: latents at `levels[-1]`, (batch, channel, height, width).
        levels: clean level first.
        conditioning: one row an item.
        trajectory: recorded latents, one a level, as long as `levels`; the outside of the mask is held to them.
        mask: (batch, 1, height, width) in [0, 1], 1 = edit; None edits everything.
        soft: see `held`.
        eta: 0 is deterministic, 1 the ancestral sampler (Song et al. 2021, equation 16).
        noise: draws the noise of the step that lands on a level; needed where eta is above 0.
        solver: the step rule, DDIM unless given.
    """
    rule = solver or DDIM()
    depth = len(levels) - 1
    history: list[tuple[Level, Prediction]] = []
    for index in range(depth - 1, -1, -1):
        here, there = levels[index + 1], levels[index]
        prediction = denoiser(x, here, conditioning)
        history = [*history, (here, prediction)][-rule.order :]
        x = rule(history, there)
        if eta > 0.0 and noise is not None and index > 0:
            x = _renoised(x, prediction, here, there, eta, noise(index))
        if mask is not None and trajectory is not None:
            x = held(x, trajectory[index], mask, index, depth, soft)
        yield State(index, x, prediction)


def _renoised(x: Tensor, prediction: Prediction, here: Level, there: Level, eta: float, fresh: Tensor) -> Tensor:
    """Trade part of the estimated noise for fresh noise of the same size."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = here.scales(x), there.scales(x)
    variance = (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).clamp(min=0.0)
    spread = torch.minimum(eta * sigma_s / sigma_t * variance.sqrt(), sigma_s)
    return x + ((sigma_s**2 - spread**2).sqrt() - sigma_s) * prediction.eps + spread * fresh
