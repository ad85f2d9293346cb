"""Denoisers whose answers are known in closed form.

`Gaussian` is the exact denoiser of data N(0, variance); `gaussian_network` answers the same as a network would, told
labels only; `constant` estimates the same noise everywhere, under which every walk is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.denoiser import (
    Conditioning,
    Denoiser,
    Network,
    NetworkDenoiser,
    Parametrisation,
    Prediction,
    reanchored,
)
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.schedule import DiscreteSchedule, FlowSchedule, Level, schedule_from_config
from wordbrush.diffusion.solvers import InversionLabel, decode, invert

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def stable_diffusion(spacing: str = "trailing", **changes: object) -> DiscreteSchedule:
    """The schedule of Stable Diffusion with the spacing asked for."""
    schedule = schedule_from_config(SD | {"timestep_spacing": spacing} | changes)
    assert isinstance(schedule, DiscreteSchedule)
    return schedule


def rows(count: int) -> Conditioning:
    """Conditioning that says nothing."""
    return Conditioning({"text": torch.zeros(count, 1)})


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.square().mean().sqrt())


def unit_noise(*shape: int, seed: int = 0) -> Tensor:
    """Normal draws, float64, scaled to a root mean square of exactly 1."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.square().mean().sqrt()


def posterior(x: Tensor, level: Level, variance: float) -> Prediction:
    """E[x0 | x] and E[eps | x] for x0 ~ N(0, variance)."""
    alpha, sigma = level.scales(x)
    total = alpha**2 * variance + sigma**2
    return Prediction(alpha * variance / total * x, sigma / total * x)


class Gaussian:
    """The exact denoiser of data N(0, variance), as a function of the level."""

    def __init__(self, variance: float = 1.0) -> None:
        self.variance = variance

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """See `Denoiser`."""
        found = posterior(x, label or level, self.variance)
        return found if label is None else reanchored(found, x, level)


def gaussian_scale(level: Level, variance: float = 1.0) -> float:
    """Standard deviation of x at a level: the exact walk multiplies x by the ratio of two of these."""
    return float((level.alpha**2 * variance + level.sigma**2).sqrt())


def gaussian_network(schedule: DiscreteSchedule | FlowSchedule, kind: Parametrisation, variance: float) -> Network:
    """A network of the given parametrisation that knows where it is from its labels alone."""

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        told = Level.stack([_level_of(schedule, float(label)) for label in labels])
        alpha, sigma = told.scales(x)
        exact = posterior(x, told, variance)
        answers: dict[Parametrisation, Tensor] = {
            "epsilon": exact.eps,
            "sample": exact.x0,
            "v_prediction": alpha * exact.eps - sigma * exact.x0,
            "flow": exact.eps - exact.x0,
        }
        return answers[kind]

    return network


def _level_of(schedule: DiscreteSchedule | FlowSchedule, label: float) -> Level:
    if isinstance(schedule, DiscreteSchedule):
        return schedule.at_label(int(label))
    return schedule.level(label / schedule.size)


def constant(noise: Tensor) -> NetworkDenoiser:
    """A denoiser that always estimates `noise` (channel, height, width), or of any shape that broadcasts to x."""

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        return noise.to(x).expand_as(x)

    return NetworkDenoiser(network, "epsilon")


class Counting:
    """Counts the calls of a denoiser and their rows."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.rows, self.calls = denoiser, 0, 0

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """See `Denoiser`."""
        self.rows += len(x)
        self.calls += 1
        return self.denoiser(x, level, conditioning, label=label)


def up(
    denoiser: Denoiser, x: Tensor, levels: Sequence[Level], texts: Conditioning | None = None, **keywords: Any
) -> list[Tensor]:
    """The latents of an inversion, x first; keywords as for `invert`."""
    return drive(invert(guided(texts or rows(len(x))), x, levels, **keywords), denoiser)


def down(
    denoiser: Denoiser, x: Tensor, levels: Sequence[Level], texts: Conditioning | None = None, **keywords: Any
) -> list[Tensor]:
    """The latents of a decode, x first; keywords as for `decode`."""
    seen: list[Tensor] = []

    def watched(x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
        seen.append(x)
        return denoiser(x, level, conditioning, label=label)

    last = drive(decode(guided(texts or rows(len(x))), x, levels, **keywords), watched)
    return [*seen, last]


def round_trip(
    denoiser: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    *,
    label: InversionLabel = "source",
    fixed_point: int = 0,
) -> float:
    """Root mean square between x and its way up and down again."""
    reached = up(denoiser, x, levels, label=label, fixed_point=fixed_point)[-1]
    return rms(down(denoiser, reached, levels)[-1] - x)
