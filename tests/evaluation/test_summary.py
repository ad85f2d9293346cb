"""Means over groups of rows, scopes over kinds, and comparisons of two variants of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordbrush.errors import SettingsError
from wordbrush.evaluation.intervals import interval_over
from wordbrush.evaluation.items import DETERMINED_KINDS, KINDS, LOCAL_KINDS, MEAN_KINDS, Scores, Variant
from wordbrush.evaluation.plan import Row, Rows, RunPlan
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import SCOPES, compare, means, scope_of, scopes_of, summarise


def rows(*values: float | bool | None) -> list[Scores]:
    return [{"m": value} for value in values]


def run(count: int, value: Any, kinds: Any = KINDS) -> Rows:
    """Return a run of two variants, `value(variant, kind, number)` being their metrics."""
    variants = (Variant("first"), Variant("second"))
    places = [(kind, i, v.name) for kind in kinds for i in range(count) for v in variants]
    made = [Row(f"{kind}/{i}", kind, name, value(name, kind, i)) for kind, i, name in places]
    return Rows(tuple(made), RunPlan(variants, Path(), Path(), kinds=kinds), {}, ())


def test_each_metric_has_its_mean_and_one_that_no_row_has_is_absent() -> None:
    table: list[Scores] = [{"a": 1.0, "b": None}, {"a": 2.0}, {}, {"a": None, "b": None}]
    assert means({"": table}, ["a", "b", "c"]) == {"a": interval_over({"": [1.0, 2.0]})}


def test_each_group_counts_the_same_and_an_empty_one_not_at_all() -> None:
    found = means({"many": rows(*[1.0] * 9), "few": rows(0.0, 0.0), "none": rows(None), "empty": []}, ["m"])["m"]
    assert (found.mean, found.n) == (0.5, 11)


def test_additions_are_in_no_wide_scope() -> None:
    assert set(KINDS) - set(MEAN_KINDS) == {"addition"}
    assert all("addition" not in kinds for kinds in SCOPES.values())
    assert SCOPES["local"] == LOCAL_KINDS == ("object", "colour", "pair", "removal")
    assert set(SCOPES["determined"]) == set(DETERMINED_KINDS) == {"removal", "colour", "ground", "time"}
    found = summarise(run(2, lambda _, kind, i: {"mask_iou": 0.0 if kind == "addition" else 0.8}))["first"]
    assert found["all"]["mask_iou"].mean == pytest.approx(0.8)
    assert found["all"]["mask_iou"].n == 12
    assert found["addition"]["mask_iou"].mean == 0.0


def test_scopes_do_not_repeat_each_other() -> None:
    assert scopes_of(KINDS) == ["all", "local", "determined", *KINDS]
    assert scopes_of(["object"]) == ["object"]
    assert scopes_of(["object", "addition"]) == ["object", "addition"]
    assert scopes_of(["pair", "object"]) == ["all", "object", "pair"]
    assert scopes_of(["ground", "time"]) == ["all", "ground", "time"]
    assert scopes_of(["colour", "pair", "removal", "time"]) == [
        *("all", "local", "determined"),
        *("colour", "time", "pair", "removal"),
    ]


def test_the_headline_of_an_rms_is_where_the_counterfactual_is_determined() -> None:
    scopes = scopes_of(KINDS)
    assert {name for name in METRICS if scope_of(name, scopes) == "determined"} == {"rms", "band_rms"}
    assert scope_of("added", scopes) == "addition"
    assert scope_of("mask_iou", scopes) == "all"
    assert scope_of("rms", ["object"]) == "object"


def test_a_share_of_a_scope_is_exact_and_never_without_width() -> None:
    found = summarise(run(5, lambda *_: {"success": True}))["first"]["all"]["success"]
    assert (found.mean, found.high, found.n, found.how) == (1.0, 1.0, 30, "exact")
    assert found.low == pytest.approx(0.025 ** (1 / 30))


def test_a_comparison_is_item_by_item_and_refuses_small_numbers() -> None:
    random = np.random.default_rng(4)
    common = {f"{kind}{i}": float(random.normal(0, 100)) for kind in KINDS for i in range(12)}

    def value(variant: str, kind: str, i: int) -> Scores:
        return {"rms": common[f"{kind}{i}"] + (variant == "second") * (1 + 0.01 * i), "success": variant == "second"}

    found = compare(run(12, value), "first")["second"]
    assert found["all"]["rms"].mean == pytest.approx(1.055)
    assert (found["all"]["rms"].won, found["all"]["rms"].lost, found["all"]["rms"].n) == (72, 0, 72)
    assert found["object"]["success"].p == pytest.approx(2 / 2**12)
    few = compare(run(9, value), "first")["second"]
    assert few["all"]["rms"].p is few["all"]["success"].p is few["object"]["success"].p is None
    assert "mask_iou" not in few["all"]
    with pytest.raises(SettingsError, match=r"'none'.*second"):
        compare(run(1, value), "none")


def test_rows_that_are_not_there_yet_are_paired_with_nothing() -> None:
    whole = run(12, lambda name, kind, i: {"rms": float(i + (name == "second"))}, kinds=("object",))
    some = tuple(r for r in whole.rows if r.variant == "first" or r.item not in ("object/0", "object/5"))
    found = compare(replace(whole, rows=some), "first")["second"]["object"]["rms"]
    assert (found.n, found.mean, found.won) == (10, 1.0, 10)


def test_rows_that_failed_are_left_out_of_both_sides() -> None:
    whole = run(10, lambda name, *_: {"success": name == "first"}, kinds=("object",))
    broken = replace(whole, rows=tuple(replace(r, metrics={}) if r.item == "object/3" else r for r in whole.rows))
    assert compare(broken, "first")["second"]["object"]["success"].n == 9
    assert summarise(broken)["first"]["object"]["success"].n == 9
