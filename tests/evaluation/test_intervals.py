"""Intervals: published numbers, closed forms, coverage, and what must be refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wordbrush.errors import InputError
from wordbrush.evaluation.intervals import Interval, Values, clopper_pearson, interval_over


def interval(values: Values, level: float = 0.95) -> Interval:
    return interval_over({"": values}, level)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Hits of all or none: the tail is a power, .025 ** (1 / n).
        (14, 14, 0.025 ** (1 / 14), 1.0),
        (0, 20, 0.0, 1 - 0.025 ** (1 / 20)),
        (1, 1, 0.025, 1.0),
        # Newcombe 1998, table I, method 5.
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_and_pearson_against_known_numbers(hits: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, n) == pytest.approx((low, high), abs=6e-5)


def test_the_ends_of_a_share_leave_two_and_a_half_percent_in_each_tail() -> None:
    low, high = clopper_pearson(6, 7)
    assert stats.binom.sf(5, 7, low) == pytest.approx(0.025)
    assert stats.binom.cdf(6, 7, high) == pytest.approx(0.025)
    assert (round(low, 2), round(high, 2)) == (0.42, 1.00)


def test_a_share_that_is_whole_has_a_width() -> None:
    found = interval([True] * 14)
    assert (found.mean, found.high, found.n, found.how) == (1.0, 1.0, 14, "exact")
    assert found.low == pytest.approx(0.7684, abs=1e-4)
    assert interval([True]).low == pytest.approx(0.025)


def test_a_share_over_equal_groups_is_that_of_the_pooled_count() -> None:
    groups = {"a": [True] * 10, "b": [True] * 4 + [False] * 6}
    found = interval_over(groups)
    assert (found.mean, found.n) == pytest.approx((0.7, 20))
    assert (found.low, found.high) == pytest.approx(clopper_pearson(14, 20))


def test_a_share_over_unequal_groups_counts_the_groups_the_same_and_is_wider() -> None:
    groups: dict[str, list[float | bool | None]] = {"many": [True] * 90, "few": [False] * 10, "none": [None]}
    found = interval_over(groups)
    assert (found.mean, found.n) == pytest.approx((0.5, 100))
    effective = 4 / (1 / 90 + 1 / 10)  # 36: the few decide
    assert (found.low, found.high) == pytest.approx(clopper_pearson(effective / 2, effective))
    assert found.low is not None
    assert found.low < clopper_pearson(50, 100)[0]


def test_the_interval_of_a_stratified_share_covers_at_least_ninety_five_of_a_hundred() -> None:
    random, chances, held = np.random.default_rng(1), (0.99, 0.9, 0.6), 0
    for _ in range(400):
        found = interval_over({str(p): (random.random(12) < p).tolist() for p in chances})
        assert found.low is not None
        assert found.high is not None
        held += found.low <= sum(chances) / 3 <= found.high
    assert held / 400 >= 0.95


def test_a_mean_has_students_interval() -> None:
    values = [3.0, 5.0, 10.0]
    reach = 4.302653 * np.std(values, ddof=1) / math.sqrt(3)  # the quantile for two degrees of freedom
    found = interval(values)
    assert (found.mean, found.n, found.how) == (6.0, 3, "student")
    assert (found.low, found.high) == pytest.approx((6 - reach, 6 + reach), rel=1e-6)
    assert (interval(values, 0.9).high or 0) < 6 + reach


def test_groups_are_strata_of_one_weight_each() -> None:
    """Two far-apart groups: a width across them would be about their distance."""
    a, b = [0.0, 2.0, 4.0], [1000.0, 1001.0, 1002.0, 1003.0]
    found = interval_over({"a": a, "b": b, "none": [None, None]})
    parts = [np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts)) / 2
    assert found.mean == pytest.approx((2 + 1001.5) / 2)
    assert (found.low, found.high) == pytest.approx((found.mean - reach, found.mean + reach))
    assert found.n == 7


def test_about_ninety_five_of_a_hundred_intervals_of_a_mean_hold_the_truth() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(600):
        found = interval_over({"a": random.normal(3, 1, 10), "b": random.normal(5, 4, 10)})
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 4.0 <= found.high
    assert 0.93 <= held / 600 <= 0.97


def test_no_interval_is_made_up() -> None:
    assert interval([0.25]) == Interval(0.25, None, None, 1, "unknown")
    assert interval_over({"a": [0.25], "b": [0.5, 0.75]}) == Interval(0.4375, None, None, 3, "unknown")
    assert interval([86, 86, 86]) == Interval(86.0, 86.0, 86.0, 3, "equal")


def test_missing_values_are_left_out_and_nothing_else_is() -> None:
    assert interval([1.0, None, 2.0, None]) == interval([1.0, 2.0])
    assert interval([True, None, False]).how == "exact"
    assert interval([1.0, False]).how == "student"
    with pytest.raises(InputError, match="at least one"):
        interval([None, None])
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="not defined"):
            interval([1.0, bad])
    with pytest.raises(InputError, match="level"):
        interval([1.0], level=1.0)
    for hits, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match="no share"):
            clopper_pearson(hits, n)
