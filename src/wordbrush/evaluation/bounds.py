"""Measure Proposition 1 of the paper on a checkpoint: its constants, its bounds and the errors that they bound.

C, K1 and K2 are estimated from samples, and so from below; the bounds computed from them are estimates too. They are
measured on noised latents of real pictures, at ten model times. Guidance of scale w makes the decode's estimate
eps_empty + w (eps_Q - eps_empty): K2 becomes w K2, and C is measured anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.guidance import combine
from wordbrush.diffusion.schedule import Level
from wordbrush.errors import InputError
from wordbrush.evaluation import lipschitz
from wordbrush.evaluation.items import MethodRequest
from wordbrush.evaluation.proposition import crossing, encode_bound, gronwall_bound, noise_bound, tau_of
from wordbrush.evaluation.walks import Trial, noised

if TYPE_CHECKING:
    from wordbrush.diffusion.schedule import Schedule
    from wordbrush.editor import Editor
    from wordbrush.settings import Settings

__all__ = ["RATIOS", "Bounds", "Constants", "Spread", "estimate_bounds"]

RATIOS = tuple(i / 10 for i in range(1, 11))
TIMES = tuple(i / 10 for i in range(1, 11))
"""Model times at which C, K1 and K2 are measured."""
POWER_TIMES = (0.2, 0.5, 0.8)
POWER_ITEMS = 2
"""The power iteration, the slowest estimate of K1, runs at these times and on this many pictures only."""


@dataclass(frozen=True)
class Spread:
    """Count, mean, median and largest of a list of numbers."""

    count: int
    mean: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(len(values), float(np.mean(values)), float(np.median(values)), float(np.max(values)))


@dataclass(frozen=True)
class Constants:
    """The constants of the proposition; lengths are root mean squares per element of the latents.

    Attributes:
        guidance: scale w of the guided decode.
        c: |eps| over pictures, times and both texts; the bound takes the largest.
        c_guided: |eps| under guidance.
        k1: estimates of K1 by the way they were found: along `random` directions, between `pairs` of noised latents of
            two pictures at one level, by `power` iteration; the bound takes the largest of all.
        k2: the largest |eps(x, Q, t) - eps(x, empty, t)| over t, over pictures; the bound takes the mean, times w where
            guided.
    """

    guidance: float
    c: Spread
    c_guided: Spread
    k1: Mapping[str, Spread]
    k2: Spread

    @property
    def lipschitz(self) -> float:
        """K1 in the bounds: the largest of all its estimates."""
        return max(spread.largest for spread in self.k1.values())

    def bounds(self, tau: float) -> dict[str, float]:
        """Return all bounds at tau = sigma / alpha, unguided and guided."""
        bounds = {}
        for ending, c, scale in (("", self.c, 1.0), ("_guided", self.c_guided, self.guidance)):
            k1, k2 = self.lipschitz, scale * self.k2.mean
            bounds[f"noise_bound{ending}"] = noise_bound(tau, c.largest)
            bounds[f"encode_bound{ending}"] = encode_bound(tau, k1, k2)
            bounds[f"gronwall_bound{ending}"] = gronwall_bound(tau, k1, k2)
        return bounds


@dataclass(frozen=True)
class Bounds:
    """The constants, bounds and errors that `estimate_bounds` returns.

    Attributes:
        model: identity of the checkpoint.
        seed: of the first item's noises; the next has the next.
        steps: of the full grid.
        items: how many pictures.
        constants: of the proposition.
        rows: a ratio each: `ratio`, `time`, `tau`, then bounds and mean errors, unguided and, ending in `_guided`,
            guided: `noise_bound`, `encode_bound`, `gronwall_bound`, `noise_error`, `encode_error`.
        crossings: where starting from the inversion stops being the better of the two: the model time for the bounds
            (`encode_bound`, `gronwall_bound`), the ratio for the measured errors (`error`), and the same guided; None
            for nowhere.
    """

    model: Mapping[str, Any]
    seed: int
    steps: int
    items: int
    constants: Constants
    rows: tuple[Mapping[str, float], ...]
    crossings: Mapping[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; what is not finite becomes None."""
        rows = [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in self.rows]
        return {"schema": 1, "norm": "root mean square per latent element", **asdict(self), "rows": rows}


