"""Resampling by every filter: sizes, dtypes, channels, and what each promises."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import SettingsError
from wordbrush.picture.fit import plan_fit
from wordbrush.picture.resize import Resample, resize

FILTERS: tuple[Resample, ...] = get_args(Resample)
SIZES = [(13, 7), (6, 4), (26, 14), (1, 1), (40, 3)]


def numbers(dtype: Any, *shape: int) -> NDArray[Any]:
    values = np.random.default_rng(0).random(shape)
    return (values * 255).astype(dtype) if dtype is np.uint8 else values.astype(dtype)


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_shape_and_dtype_stay_and_channels_are_independent(how: Resample, dtype: Any) -> None:
    array = numbers(dtype, 7, 13, 3)
    for size in SIZES:
        resized = resize(array, size, how)
        assert (resized.shape, resized.dtype) == ((size[1], size[0], 3), array.dtype)
        assert not np.shares_memory(resized, array)
        for channel in range(3):
            np.testing.assert_array_equal(resized[..., channel], resize(array[..., channel], size, how))
    np.testing.assert_array_equal(resize(array, (13, 7), how), array)


@pytest.mark.parametrize("how", FILTERS)
def test_an_even_plane_stays_even(how: Resample) -> None:
    for value in (0, 1, 77, 255):
        assert (resize(np.full((7, 13), value, np.uint8), (40, 3), how) == value).all()


def test_bytes_are_what_pillow_makes_of_them() -> None:
    array = numbers(np.uint8, 7, 13, 3)
    for size in SIZES[1:]:
        expected = Image.fromarray(array).resize(size, Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(resize(array, size, "lanczos"), np.asarray(expected))


def test_area_keeps_the_mean_whatever_the_range() -> None:
    array = 20 * numbers(np.float64, 7, 13) - 5
    for size in SIZES:
        assert resize(array, size, "area").mean() == pytest.approx(array.mean(), abs=1e-5)
    np.testing.assert_array_equal(resize(np.array([[0, 255, 255]], np.uint8), (1, 1), "area"), [[170]])


def test_any_is_the_largest_value_touched() -> None:
    array = -1 - numbers(np.float32, 7, 13)
    for width, height in SIZES:
        resized = resize(array, (width, height), "any")
        for y, x in np.ndindex(height, width):
            rows = slice(7 * y // height, -(-7 * (y + 1) // height))
            columns = slice(13 * x // width, -(-13 * (x + 1) // width))
            assert resized[y, x] == array[rows, columns].max()


def test_centre_is_the_pixel_under_the_centre_also_where_that_is_a_border() -> None:
    for source in range(1, 30):
        for target in range(1, 30):
            expected = [(2 * k + 1) * source // (2 * target) for k in range(target)]
            row = np.arange(source, dtype=np.float32)[None]
            np.testing.assert_array_equal(resize(row, (target, 1), "centre")[0], expected)


def test_an_unknown_filter_is_refused() -> None:
    unknown: Any = "cubic"
    with pytest.raises(SettingsError, match="cubic"):
        resize(np.zeros((2, 2)), (3, 3), unknown)
    with pytest.raises(SettingsError, match="cubic"):
        plan_fit((13, 7), grid=8, resolution=32).forward(np.zeros((7, 13)), unknown)
