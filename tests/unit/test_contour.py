"""Contours: outlines that stay smooth however much larger the picture is than the canvas."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from wordbrush.region.contour import FAR, drawn, signed_distance
from wordbrush.region.mask import Mask

Float = NDArray[np.float64]


def disc(side: int, radius: float, scale: int = 1) -> Float:
    """The signed distance to a circle off the grid, at the centres of `side * scale` pixels, in canvas pixels."""
    y, x = (np.mgrid[: side * scale, : side * scale] + 0.5) / scale
    distance: Float = radius - np.hypot(x - side / 2 + 0.3, y - side / 2 - 0.2)
    return distance


def off_the_outline(values: NDArray[np.float32], truth: Float) -> float:
    """The largest distance from the true outline at which values lie between .05 and .95, in canvas pixels."""
    return float(np.abs(truth[(values > 0.05) & (values < 0.95)]).max())


@pytest.mark.parametrize("radius", [10.0, 20.3, 40.0])
def test_a_circle_at_eight_times_the_size_is_a_circle(radius: float) -> None:
    """A sixth of a canvas pixel is the most; the binary mask stretched, as it was, is off by ten times that."""
    truth, fine = disc(128, radius), disc(128, radius, 8)
    level = np.tanh(truth / 3).astype(np.float32)
    values = drawn(signed_distance(truth > 0, level), (1024, 1024))
    assert off_the_outline(values, fine) < 0.25
    assert values.mean() == pytest.approx((fine > 0).mean(), rel=0.01)
    stretched = Mask.from_array(truth > 0).resize((1024, 1024), "linear").values
    assert off_the_outline(stretched, fine) > 0.9


def test_a_straight_edge_lies_where_the_map_crosses_zero() -> None:
    level = np.tile(np.arange(32, dtype=np.float32) - 12.3, (16, 1))
    distance = signed_distance(level > 0, level)
    np.testing.assert_allclose(distance[:, 4:-4], level[:, 4:-4], atol=1e-4)


def test_without_a_map_the_outline_runs_between_the_pixels() -> None:
    inside = np.zeros((16, 16), bool)
    inside[:, 8:] = True
    assert signed_distance(inside)[4].tolist() == pytest.approx([i - 7.5 for i in range(16)], abs=0.35)
    # Where the map was overruled, by a hole filled or a speck dropped, it says nothing of the outline.
    overruled = signed_distance(inside, np.full((16, 16), -1, np.float32))
    np.testing.assert_array_equal(overruled, signed_distance(inside))


def test_everything_and_nothing_have_no_outline() -> None:
    assert (signed_distance(np.ones((4, 4), bool)) == FAR).all()
    assert (signed_distance(np.zeros((4, 4), bool)) == -FAR).all()
    assert drawn(signed_distance(np.ones((4, 4), bool)), (64, 64)).min() == 1
    assert drawn(signed_distance(np.zeros((4, 4), bool)), (64, 64), width=3).max() == 0


def test_a_blend_rises_inwards_over_its_width() -> None:
    distance = np.tile(np.arange(32, dtype=np.float32) - 15.5, (8, 1))
    values = drawn(distance, (32, 8), width=4.0)[0]
    assert not values[:15].any()  # nothing beyond half a pixel outside the outline
    assert (values[20:] == 1).all()
    assert np.diff(values[15:20]).tolist() == pytest.approx([0.25] * 4)
    # At 4 times the size the same four canvas pixels are sixteen of the picture.
    large = drawn(distance, (128, 32), width=4.0)[0]
    assert 15 <= ((large > 0) & (large < 1)).sum() <= 17


def test_a_photograph_takes_bounded_time_and_memory() -> None:
    distance = signed_distance(disc(512, 180.0) > 0)
    tracemalloc.start()
    begin = time.process_time()
    values = drawn(distance, (4000, 3000), width=3.0)
    taken = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.shape == (3000, 4000)
    assert taken < 5
    assert peak < 3 * values.nbytes
