"""Laws of masks that hold for every mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wordbrush.region.mask import Mask, ResizeRule

laws = settings(max_examples=60, derandomize=True, deadline=None)
RULES: tuple[ResizeRule, ...] = ("nearest", "linear", "area", "any")


def _draw_values(draw: st.DrawFn, size: tuple[int, int], *, soft: bool) -> NDArray[np.float32]:
    seed, share = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0])
    values = rng.random(shape) < share
    if soft:
        return (values * rng.integers(0, 256, shape) / 255).astype(np.float32)
    return values.astype(np.float32)


@st.composite
def masks(draw: st.DrawFn, count: int = 1, soft: bool | None = None) -> tuple[Mask, ...]:
    size = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    kinds = [draw(st.booleans()) if soft is None else soft for _ in range(count)]
    return tuple(Mask(_draw_values(draw, size, soft=kind)) for kind in kinds)


def same(a: Mask, b: Mask) -> bool:
    return np.array_equal(a.values, b.values)


def within(a: Mask, b: Mask) -> bool:
    return bool((a.values <= b.values).all())


@laws
@given(masks(3))
def test_lattice_laws_hold_exactly(given_masks: tuple[Mask, Mask, Mask]) -> None:
    a, b, c = given_masks
    assert same(a | a, a)
    assert same(a & a, a)
    assert same(a | b, b | a)
    assert same(a & b, b & a)
    assert same((a | b) | c, a | (b | c))
    assert same((a & b) & c, a & (b & c))
    assert same(a | (a & b), a)
    assert same(a & (a | b), a)
    assert same(a & (b | c), (a & b) | (a & c))


@laws
@given(masks(2))
def test_de_morgan_and_difference(given_masks: tuple[Mask, Mask]) -> None:
    a, b = given_masks
    assert same(~(a | b), ~a & ~b)
    assert same(~(a & b), ~a | ~b)
    assert same(a - b, a & ~b)
    np.testing.assert_allclose((~~a).values, a.values, atol=6e-8)


@laws
@given(masks(2, soft=False))
def test_binary_masks_are_sets(given_masks: tuple[Mask, Mask]) -> None:
    a, b = given_masks
    assert same(~~a, a)
    assert (a & ~a).is_empty
    assert (a | ~a).area == 1
    assert ((a - b) & b).is_empty
    assert same((a - b) | (a & b), a)


@laws
@given(masks(1), st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 30.0]))
def test_growing_and_shrinking(one: tuple[Mask], radius: float) -> None:
    (a,) = one
    assert within(a, a.grow(radius))
    assert within(a.shrink(radius), a)
    assert within(a, a.grow(radius).shrink(radius))
    assert within(a.shrink(radius).grow(radius), a)
    closed = a.grow(radius).shrink(radius)
    assert same(closed.grow(radius).shrink(radius), closed)
    np.testing.assert_allclose(a.shrink(radius).values, (~(~a).grow(radius)).values, atol=6e-8)
    assert same(a.grow(0), a)


@laws
@given(masks(1), st.sampled_from([1.0, 2.0, 2.5, 40.0]))
def test_grow_is_the_largest_value_in_a_disc(one: tuple[Mask], radius: float) -> None:
    (a,) = one
    ys, xs = np.mgrid[: a.size[1], : a.size[0]]
    grown = a.grow(radius).values
    for y, x in zip(ys.ravel()[::5], xs.ravel()[::5], strict=True):
        assert grown[y, x] == a.values[(ys - y) ** 2 + (xs - x) ** 2 <= radius**2].max()


@laws
@given(masks(2), st.sampled_from([2.0, 3.0, 5.5]))
def test_operations_keep_the_order_of_masks(given_masks: tuple[Mask, Mask], radius: float) -> None:
    small, large = given_masks[0] & given_masks[1], given_masks[0]
    assert within(small.grow(radius), large.grow(radius))
    assert within(small.shrink(radius), large.shrink(radius))
    assert within(small.feather(radius), large.feather(radius))
    for rule in RULES:
        assert (small.resize((5, 3), rule).values <= large.resize((5, 3), rule).values + 1e-6).all()


@laws
@given(masks(1), st.sampled_from([0.0, 1.0, 2.0, 4.0, 7.5]))
def test_feather_keeps_the_inside_and_ends_at_the_radius(one: tuple[Mask], radius: float) -> None:
    (a,) = one
    soft = a.feather(radius)
    assert within(a, soft)
    assert within(a.feather(radius / 2), soft)
    assert (soft.values[a.values == 1] == 1).all()
    assert (soft.values[a.grow(radius).values == 0] == 0).all()


@laws
@given(masks(1, soft=False), st.sampled_from([2.0, 4.0, 7.5]))
def test_feather_falls_with_the_distance(one: tuple[Mask], radius: float) -> None:
    from scipy import ndimage

    (a,) = one
    if a.is_empty:
        assert a.feather(radius).is_empty
        return
    distance = ndimage.distance_transform_edt(a.values == 0)
    np.testing.assert_allclose(a.feather(radius).values, np.clip(1 - distance / radius, 0, 1), atol=1e-6)


@laws
@given(masks(1), st.integers(0, 30))
def test_holes_and_specks_settle_at_once(one: tuple[Mask], cells: int) -> None:
    (a,) = one
    assert within(a, a.fill_holes())
    assert same(a.fill_holes().fill_holes(), a.fill_holes())
    assert within(a.drop_specks(cells), a)
    assert same(a.drop_specks(cells).drop_specks(cells), a.drop_specks(cells))
    assert same(a.drop_specks(0), a)


@laws
@given(masks(1), st.integers(1, 5), st.integers(1, 5))
def test_resizing_up_by_whole_factors_and_back_changes_nothing(one: tuple[Mask], across: int, down: int) -> None:
    (a,) = one
    large = a.resize((a.size[0] * across, a.size[1] * down), "nearest")
    assert same(large, Mask(np.kron(a.values, np.ones((down, across), dtype=np.float32))))
    for rule in ("nearest", "any"):
        assert same(large.resize(a.size, rule), a)
    np.testing.assert_allclose(large.resize(a.size, "area").values, a.values, atol=6e-8)
    assert same(a.resize(large.size, "any"), large)
    np.testing.assert_allclose(a.resize(large.size, "area").values, large.values, atol=6e-8)


@laws
@given(masks(1), st.integers(1, 40), st.integers(1, 40))
def test_resizing_to_any_size(one: tuple[Mask], width: int, height: int) -> None:
    (a,) = one
    size = (width, height)
    assert a.resize(size, "area").area == pytest.approx(a.area, abs=1e-6)
    assert within(a.resize(size, "nearest"), a.resize(size, "any"))
    assert (a.resize(size, "area").values <= a.resize(size, "any").values + 1e-6).all()
    assert a.resize(size, "any").values.max() == a.values.max()
    for rule in RULES:
        assert Mask.full(a.size).resize(size, rule).values.min() == 1
        assert Mask.empty(a.size).resize(size, rule).is_empty
        if a.is_binary and rule in ("nearest", "any"):
            assert a.resize(size, rule).is_binary


@laws
@given(masks(1))
def test_png_gives_the_mask_back(one: tuple[Mask]) -> None:
    (a,) = one
    assert same(Mask.open(a.png_bytes()), a)
    assert Mask.open(a.png_bytes()).digest() == a.digest()
