"""Paired comparisons: two sides that ran on the same items, so that what the items have in common cancels.

Shares are compared by McNemar's exact test: of the items on which one side alone succeeds, each side has half by
chance. Other metrics are compared by Wilcoxon's signed-rank test, exact with ties. Both pool the items of all kinds,
which asks of chance only that it favours neither side within any kind. Values of p are of one comparison each and not
corrected for their number. Below `FEWEST` items of any kind no test is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wordbrush.errors import InputError
from wordbrush.evaluation.intervals import Interval, Values, interval_over

__all__ = ["FEWEST", "SIGNIFICANT", "Difference", "compare_values", "mcnemar", "signed_rank"]

FEWEST: Final = 10
"""Fewest items of each kind for a claim."""
SIGNIFICANT: Final = 0.05
_EXACT: Final = 60
"""Most items for the exact distribution of signed ranks; the normal curve is as good above."""


@dataclass(frozen=True)
class Difference:
    """The difference of two sides in one metric, item by item: first minus second.

    Attributes:
        mean: over kinds of the kind's mean difference.
        low: lower end of its 95 % interval; None for shares, of which `won` and `lost` tell more, or if unknown.
        high: upper end.
        n: number of items with both values.
        won: items on which the first side is higher.
        lost: items on which it is lower.
        p: of the test, two-sided; None where a kind has fewer than `FEWEST` items.
        test: `mcnemar` for shares, else `wilcoxon`.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    won: int
    lost: int
    p: float | None
    test: Literal["mcnemar", "wilcoxon"]

    @property
    def is_clear(self) -> bool:
        """Whether there are enough items, and chance alone would do it in fewer than 5 % of cases."""
        return self.p is not None and self.p < SIGNIFICANT


def compare_values(first: Mapping[str, Values], second: Mapping[str, Values]) -> Difference | None:
    """Compare two sides by kind; None where no item has both values.

    Args:
        first: values by kind, one per item; None where the metric is not defined.
        second: those of the other side on the same items, in the same order.

    Raises:
        InputError: the sides have not the same kinds with as many items each.
    """
    if {kind: len(values) for kind, values in first.items()} != {kind: len(v) for kind, v in second.items()}:
        raise InputError("two sides are compared item by item: give one value each per item of each kind")
    pairs = {kind: _both(values, second[kind]) for kind, values in first.items()}
    pairs = {kind: both for kind, both in pairs.items() if both}
    if not pairs:
        return None
    gaps = {kind: np.array([float(a) - float(b) for a, b in both]) for kind, both in pairs.items()}
    flat, found = np.concatenate(list(gaps.values())), interval_over(gaps)
    is_share = all(isinstance(value, bool) for both in pairs.values() for pair in both for value in pair)
    won, lost = int((flat > 0).sum()), int((flat < 0).sum())
    enough = min(map(len, gaps.values())) >= FEWEST
    if is_share:
        return Difference(found.mean, None, None, found.n, won, lost, mcnemar(won, lost) if enough else None, "mcnemar")
    return _of_means(found, won, lost, signed_rank(flat) if enough else None)


def mcnemar(won: int, lost: int) -> float:
    """Return the two-sided p of McNemar's exact test: the sign test on the items that tell the sides apart."""
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def signed_rank(gaps: NDArray[np.float64]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out.

    Up to 60 items the distribution of the rank sum is counted out for the ranks as they are, ties included.
    """
    gaps = gaps[gaps != 0]
    if not len(gaps):
        return 1.0
    ranks = np.rint(2 * stats.rankdata(np.abs(gaps))).astype(int)  # twice, so that those of ties are whole numbers
    at = int(ranks[gaps > 0].sum())
    if len(gaps) > _EXACT:
        away = abs(at - ranks.sum() / 2) / np.sqrt((ranks**2).sum() / 4)
        return float(2 * stats.norm.sf(away))
    chances = np.zeros(ranks.sum() + 1)
    chances[0] = 1.0
    for rank in ranks:
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[:-rank]
        chances = (chances + shifted) / 2
    return float(min(1.0, 2 * min(chances[: at + 1].sum(), chances[at:].sum())))


def _both(first: Values, second: Values) -> list[tuple[Any, Any]]:
    return [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]


def _of_means(found: Interval, won: int, lost: int, p: float | None) -> Difference:
    return Difference(found.mean, found.low, found.high, found.n, won, lost, p, "wilcoxon")
