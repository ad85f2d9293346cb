"""Confidence intervals by bootstrap: redraw the items with replacement and take percentiles of the means.

Items are the unit of chance: what is measured on one item must be one value, or the interval is too narrow. All is
seeded: the same values and seed give the same interval. Percentile intervals of a share that is 0 or 1 on every item
have no width; the number of items says what such an interval is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError

__all__ = ["Interval", "stratified"]

Float = NDArray[np.float64]
Values = Sequence[float | bool | None] | Sequence[float] | NDArray[Any]
"""One value per item; None where the metric is not defined for it."""

_CHUNK = 2_000_000  # drawn values held at a time: bounds memory whatever the number of items


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: of the items themselves.
        low: lower end.
        high: upper end.
        n: number of items.
    """

    mean: float
    low: float
    high: float
    n: int


def stratified(groups: Mapping[str, Values], level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean over groups of each group's mean with its percentile interval, items drawn within their group.

    Each group counts the same, however many items it has. A group without any value is left out.

    Args:
        groups: values by group, such as by kind, one per item; None means not defined for this item, and is left out.
        level: confidence, between 0 and 1.
        resamples: how often the items are drawn again.
        seed: of the draws.

    Returns:
        The interval; `n` counts the items of all groups. For one item low = high = mean, since nothing can be drawn
        otherwise.

    Raises:
        InputError: no group has a value, one is not finite, or a setting is out of range.
    """
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level {level} must be between 0 and 1, and resamples {resamples} at least 1")
    filled = [numbers for values in groups.values() if len(numbers := _present(values))]
    if not filled:
        raise InputError("an interval needs at least one value: leave out metrics that no item has")
    random = np.random.default_rng(seed)
    point = float(np.mean([values.mean() for values in filled]))
    drawn = np.mean([_resampled(values, resamples, random) for values in filled], axis=0)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, float(low), float(high), sum(map(len, filled)))


def _present(values: Values) -> Float:
    """Return the values that are not None, in float64."""
    if not isinstance(values, np.ndarray):
        values = [value for value in np.asarray(values, dtype=object).ravel() if value is not None]
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(numbers).all():
        raise InputError("a value is NaN or infinite: give None where a metric is not defined for an item")
    return numbers


def _resampled(values: Float, resamples: int, random: np.random.Generator) -> Float:
    """Return the means of `resamples` random draws with replacement, each as large as `values`: (resample,)."""
    rows = max(1, _CHUNK // len(values))

    def draws() -> Iterator[Float]:
        for start in range(0, resamples, rows):
            picked = random.integers(len(values), size=(min(rows, resamples - start), len(values)))
            yield values[picked].mean(axis=-1)

    return np.concatenate(list(draws()))