@dataclass(frozen=True, eq=False)
class _Sample:
    """A noised latent and its noise estimates under the empty text and the query, each (1, channel, height, width)."""

    level: Level
    x: Tensor
    empty: Tensor
    query: Tensor


def _samples(trial: Trial) -> list[_Sample]:
    """Noise a picture to every time of `TIMES` and estimate the noise under the empty text and the query."""
    model, z0 = trial.editor.model, trial.z0
    texts = Conditioning.concat([trial.text(""), trial.text(trial.request.query)])
    samples = []
    for number, time in enumerate(TIMES):
        level = model.schedule.level(time)
        x = noised(z0, trial.draw("bounds", number), level)
        with torch.no_grad():
            eps = model.denoiser(x.expand(2, *x.shape[1:]), level, texts).eps
        samples.append(_Sample(level, x, eps[:1], eps[1:]))
    return samples


def _lipschitz(
    trial: Trial, samples: Sequence[_Sample], others: Sequence[_Sample], *, power: bool
) -> dict[str, list[float]]:
    """Estimate K1 at the samples of one picture; `others` are the previous picture's samples at the same levels."""
    denoiser, empty = trial.editor.model.denoiser, trial.text("")
    estimates: dict[str, list[float]] = {"random": [], "pairs": [], "power": []}
    for number, sample in enumerate(samples):

        def estimate(x: Tensor, level: Level = sample.level) -> Tensor:
            return denoiser(x, level, empty).eps

        direction = trial.draw("bounds direction", number)
        with torch.no_grad():
            estimates["random"].append(float(lipschitz.along_directions(estimate, sample.x, direction)))
        if others and others[number].x.shape == sample.x.shape:
            pair = lipschitz.between(sample.x, others[number].x, sample.empty, others[number].empty)
            estimates["pairs"].append(float(pair))
        if power and TIMES[number] in POWER_TIMES:
            estimates["power"].append(lipschitz.largest_singular_value(estimate, sample.x, direction))
    return estimates


def _constants(trials: Sequence[Trial], guidance: float, done: Callable[[], None]) -> Constants:
    """Estimate C, K1 and K2."""
    sizes: dict[str, list[float]] = {"c": [], "c_guided": [], "k2": []}
    k1: dict[str, list[float]] = {}
    before: list[_Sample] = []
    for number, trial in enumerate(trials):
        samples = _samples(trial)
        for s in samples:
            sizes["c"] += [float(lipschitz.rms(eps)) for eps in (s.empty, s.query)]
            sizes["c_guided"].append(float(lipschitz.rms(combine(s.empty, s.query, guidance))))
        sizes["k2"].append(max(float(lipschitz.rms(s.query - s.empty)) for s in samples))
        estimates = _lipschitz(trial, samples, before, power=number < POWER_ITEMS)
        for name, values in estimates.items():
            k1.setdefault(name, []).extend(values)
        before = samples
        done()
    spreads = {name: Spread.of(values) for name, values in sizes.items()}
    return Constants(guidance, k1={name: Spread.of(values) for name, values in k1.items() if values}, **spreads)


def _errors(trial: Trial, guidance: float) -> dict[str, float]:
    """Decode from noise and from the inversion, unguided and guided, and return each result's distance to z0."""
    z0, errors = trial.z0, dict[str, float]()
    starts = {"noise": noised(z0, trial.draw("start"), trial.levels[-1]), "encode": trial.path[-1]}
    for name, x in starts.items():
        for ending, scale in (("", 1.0), ("_guided", guidance)):
            if ending and scale == 1.0:
                errors[f"{name}_error{ending}"] = errors[f"{name}_error"]
                continue
            clean = trial.session.run(trial.changed(guidance=scale).decode(x))
            errors[f"{name}_error{ending}"] = float(lipschitz.rms(clean - z0))
    return errors


