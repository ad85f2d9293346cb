"""Bootstrap intervals: known cases, coverage, and what must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from wordbrush.errors import InputError
from wordbrush.evaluation import bootstrap
from wordbrush.evaluation.bootstrap import Interval, Values, stratified


def interval(values: Values, **more: Any) -> Interval:
    return stratified({"": values}, **more)


def test_equal_values_and_a_single_one_have_no_width() -> None:
    assert interval([3.0] * 7) == Interval(3.0, 3.0, 3.0, 7)
    assert interval([True]) == Interval(1.0, 1.0, 1.0, 1)


def test_missing_values_are_left_out_and_nothing_else_is() -> None:
    assert interval([1.0, None, 2.0, None]) == interval([1.0, 2.0])
    with pytest.raises(InputError, match="at least one"):
        interval([None, None])
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="not defined"):
            interval([1.0, bad])
    with pytest.raises(InputError, match="level"):
        interval([1.0], level=1.0)


def test_a_share_agrees_with_the_binomial() -> None:
    """Resampling 0 and 1 draws a binomial count: its quantiles are known exactly."""
    values = [True] * 30 + [False] * 70
    found = interval(values, resamples=20_000)
    low, high = (float(stats.binom.ppf(q, 100, 0.3)) / 100 for q in (0.025, 0.975))
    assert found.mean == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.0101)


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=40)
    whole = interval(values, seed=5)
    assert interval(values, seed=5) == whole
    assert interval(values, seed=6) != whole
    monkeypatch.setattr(bootstrap, "_CHUNK", 90)  # two draws at a time
    assert interval(values, seed=5) == whole


def test_about_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(1)
    held = 0
    for trial in range(400):
        found = interval(random.exponential(2.0, size=80), resamples=400, seed=trial)
        held += found.low <= 2.0 <= found.high
    assert 0.89 <= held / 400 <= 0.98


def test_the_width_is_that_of_theory() -> None:
    values = np.random.default_rng(2).normal(5, 3, size=400)
    found = interval(values, resamples=10_000)
    expected = 2 * 1.96 * values.std() / np.sqrt(400)
    assert found.high - found.low == pytest.approx(expected, rel=0.05)
    narrower = interval(values, level=0.5, resamples=10_000)
    assert narrower.high - narrower.low == pytest.approx(expected * 0.6745 / 1.96, rel=0.05)


def test_each_group_counts_the_same() -> None:
    groups: dict[str, list[float | None]] = {"object": [1.0] * 90, "ground": [0.0] * 10, "time": [None]}
    assert stratified(groups) == Interval(0.5, 0.5, 0.5, 100)


def test_groups_are_drawn_within_themselves() -> None:
    """Two far-apart groups: drawing across them would give a width of about their distance."""
    random = np.random.default_rng(3)
    groups = {"a": random.normal(0, 1, 50), "b": random.normal(1000, 1, 50)}
    found = stratified(groups, resamples=4000)
    expected = 2 * 1.96 * np.sqrt(groups["a"].var() / 50 + groups["b"].var() / 50) / 2
    assert found.high - found.low == pytest.approx(expected, rel=0.08)
    assert found.mean == pytest.approx((groups["a"].mean() + groups["b"].mean()) / 2)
