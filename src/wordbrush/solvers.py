"""Solvers: walking a latent along the levels, up into the noise (invert) and down again (decode).

Both are generators that yield every state: the caller keeps what it wants, shows progress, or stops. They hold no
state of their own and draw no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from wordbrush.denoiser import Conditioning, Denoiser, Prediction, reanchored
from wordbrush.schedule import Level

__all__ = ["DDIM", "InversionLabel", "Solver", "State", "decode", "held", "invert", "step"]

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
        label: which level the network is told at each step.
        fixed_point: further evaluations a step, each at the point reached by the one before. Their fixed point is
            the latent that a decode step carries back to where the step came from (Pan et al. 2023, AIDI).
        solver: the step rule, DDIM unless given.
    """
    rule = solver or DDIM()
    history: list[tuple[Level, Prediction]] = []
    for index in range(start, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        prediction = denoiser(x, here, conditioning, label=there if label == "target" else None)
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
