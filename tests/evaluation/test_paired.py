"""Paired tests against scipy and closed forms, and the refusal of small numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from wordbrush.errors import InputError
from wordbrush.evaluation.intervals import Values, interval_over
from wordbrush.evaluation.paired import FEWEST, Difference, compare_values, mcnemar, signed_rank


def compared(first: Values, second: Values) -> Difference:
    found = compare_values({"": first}, {"": second})
    assert found is not None
    return found


@pytest.mark.parametrize(("won", "lost"), [(8, 0), (6, 5), (12, 3), (1, 0)])
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(won: int, lost: int) -> None:
    tail = sum(stats.binom.pmf(k, won + lost, 0.5) for k in range(max(won, lost), won + lost + 1))
    assert mcnemar(won, lost) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(lost, won) == mcnemar(won, lost)


def test_known_values_of_mcnemar() -> None:
    assert mcnemar(8, 0) == pytest.approx(2 / 2**8)  # .0078
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(6, 5) == 1.0


def test_signed_ranks_are_scipys_where_there_are_no_ties() -> None:
    gaps = np.random.default_rng(0).normal(0.4, 1, 23)
    assert signed_rank(gaps) == pytest.approx(float(stats.wilcoxon(gaps.tolist(), method="exact").pvalue))
    random = np.random.default_rng(0)
    for many in (random.normal(0.1, 1, 90), random.integers(-3, 5, 90).astype(np.float64)):
        scipys = stats.wilcoxon(many[many != 0].tolist(), method="approx")  # with ties too
        assert signed_rank(many) == pytest.approx(float(scipys.pvalue))


def test_signed_ranks_with_ties_are_counted_out() -> None:
    gaps = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -4.0, 4.0, 0.0])
    ranks = stats.rankdata(np.abs(gaps[gaps != 0]))
    sums = [sum(r for r, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=8)]
    at = ranks[gaps[gaps != 0] > 0].sum()
    expected = 2 * min(np.mean(np.array(sums) >= at), np.mean(np.array(sums) <= at))
    assert signed_rank(gaps) == pytest.approx(float(expected))
    assert signed_rank(np.zeros(12)) == 1.0
    assert signed_rank(np.ones(12)) == pytest.approx(2 / 2**12)


def test_shares_are_compared_by_those_items_that_tell_the_sides_apart() -> None:
    first = [True] * 9 + [False] * 3
    second = [True] * 3 + [False] * 8 + [True]
    found = compared(first, second)
    assert (found.won, found.lost, found.n, found.test) == (6, 1, 12, "mcnemar")
    assert found.mean == pytest.approx(5 / 12)
    assert found.p == pytest.approx(mcnemar(6, 1))
    assert found.low is found.high is None
    assert not found.is_clear
    assert compared([True] * 12, [False] * 12).is_clear


def test_means_are_compared_over_kinds_of_the_kinds_differences() -> None:
    random = np.random.default_rng(3)
    common = random.normal(0, 100, (2, 20))
    gain = random.normal(1, 0.1, (2, 20))
    found = compare_values(
        {"a": (common + gain)[0].tolist(), "b": (common + gain)[1, :10].tolist()},
        {"a": common[0].tolist(), "b": common[1, :10].tolist()},
    )
    assert found is not None
    same = interval_over({"a": gain[0], "b": gain[1, :10]})
    assert (found.mean, found.low, found.high) == pytest.approx((same.mean, same.low, same.high))
    assert (found.won, found.lost, found.n, found.test) == (30, 0, 30, "wilcoxon")
    assert found.p == pytest.approx(2 / 2**30)


def test_below_ten_items_of_any_kind_nothing_is_claimed() -> None:
    assert FEWEST == 10
    enough, few = [1.0] * 10, [1.0] * 9
    assert compared(enough, [0.0] * 10).is_clear
    found = compared(few, [0.0] * 9)
    assert (found.mean, found.won, found.p, found.is_clear) == (1.0, 9, None, False)
    mixed = compare_values({"a": [True] * 50, "b": [True] * 9}, {"a": [False] * 50, "b": [False] * 9})
    assert mixed is not None
    assert (mixed.p, mixed.is_clear) == (None, False)


def test_items_without_both_values_are_left_out() -> None:
    found = compared([1.0, None, 3.0, 2.0], [0.0, 1.0, None, 2.0])
    assert (found.n, found.mean, found.won, found.lost) == (2, 0.5, 1, 0)
    assert compare_values({"": [None]}, {"": [1.0]}) is None
    with pytest.raises(InputError, match="item by item"):
        compare_values({"": [1.0]}, {"": [1.0, 2.0]})
