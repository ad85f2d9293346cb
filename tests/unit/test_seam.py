"""Seams: where they run, and what is carried across them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from wordbrush.region.contour import drawn, signed_distance
from wordbrush.region.seam import AROUND, SMALL, correction, matched, outward

Bytes = NDArray[np.uint8]

SIDE = 96
REACH = 16.0


def disc(radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    inside: NDArray[np.bool_] = np.hypot(x - SIDE / 2, y - SIDE / 2) < radius
    return inside


def ground() -> Bytes:
    """A slope of colours, as a sky has."""
    slope = np.linspace(90, 150, SIDE)[:, None, None] + np.array([0.0, 20.0, 60.0])
    return np.array(np.broadcast_to(np.rint(slope), (SIDE, SIDE, 3)), np.uint8)


def thing(radius: float, colour: tuple[int, int, int]) -> Bytes:
    """A disc on the ground, its outline antialiased over two pixels."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    share = np.clip((radius - np.hypot(x - SIDE / 2, y - SIDE / 2)) / 2 + 0.5, 0, 1)[..., None]
    return np.array(np.rint(ground() * (1 - share) + np.array(colour) * share), np.uint8)


DISTANCE = signed_distance(disc(24))
WEIGHT = drawn(DISTANCE, (SIDE, SIDE))
INSIDE = DISTANCE > 0.5


# ---- what is carried inwards


def test_a_shift_of_the_codec_is_gone_at_the_seam_and_back_at_the_reach() -> None:
    """The codec shifts all colours by (6, -4, 9), inside the region and outside."""
    shift = np.array([6, -4, 9])
    after = (ground().astype(int) + shift).astype(np.uint8)
    added = correction(ground(), after, WEIGHT, REACH)
    size = (1 - (np.square(shift).mean() / SMALL**2)) ** 2  # the share that counts of a difference of this size
    rim = INSIDE & (DISTANCE < 1.0)
    assert np.abs(added[rim] + size * shift).max() < 1.5
    deep = DISTANCE > REACH + 1
    assert deep.any()
    assert not added[deep].any()
    sizes = [float(np.abs(added[(d < DISTANCE) & (d + 2 >= DISTANCE)]).mean()) for d in range(1, 15, 2)]
    assert all(inner < outer for outer, inner in pairwise(sizes))
    assert not added[WEIGHT == 0].any()


def test_a_true_change_of_content_is_left_alone() -> None:
    """A sunset beside snow: what differs by more than any codec does is not carried inwards."""
    after = ground()
    after[..., 0] += 100
    assert not correction(ground(), after, WEIGHT, REACH).any()
    np.testing.assert_array_equal(matched(ground(), after, WEIGHT, REACH), after)


def test_a_change_on_one_side_hardly_weakens_what_the_other_side_tells() -> None:
    after = (ground().astype(int) + 6).astype(np.uint8)
    after[: SIDE // 2, :, 0] += 90
    added = correction(ground(), after, WEIGHT, REACH)
    rim = INSIDE & (DISTANCE < 1.5)
    rows = np.arange(SIDE)[:, None] * np.ones((1, SIDE))
    assert added[rim & (rows > SIDE // 2 + 12)].mean() == pytest.approx(-6, abs=1.5)
    assert np.abs(added[rim & (rows < SIDE // 2 - 12)]).max() < 0.5


def test_equal_pictures_need_nothing() -> None:
    assert not correction(ground(), ground(), WEIGHT, REACH).any()


@pytest.mark.parametrize("weight", [np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE))], ids=["nothing", "everything"])
def test_without_a_seam_nothing_is_carried(weight: NDArray[np.float64]) -> None:
    after = (ground().astype(int) + 6).astype(np.uint8)
    np.testing.assert_array_equal(matched(ground(), after, weight.astype(np.float32), REACH), after)


def test_bytes_stay_bytes() -> None:
    white, near = np.full((SIDE, SIDE, 3), 255, np.uint8), np.full((SIDE, SIDE, 3), 249, np.uint8)
    near[SIDE // 2, SIDE // 2 - 20] = 255
    assert matched(white, near, WEIGHT, REACH).min() >= 249


# ---- where the seam runs

RED, GREEN = (220, 40, 40), (30, 200, 60)
MOST = 12.0


def reach(contour: NDArray[np.float32], columns: slice = slice(None)) -> float:
    """How far from the middle the contour goes, in pixels."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.hypot(x - SIDE / 2, y - SIDE / 2)
    return float(away[:, columns][contour[:, columns] > 0].max())


def test_where_the_pictures_agree_the_seam_is_that_of_the_region() -> None:
    contour = outward(ground(), ground(), DISTANCE, MOST)
    np.testing.assert_allclose(contour, DISTANCE + AROUND, atol=1e-4)


def test_another_colour_inside_moves_the_seam_by_no_more_than_its_antialiased_edge() -> None:
    assert reach(outward(thing(24, RED), thing(24, GREEN), DISTANCE, MOST)) < 24 + 3.5


@pytest.mark.parametrize("radius", [27, 30, 33])
def test_a_larger_thing_is_not_cut_off(radius: int) -> None:
    contour = outward(thing(24, RED), thing(radius, GREEN), DISTANCE, MOST)
    assert radius < reach(contour) < radius + 3.5


@pytest.mark.parametrize("radius", [27, 30, 33])
def test_what_the_region_missed_of_a_thing_that_is_gone_leaves_no_ghost(radius: int) -> None:
    """A hard edge at the region leaves a ring of it, the seam a trace."""
    before, after = thing(radius, RED), ground()

    def left(contour: NDArray[np.float32], width: float) -> float:
        weight = drawn(contour, (SIDE, SIDE), width=width)[..., None]
        return float(np.abs(before * (1.0 - weight) + after * weight - ground()).max())

    assert left(DISTANCE, 0.0) > 100
    assert left(outward(before, after, DISTANCE, MOST), 1.5) < 8


def test_the_seam_goes_no_further_than_it_may() -> None:
    contour = outward(thing(47, RED), ground(), DISTANCE, MOST)
    assert 24 + MOST - 1.5 < reach(contour) <= 24 + MOST + 0.5


def test_what_differs_elsewhere_stays_as_it_was() -> None:
    """A star beside the region that the codec lost: nothing of the region reaches it."""
    before = ground()
    before[10:13, 46:50] = 255
    assert reach(outward(before, ground(), DISTANCE, MOST)) < 26
    before[10:24, 47] = ground()[10:24, 47] + 30  # nor along a line that the codec softened
    assert reach(outward(before, ground(), DISTANCE, MOST)) < 26
    before[10:24, 46:50] = 255  # but along something of some width
    assert outward(before, ground(), DISTANCE, MOST)[16, 48] > 0


def test_one_side_may_go_out_and_the_other_stay() -> None:
    before, after = thing(24, RED), thing(32, GREEN)
    after[:, SIDE // 2 :] = thing(24, GREEN)[:, SIDE // 2 :]
    contour = outward(before, after, DISTANCE, MOST)
    assert reach(contour, slice(0, SIDE // 2 - 12)) > 31
    assert reach(contour, slice(SIDE // 2 + 12, SIDE)) < 27.5


def test_an_offset_of_the_codec_is_no_other_content() -> None:
    after = (ground().astype(int) + 6).astype(np.uint8)
    np.testing.assert_allclose(outward(ground(), after, DISTANCE, MOST), DISTANCE + AROUND, atol=1e-4)


def test_without_a_rim_the_contour_is_the_regions_own() -> None:
    np.testing.assert_array_equal(outward(thing(30, RED), ground(), DISTANCE, 0.0), DISTANCE)
