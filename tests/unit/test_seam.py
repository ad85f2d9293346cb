"""Seams: where they run, and what is carried across them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from wordbrush.region.contour import drawn, signed_distance
from wordbrush.region.seam import SMALL, correction, kept_outline, matched, outward

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


def test_an_outline_that_is_gone_lets_the_seam_move_out() -> None:
    out = outward(thing(24, (220, 40, 40)), ground(), DISTANCE, 0.5, 4.0)
    assert out[np.abs(DISTANCE) < 2].min() == pytest.approx(4.0)


def test_an_outline_in_another_colour_is_kept() -> None:
    red, green = thing(24, (220, 40, 40)), thing(24, (30, 200, 60))
    near = np.abs(DISTANCE) < 2
    assert kept_outline(red, green, DISTANCE)[near].min() > 0.7
    assert outward(red, green, DISTANCE, 0.5, 4.0)[near].max() == pytest.approx(0.5)


def test_where_there_was_no_outline_the_seam_stays() -> None:
    """A new thing on a plain ground: the outline of the region follows nothing in the picture."""
    near = np.abs(DISTANCE) < 2
    assert outward(ground(), thing(24, (220, 40, 40)), DISTANCE, 0.5, 4.0)[near].max() == pytest.approx(0.5)


def test_one_side_may_be_kept_and_the_other_gone() -> None:
    before, after = thing(24, (220, 40, 40)), thing(24, (30, 200, 60))
    after[:, SIDE // 2 :] = ground()[:, SIDE // 2 :]
    out, columns = outward(before, after, DISTANCE, 0.5, 4.0), np.arange(SIDE)[None] * np.ones((SIDE, 1))
    near = np.abs(DISTANCE) < 2
    assert out[near & (columns < SIDE // 2 - 14)].max() < 0.6
    assert out[near & (columns > SIDE // 2 + 14)].min() > 3.9


def test_a_removal_leaves_no_ghost_of_the_rim() -> None:
    """A thing goes whose antialiased rim the region misses: a hard edge leaves a ring of it, the seam a trace."""
    before, after = thing(25, (220, 40, 40)), ground()

    def left(out: NDArray[np.float32] | float, width: float) -> float:
        weight = drawn(DISTANCE + np.float32(1) * out, (SIDE, SIDE), width=width)[..., None]
        return float(np.abs(before * (1.0 - weight) + after * weight - ground()).max())

    assert left(0.0, 0.0) > 100
    assert left(outward(before, after, DISTANCE, 0.5, 4.0), 3.0) < 8
