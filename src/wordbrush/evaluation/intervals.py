"""Confidence intervals of shares and of means: exact for shares, Student's for means, and none where none can be had.

Items are the unit of chance: what is measured on one item must be one value, or the interval is too narrow. Items come
in groups, such as kinds of edits; the figure is the mean over groups of each group's mean, so that each group counts
the same, and its interval treats the groups as strata.

A share (every value is true or false) has the interval of Clopper and Pearson 1934, which holds at least 95 % of the
time and has a width even where every item succeeds. Over several groups it is taken on the pooled count, where groups
of unequal size are told by the effective number of items (Korn and Graubard 1998). That is on the safe side: a sum of
draws with unlike chances spreads less than a binomial of their mean chance (Hoeffding 1956).

Any other mean has Student's interval with the groups' variances added and the degrees of freedom of Satterthwaite 1946.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wordbrush.errors import InputError

__all__ = ["Interval", "clopper_pearson", "interval_over"]

Values = Sequence[float | bool | None] | Sequence[float] | NDArray[Any]
"""One value per item; None where the metric is not defined for it."""

How = Literal["exact", "student", "equal", "unknown"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: over groups of the groups' means.
        low: lower end, or None where one item cannot tell how items differ.
        high: upper end, or None.
        n: number of items.
        how: `exact` for a share; `student` for another mean; `equal` where the items of each group have one and the
            same value, such as evaluations (low = high = mean); `unknown` where a group has a single item.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    how: How = "student"


def interval_over(groups: Mapping[str, Values], level: float = 0.95) -> Interval:
    """Return the mean over groups of each group's mean with its interval.

    Args:
        groups: values by group, such as by kind, one per item; None means not defined for this item, and is left out,
            and so is a group without any value. Where all are bool they are a share.
        level: confidence, between 0 and 1.

    Raises:
        InputError: no group has a value, one is not finite, or the level is out of range.
    """
    if not 0 < level < 1:
        raise InputError(f"level {level} must be between 0 and 1")
    present = [[value for value in values if value is not None] for values in groups.values()]
    present = [values for values in present if values]
    if not present:
        raise InputError("an interval needs at least one value: leave out metrics that no item has")
    if all(isinstance(value, bool | np.bool_) for values in present for value in values):
        return _share([[bool(value) for value in values] for values in present], level)
    return _mean([_numbers(values) for values in present], level)


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of `hits` in `n`: quantiles of beta distributions; fractions are allowed.

    Raises:
        InputError: the hits are not between 0 and n, or there is no item.
    """
    if not 0 <= hits <= n or n <= 0:
        raise InputError(f"{hits} of {n} is no share")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def _share(groups: Sequence[Sequence[bool]], level: float) -> Interval:
    share = float(np.mean([np.mean(values) for values in groups]))
    n = len(groups) ** 2 / sum(1 / len(values) for values in groups)
    return Interval(share, *clopper_pearson(share * n, n, level), sum(map(len, groups)), "exact")


def _mean(groups: Sequence[NDArray[np.float64]], level: float) -> Interval:
    mean, count = float(np.mean([values.mean() for values in groups])), sum(map(len, groups))
    if min(map(len, groups)) < 2:
        return Interval(mean, None, None, count, "unknown")
    if all(np.ptp(values) == 0 for values in groups):
        return Interval(mean, mean, mean, count, "equal")
    parts = np.array([values.var(ddof=1) / len(values) for values in groups])
    freedom = parts.sum() ** 2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, groups, strict=True))
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(parts.sum()) / len(groups))
    return Interval(mean, mean - reach, mean + reach, count, "student")


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise InputError("a value is NaN or infinite: give None where a metric is not defined for an item")
    return numbers
