"""Noise schedules: the exact levels a checkpoint was trained on.

A *level* is a point (alpha, sigma) of the schedule with `x = alpha * x0 + sigma * eps`.

The time convention, everywhere in this package:

* time runs in [0, 1] and grows with the noise; time 0 is the clean picture, alpha 1 and sigma 0, exactly;
* a discrete schedule of N training steps has N + 1 levels k = 0 ... N at time k / N. Level 0 is clean. Level k >= 1
  is the picture after k noising steps: alpha_k**2 is the product of the first k values of 1 - beta, and the network
  knows it under the label k - 1 (the `timestep` of diffusers, which counts from zero);
* a flow schedule has alpha = 1 - t, sigma = t at time t, and the label t * N;
* a grid lists levels from clean to noisiest: `grid[0]` is clean, a decode walks it down, an inversion walks it up;
* the clean level carries the label 0, the least noisy one that a network knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from wordbrush.errors import ModelError, SettingsError

__all__ = [
    "DiscreteSchedule",
    "FlowSchedule",
    "GridRule",
    "Level",
    "Schedule",
    "factors",
    "schedule_from_config",
    "sent",
    "shift_of",
]

GridRule = Literal["twice", "once", "told"]
"""How a flow grid picks its levels, see `FlowSchedule`."""


@dataclass(frozen=True, eq=False)
class Level:
    """One level, or one level per item of a batch.

    Attributes:
        time: model time in [0, 1], float64, shape () or (batch,).
        alpha: signal scale in [0, 1], same shape.
        sigma: noise scale in [0, 1], same shape.
        label: what the network is told (a timestep), same shape.
    """

    time: Tensor
    alpha: Tensor
    sigma: Tensor
    label: Tensor

    @classmethod
    def of(cls, time: float, alpha: float, sigma: float, label: float) -> Level:
        """Build one level from plain numbers."""
        return cls(*(torch.tensor(v, dtype=torch.float64) for v in (time, alpha, sigma, label)))

    @classmethod
    def stack(cls, levels: Sequence[Level]) -> Level:
        """Join single levels into one with a batch axis, so that every item of a batch has its own."""
        parts = [[getattr(level, name).reshape(-1) for level in levels] for name in _FIELDS]
        return cls(*(torch.cat(part) for part in parts))

    def select(self, index: Tensor | slice) -> Level:
        """Return the rows `index` of a batched level; a single level serves every row as it is."""
        if self.time.ndim == 0:
            return self
        return Level(*(getattr(self, name)[index] for name in _FIELDS))

    def repeat_interleave(self, times: int) -> Level:
        """Repeat every row `times` times in place: a, a, b, b, ..."""
        if self.time.ndim == 0:
            return self
        return Level(*(getattr(self, name).repeat_interleave(times) for name in _FIELDS))

    def labels(self, rows: int, device: torch.device | None = None) -> Tensor:
        """Return the labels for `rows` rows, shape (rows,), float64 on `device`."""
        return sent(self.label, device or self.label.device).expand(rows)

    def scales(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma shaped to multiply x (batch, channel, height, width), in the dtype of x."""
        return factors(self.alpha, x), factors(self.sigma, x)


