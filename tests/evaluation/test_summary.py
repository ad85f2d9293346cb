"""Means over groups of rows, and differences between two sides of the same items."""

from __future__ import annotations

import numpy as np
import pytest

from wordbrush.errors import InputError
from wordbrush.evaluation.bootstrap import Interval, stratified
from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.summary import differences, means


def rows(*values: float | bool | None) -> list[Scores]:
    return [{"m": value} for value in values]


def test_each_metric_has_its_mean_and_one_that_no_row_has_is_absent() -> None:
    table: list[Scores] = [{"a": 1.0, "b": None}, {"a": 2.0}, {}, {"a": None, "b": None}]
    found = means({"": table}, ["a", "b", "c"], seed=3)
    assert found == {"a": stratified({"": [1.0, 2.0]}, seed=3)}


def test_each_group_counts_the_same_and_an_empty_one_not_at_all() -> None:
    found = means({"many": rows(*[1.0] * 9), "one": rows(0.0), "none": rows(None), "empty": []}, ["m"])
    assert found == {"m": Interval(0.5, 0.5, 0.5, 10)}


def test_differences_cancel_what_items_share() -> None:
    random = np.random.default_rng(4)
    common = random.normal(0, 100, 60)
    better = common + 1 + random.normal(0, 0.1, 60)
    found = means({"": differences(rows(*better), rows(*common))}, ["m"])["m"]
    assert found.mean == pytest.approx(1, abs=0.05)
    assert 0.9 < found.low < found.high < 1.1
    assert means({"": differences(rows(*common), rows(*better))}, ["m"])["m"].mean == -found.mean


def test_differences_without_both_values_are_left_out() -> None:
    found = differences([*rows(1.0, None, 3.0, True), {}], [*rows(0.0, 1.0, None), {}, *rows(3.0)])
    assert found == [*rows(1.0, None, None, None), {}]
    assert means({"": found}, ["m"]) == {"m": Interval(1.0, 1.0, 1.0, 1)}
    by_kind = {"a": differences(rows(1.0, 1.0, True), rows(0.0, 0.0, 0.0)), "b": differences(rows(5.0), rows(False))}
    assert means(by_kind, ["m"]) == {"m": Interval(3.0, 3.0, 3.0, 4)}
    with pytest.raises(InputError, match="one each per item"):
        differences(rows(1.0), rows(1.0, 2.0))
