"""Thresholds: from a soft map to a mask, by five rules."""

from __future__ import annotations

from typing import cast, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.maps import Map, bump, contrast_of, maps
from wordbrush.errors import SettingsError
from wordbrush.region.threshold import Contrast, Rule, otsu, rescale

RULES = cast("tuple[Rule, ...]", get_args(Rule))


@pytest.mark.parametrize("rule", ["fixed", "quantile", "ratio"])
@given(raw=maps, one=st.floats(0, 1), other=st.floats(0, 1))
def test_a_higher_threshold_gives_a_subset(rule: Rule, raw: Map, one: float, other: float) -> None:
    contrast = contrast_of(raw)
    low, high = sorted((one, other))
    assert (contrast.threshold(high, rule).values <= contrast.threshold(low, rule).values).all()


@given(raw=maps, one=st.floats(0, 1), other=st.floats(0, 1))
def test_a_larger_area_gives_a_superset_and_is_met_to_a_cell(raw: Map, one: float, other: float) -> None:
    contrast = contrast_of(raw)
    small, large = (contrast.threshold(value, "area") for value in sorted((one, other)))
    assert (small.values <= large.values).all()
    assert large.area <= max(one, other) + 1 / raw.size


@given(raw=maps, one=st.floats(-1, 1), other=st.floats(-1, 1))
def test_moving_the_otsu_cut_up_gives_a_subset(raw: Map, one: float, other: float) -> None:
    contrast = contrast_of(raw)
    low, high = sorted((one, other))
    assert (contrast.threshold(high, "otsu").values <= contrast.threshold(low, "otsu").values).all()


def test_areas_and_quantiles_take_the_share_they_name() -> None:
    contrast = Contrast(bump(16, 16), rescale(bump(16, 16), "minmax"))
    for share in (0.0, 0.1, 0.25, 0.5, 0.9):
        assert contrast.threshold(share, "area").area == pytest.approx(share, abs=1.01 / 256)
        assert contrast.threshold(1 - share, "quantile").area == pytest.approx(share, abs=1.01 / 256)


def test_defaults_of_the_rules() -> None:
    contrast = contrast_of(bump())
    for rule, value in {"fixed": 0.26, "quantile": 0.8, "area": 0.25, "ratio": 1.5, "otsu": 0.0}.items():
        one, other = contrast.threshold(rule=cast("Rule", rule)), contrast.threshold(value, cast("Rule", rule))
        np.testing.assert_array_equal(one.values, other.values)
        assert 0.0 < one.area < 1.0


def between(values: NDArray[np.float64], cut: float) -> float:
    upper, lower = values[values > cut], values[values <= cut]
    if not (upper.size and lower.size):
        return 0.0
    return float(upper.size * lower.size * (upper.mean() - lower.mean()) ** 2)


@given(maps)
def test_otsu_separates_as_well_as_any_cut(raw: Map) -> None:
    values = raw.astype(np.float64).ravel()
    best = max(between(values, cut) for cut in values)
    assert between(values, otsu(raw)) == pytest.approx(best, rel=1e-9, abs=1e-12)


def test_otsu_by_hand() -> None:
    assert otsu(np.array([[0.0, 0.1, 0.2, 0.8, 0.9]], np.float32)) == pytest.approx(0.5)
    assert otsu(np.full((3, 3), 0.7, np.float32)) == pytest.approx(0.7)
    assert otsu(np.array([[0.4]], np.float32)) == pytest.approx(0.4)
    assert otsu(np.zeros((0, 3), np.float32)) == 1.0


def test_ties_count_the_cells_at_the_cut() -> None:
    soft = np.array([[0.0, 0.49995, 0.50005, 0.6, 1.0]], np.float32)
    assert Contrast(soft, soft).ties(0.5) == 2
    assert Contrast(soft, soft).ties(0.6) == 1
    assert Contrast(soft, soft).ties(0.3) == 0


@pytest.mark.parametrize("rule", RULES)
def test_thresholds_out_of_range_are_refused(rule: Rule) -> None:
    contrast = contrast_of(bump())
    bad = {"ratio": [-0.1], "otsu": []}.get(rule, [-0.1, 1.1])
    for value in [*bad, float("nan"), float("inf")]:
        with pytest.raises(SettingsError, match=rule):
            contrast.threshold(value, rule)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(SettingsError, match=r"'median'.*otsu"):
        contrast_of(bump()).threshold(0.5, cast("Rule", "median"))