_FIELDS = ("time", "alpha", "sigma", "label")


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of main memory on a device; a CUDA device is not waited for.

    What lies in pageable memory has been read when the copy is asked for, so that it may be changed or freed at once.
    """
    return values.to(device, non_blocking=torch.device(device).type == "cuda" and not values.is_cuda)


def factors(values: Tensor, x: Tensor) -> Tensor:
    """Return one number, or one a row, shaped to multiply x (batch, channel, height, width), in the dtype of x.

    One number has no axes and stays in main memory: torch takes it from there without waiting for the device of x.
    """
    kept = values.to(x.dtype)
    return kept if kept.ndim == 0 else sent(kept, x.device).reshape(-1, *[1] * (x.ndim - 1))


class Schedule(Protocol):
    """Maps model time to levels, and cuts it into grids."""

    def level(self, time: float) -> Level:
        """Return the level at model time `time` in [0, 1]."""
        ...

    def grid(self, steps: int) -> tuple[Level, ...]:
        """Return `steps` + 1 levels, the clean one first."""
        ...


def _checked_time(time: float) -> float:
    if not 0.0 <= time <= 1.0:
        raise SettingsError(f"time {time} is outside [0, 1]: 0 is clean, 1 is the noisiest level")
    return time


class DiscreteSchedule:
    """The exact table of a network trained on N discrete steps (eps-, v- and x0-prediction).

    Args:
        betas: noise variances of the N training steps, shape (N,).
        spacing: how a grid picks its levels, `leading`, `linspace` or `trailing` (Lin et al. 2024, table 2).
        offset: added to every label of the `leading` spacing (1 for Stable Diffusion).
    """

    def __init__(self, betas: Tensor, *, spacing: str = "leading", offset: int = 0) -> None:
        if spacing not in {"leading", "linspace", "trailing"}:
            raise ModelError(f"unknown timestep spacing {spacing!r}: known are leading, linspace, trailing")
        # The product is taken in the precision of `betas`: a checkpoint was trained on that rounding.
        products = torch.cumprod(1.0 - betas, dim=0).double()
        self.alphas_cumprod = products
        self.spacing, self.offset = spacing, offset
        self.size = len(products)

    def level(self, time: float) -> Level:
        """Return the trained level nearest to model time `time` in [0, 1]; time 0 is clean.

        Raises:
            SettingsError: the time is outside [0, 1].
        """
        index = round(_checked_time(time) * self.size)
        return self.at_label(index - 1) if index else Level.of(0.0, 1.0, 0.0, 0.0)

    def at_label(self, label: int) -> Level:
        """Return the level that the network knows under `label` in 0 ... N - 1."""
        product = float(self.alphas_cumprod[label])
        return Level.of((label + 1) / self.size, math.sqrt(product), math.sqrt(1.0 - product), float(label))

    def labels(self, steps: int) -> list[int]:
        """Return the labels of a grid of `steps` steps, least noisy first.

        Raises:
            SettingsError: `steps` is not in 1 ... N.
        """
        if not 1 <= steps <= self.size:
            raise SettingsError(f"{steps} steps do not fit a schedule of {self.size}: give 1 to {self.size}")
        if self.spacing == "leading":
            picked = [i * (self.size // steps) + self.offset for i in range(steps)]
        elif self.spacing == "linspace":
            # NumPy, here and below, as in diffusers: other ways to the same numbers round other halves up.
            picked = np.linspace(0, self.size - 1, steps).round().astype(int).tolist()
        else:
            falling = np.arange(self.size, 0, -self.size / steps)[:steps]  # rounding may add one at 0
            picked = (falling[::-1].round().astype(int) - 1).tolist()
        return [min(label, self.size - 1) for label in picked]

    def grid(self, steps: int) -> tuple[Level, ...]:
        """Return the clean level and the `steps` levels of the spacing, least noisy first."""
        return (self.level(0.0), *(self.at_label(label) for label in self.labels(steps)))


class FlowSchedule:
    """Rectified flow: alpha = 1 - t, sigma = t; the shift moves the levels of a grid, not the axis.

    A grid shifts uniform points u to `s u / (1 + (s - 1) u)` (Esser et al. 2024, equation 23). Pipelines differ in u:

    * `twice`: from 1 to the shifted 1 / size, and shifted again: a scheduler left to itself (SD 3, Sana, AuraFlow);
    * `once`: 1, ..., 1 / steps: a pipeline that gives the levels (FLUX, Z-Image, Qwen-Image and most later ones);
    * `told`: whole labels from `size` to 1, of which the network is told, while x is at the shifted level (CogView 4).

    Args:
        shift: s > 0.
        size: factor from time to label.
        rule: which u a grid has.
        terminal: the least sigma of a grid, to which it is stretched; None leaves it as it is (Qwen-Image: 0.02).
    """

    def __init__(
        self, *, shift: float = 1.0, size: int = 1000, rule: GridRule = "twice", terminal: float | None = None
    ) -> None:
        if not 0 < shift < math.inf:
            raise ModelError(f"flow shift {shift} is not positive")
        self.shift, self.size, self.rule, self.terminal = shift, size, rule, terminal or None

    def level(self, time: float) -> Level:
        """Return the level at flow time `time` in [0, 1].

        Raises:
            SettingsError: the time is outside [0, 1].
        """
        t = _checked_time(time)
        told = t / (self.shift - (self.shift - 1.0) * t) if self.rule == "told" else t
        return Level.of(t, 1.0 - t, t, told * self.size)

    def _shifted(self, u: float) -> float:
        return self.shift * u / (1.0 + (self.shift - 1.0) * u)

    def grid(self, steps: int) -> tuple[Level, ...]:
        """Return the clean level and `steps` levels up to sigma 1, least noisy first.

        Raises:
            SettingsError: `steps` is below 1.
        """
        if steps < 1:
            raise SettingsError(f"{steps} steps: give at least 1")
        times = [self._shifted(u) for u in self._uniform(steps)]
        if self.terminal is not None and steps > 1:
            stretch = (1.0 - self.terminal) / (1.0 - times[0])
            times = [1.0 - (1.0 - t) * stretch for t in times]
        return (self.level(0.0), *(self.level(t) for t in times))

    def _uniform(self, steps: int) -> list[float]:
        """Return u of a grid's levels, the least noisy first."""
        if self.rule == "told":
            whole = np.linspace(self.size, 1.0, steps).astype(int).tolist()
            return [label / self.size for label in reversed(whole)]
        low = 1.0 / steps if self.rule == "once" else self._shifted(1.0 / self.size)
        apart = (1.0 - low) / max(steps - 1, 1)
        return [1.0 - apart * i for i in reversed(range(steps))]