def _rows(
    trials: Sequence[Trial], known: Constants, ratios: Sequence[float], done: Callable[[], None]
) -> Iterator[dict[str, float]]:
    """Yield one row for each ratio: the bounds, and the errors averaged over the pictures."""
    for ratio in ratios:
        errors = []
        for trial in trials:
            errors.append(_errors(trial.changed(ratio=ratio), known.guidance))
            done()
        level = trials[0].changed(ratio=ratio).levels[-1]
        means = {name: float(np.mean([e[name] for e in errors])) for name in errors[0]}
        tau = tau_of(level)
        yield {"ratio": ratio, "time": float(level.time), "tau": tau, **known.bounds(tau), **means}


def _crossings(known: Constants, rows: Sequence[Mapping[str, float]], schedule: Schedule) -> dict[str, float | None]:
    """Find where starting from the inversion stops being better, by the bounds and by the measured errors."""
    times = [i / 500 for i in range(1, 501)]
    curves = [known.bounds(tau_of(schedule.level(time))) for time in times]
    ratios = [row["ratio"] for row in rows]
    crossings: dict[str, float | None] = {}
    for ending in ("", "_guided"):
        noise_bounds = [curve[f"noise_bound{ending}"] for curve in curves]
        for name in (f"encode_bound{ending}", f"gronwall_bound{ending}"):
            crossings[name] = crossing(times, [curve[name] for curve in curves], noise_bounds)
        measured = [[row[f"{start}_error{ending}"] for row in rows] for start in ("encode", "noise")]
        crossings[f"error{ending}"] = crossing(ratios, *measured)
    return crossings


def estimate_bounds(
    editor: Editor,
    items: Sequence[tuple[Any, str]],
    settings: Settings,
    ratios: Sequence[float] = RATIOS,
    seed: int = 0,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> Bounds:
    """Estimate the constants of Proposition 1, its bounds, and the errors they bound.

    Args:
        editor: the model.
        items: (picture, query) pairs, at least one; a picture is anything that `Editor.open` takes.
        settings: of the walks: steps, solver, label, guidance. The inversion is the proposition's: empty text, no
            guidance; and the decode draws no noise.
        ratios: encoding ratios in (0, 1], rising.
        seed: of all noises.
        on_step: called with what is done and how much there is: the constants of an item, or one ratio of it.

    Raises:
        InputError: there is no item, or the ratios are none, do not rise, or leave (0, 1].
        ModelError: the schedule does not preserve variance.
    """
    if not items:
        raise InputError("bounds: there is no item; give at least one picture with its query")
    if not ratios or list(ratios) != sorted(set(ratios)) or ratios[0] <= 0 or ratios[-1] > 1:
        raise InputError(f"bounds: ratios {list(ratios)}: give rising numbers above 0, at most 1")
    chosen = settings.changed(inversion_text="empty", inversion_guidance=1.0, eta=0.0)
    guidance, steps = editor.guidance(chosen), len(items) * (1 + len(ratios))
    tau_of(editor.model.schedule.level(0.5))
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        if on_step is not None:
            on_step(finished, steps)

    trials = []
    for number, (picture, query) in enumerate(items):
        session = editor.open(picture, resolution=chosen.resolution)
        request = MethodRequest(session.picture.pixels, query, "", seed=seed + number)
        trials.append(Trial(editor, session, request, chosen))
    known = _constants(trials, guidance, done)
    rows = tuple(_rows(trials, known, ratios, done))
    crossings = _crossings(known, rows, editor.model.schedule)
    return Bounds(editor.model.identity.as_dict(), seed, chosen.steps, len(items), known, rows, crossings)