def shift_of(config: Mapping[str, Any], tokens: int | None = None) -> float:
    """Return the shift of a flow scheduler's configuration.

    Args:
        config: of diffusers' FlowMatchEulerDiscreteScheduler or one like it.
        tokens: image tokens; needed where the shift grows with them: `mu` runs linearly from `base_shift` to
            `max_shift` over `base_image_seq_len` ... `max_image_seq_len`; the shift is e**mu, or mu itself.

    Raises:
        ModelError: the shift depends on the picture's size and `tokens` is not given.
    """
    if not config.get("use_dynamic_shifting"):
        return float(config.get("flow_shift", config.get("shift", 1.0)))
    if tokens is None:
        raise ModelError("this flow schedule shifts by picture size: give shift=")
    low, high = float(config.get("base_shift", 0.5)), float(config.get("max_shift", 1.15))
    first, last = int(config.get("base_image_seq_len", 256)), int(config.get("max_image_seq_len", 4096))
    mu = low + (high - low) * (tokens - first) / (last - first)
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)


def _betas(config: Mapping[str, Any]) -> Tensor:
    trained = config.get("trained_betas")
    if trained is not None:
        return torch.as_tensor(trained, dtype=torch.float32)
    size = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    kind = config.get("beta_schedule", "linear")
    if kind == "linear":
        return torch.linspace(start, end, size, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, size, dtype=torch.float32) ** 2
    if kind == "squaredcos_cap_v2":  # Nichol and Dhariwal 2021, equation 17
        bar = [math.cos((i / size + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(size + 1)]
        return torch.tensor([min(1 - bar[i + 1] / bar[i], 0.999) for i in range(size)], dtype=torch.float32)
    raise ModelError(f"unknown beta schedule {kind!r}: known are linear, scaled_linear, squaredcos_cap_v2")


def _zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha_bar) so that it ends at zero and keeps its start (Lin et al. 2024, algorithm 1)."""
    roots = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    bars = ((roots - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])


def _is_flow(config: Mapping[str, Any]) -> bool:
    """Tell a flow schedule; the config of a scheduler that was not loaded from a file carries no class name."""
    if "FlowMatch" in str(config.get("_class_name", "")) or config.get("use_flow_sigmas"):
        return True
    return "shift" in config and "beta_start" not in config


def schedule_from_config(config: Mapping[str, Any], *, shift: float | None = None) -> Schedule:
    """Build the schedule that a diffusers scheduler config describes.

    Args:
        config: the content of `scheduler_config.json`, or `scheduler.config`.
        shift: flow shift to use instead of the configured one; needed where the config shifts by picture size.

    Raises:
        ModelError: the config names a schedule that is not known.
    """
    if _is_flow(config):
        size = int(config.get("num_train_timesteps", 1000))
        return FlowSchedule(shift=shift_of(config) if shift is None else shift, size=size)
    betas = _betas(config)
    if config.get("rescale_betas_zero_snr"):
        betas = _zero_terminal_snr(betas)
    return DiscreteSchedule(
        betas, spacing=config.get("timestep_spacing") or "leading", offset=int(config.get("steps_offset") or 0)
    )
