"""Any size is carried to a model's canvas and comes back at its own size."""

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.pictures import scene
from wordbrush.errors import InputError, SettingsError
from wordbrush.picture.picture import FitPlan, Picture, Resample, plan_fit

ci = settings(max_examples=100, derandomize=True, deadline=None)
few = settings(max_examples=40, derandomize=True, deadline=None)

models = st.sampled_from(
    [(8, 64), (8, 128), (16, 128), (32, 128), (32, 256), (64, 512), (8, 512), (16, 1024), (64, 768)]
)


@st.composite
def sizes(draw: st.DrawFn, largest: int = 4096) -> tuple[int, int]:
    """Sizes up to `largest` on a side, spread over magnitudes, with an aspect up to 100:1."""
    long = min(largest, int(2 ** draw(st.floats(0, math.log2(largest + 0.5)))))
    short = draw(st.integers(math.ceil(long / 100), long))
    return (long, short) if draw(st.booleans()) else (short, long)


def within(value: float, target: float, factor: float) -> bool:
    return target / factor <= value <= target * factor


@ci
@given(sizes(), models)
@example((1, 1), (64, 512))
@example((4096, 41), (64, 512))
@example((4096, 4096), (8, 64))
@example((1, 100), (8, 64))
def test_plan(size: tuple[int, int], model: tuple[int, int]) -> None:
    grid, resolution = model
    plan = plan_fit(size, grid=grid, resolution=resolution)
    assert plan == plan_fit(size, grid=grid, resolution=resolution)
    for axis in (0, 1):
        assert plan.canvas[axis] % grid == 0
        assert 1 <= plan.inner[axis] <= plan.canvas[axis]
        assert 0 <= plan.offset[axis] <= plan.canvas[axis] - plan.inner[axis]
    assert within(math.prod(plan.canvas), resolution**2, 2)
    assert max(plan.canvas) <= 4 * resolution
    long = 0 if size[0] >= size[1] else 1
    scale = plan.inner[long] / size[long]
    # the exact scale is within half a pixel of the long side, so the short side may be off by its rounding and that
    assert abs(plan.inner[1 - long] - max(1.0, size[1 - long] * scale)) <= 1.0


@ci
@given(sizes(), models)
def test_transposed_picture_has_the_transposed_plan(size: tuple[int, int], model: tuple[int, int]) -> None:
    plan = plan_fit(size, grid=model[0], resolution=model[1])
    turned = plan_fit(size[::-1], grid=model[0], resolution=model[1])
    assert (turned.canvas, turned.inner) == (plan.canvas[::-1], plan.inner[::-1])


@ci
@given(sizes(), models, st.integers(1, 700))
def test_least_side_is_met_by_padding(size: tuple[int, int], model: tuple[int, int], least: int) -> None:
    plan = plan_fit(size, grid=model[0], resolution=model[1], min_side=least)
    assert min(plan.canvas) >= least
    assert all(side % model[0] == 0 for side in plan.canvas)


@ci
@given(st.integers(1, 5000), st.integers(1, 5000), models)
@example(1, 5000, (64, 512))
@example(5000, 1, (8, 64))
def test_any_aspect_has_a_plan(width: int, height: int, model: tuple[int, int]) -> None:
    plan = plan_fit((width, height), grid=model[0], resolution=model[1])
    assert within(math.prod(plan.canvas), model[1] ** 2, 2)
    assert min(plan.inner) >= 1


@few
@given(sizes(), models, st.sampled_from(get_args(Resample)), st.integers(0, 255))
@example((4096, 41), (64, 512), "lanczos", 255)
@example((41, 4096), (64, 512), "box", 1)
@example((4096, 4096), (8, 64), "lanczos", 200)
@example((1, 1), (64, 512), "linear", 7)
def test_constant_pictures_come_back_constant(
    size: tuple[int, int], model: tuple[int, int], resample: Resample, value: int
) -> None:
    plan = plan_fit(size, grid=model[0], resolution=model[1])
    grey = np.full((size[1], size[0]), value, np.uint8)
    canvas = plan.forward(grey, resample)
    assert canvas.shape == plan.canvas[::-1]
    assert (canvas == value).all()
    back = plan.inverse(canvas, resample)
    assert back.shape == grey.shape
    assert back.dtype == np.uint8
    assert (back == value).all()


@few
@given(sizes(1500), models, st.sampled_from([np.uint8, np.float32, np.float64]), st.sampled_from([0, 1, 3, 4]))
def test_sizes_and_types_come_back(
    size: tuple[int, int], model: tuple[int, int], dtype: type[np.uint8 | np.float32 | np.float64], channels: int
) -> None:
    plan = plan_fit(size, grid=model[0], resolution=model[1])
    shape = (size[1], size[0], channels) if channels else (size[1], size[0])
    there: NDArray[np.uint8] = plan.forward(np.ones(shape, dtype))
    assert there.shape == (*plan.canvas[::-1], *shape[2:])
    back = plan.inverse(there)
    assert back.shape == shape
    assert back.dtype == there.dtype == dtype
    assert np.abs(back - 1.0).max() < 1e-5


@few
@given(st.integers(60, 700), st.integers(60, 700))
def test_smooth_pictures_survive_the_round_trip(width: int, height: int) -> None:
    plan = plan_fit((width, height), grid=64, resolution=512)
    picture = Picture.open(scene(width, height))
    back = plan.inverse(plan.forward(picture.srgb))
    error = np.abs(back.astype(int) - picture.pixels)
    assert error.mean() < 1
    assert error.max() <= 12


@few
@given(sizes(600), st.integers(0, 2**32 - 1))
def test_outside_the_mask_every_byte_is_the_inputs(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 4), np.uint8)
    pixels[..., 3] = rng.choice(np.array([0, 90, 255, 255], np.uint8), pixels.shape[:2])
    picture = Picture.open(pixels)
    plan = plan_fit(size, grid=8, resolution=64)
    edited = plan.inverse(255 - plan.forward(picture.srgb))
    on_canvas = (rng.random(plan.canvas[::-1]) > 0.5).astype(np.float32)
    weight = plan.inverse(on_canvas, "nearest")
    assert set(np.unique(weight)) <= {0, 1}
    out = np.asarray(picture.compose(edited, weight))
    kept = weight == 0
    assert picture.alpha is not None
    kept |= picture.alpha == 0  # what cannot be seen is not changed either
    assert (out[kept][:, :3] == picture.pixels[kept]).all()
    opaque = ~kept & (picture.alpha == 255)
    assert (out[opaque][:, :3] == edited[opaque]).all()
    assert (out[..., 3] == picture.alpha).all()


@few
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_pictures_that_are_the_canvas_change_no_bit(columns: int, rows: int, seed: int) -> None:
    size = (columns * 64, rows * 64)
    plan = plan_fit(size, grid=64, resolution=max(256, math.isqrt(math.prod(size))))
    rng = np.random.default_rng(seed)
    if not plan.identity:
        plan = FitPlan(size, size, size, (0, 0))
    for array in (rng.integers(0, 256, (*size[::-1], 3), np.uint8), rng.normal(size=size[::-1])):
        for resample in get_args(Resample):
            there = plan.forward(array, resample)
            assert (there == array).all()
            assert (plan.inverse(there, resample) == array).all()
            assert not np.shares_memory(there, array)


@pytest.mark.parametrize("size", [(512, 512), (1024, 256), (640, 448), (448, 576)])
def test_sizes_near_native_on_the_grid_are_not_resampled(size: tuple[int, int]) -> None:
    assert plan_fit(size, grid=64, resolution=512).identity


def test_near_native_sizes_are_padded_only() -> None:
    plan = plan_fit((500, 490), grid=64, resolution=512)
    assert plan == FitPlan((500, 490), (500, 490), (512, 512), (6, 11))
    pixels = scene(500, 490)
    there = plan.forward(pixels)
    assert (there[11:501, 6:506] == pixels).all()
    assert (there[0, 6:506] == pixels[0]).all(), "padding repeats the edge"
    assert (there[11:501, -1] == pixels[:, -1]).all()
    assert (plan.inverse(there) == pixels).all()


def test_extreme_aspect_is_carried_smaller_and_padded() -> None:
    plan = plan_fit((3000, 30), grid=64, resolution=512)
    assert plan.canvas == (2048, 128)
    assert plan.inner == (2048, 20)


def test_float_maps_are_resampled_per_channel() -> None:
    plan = plan_fit((300, 200), grid=8, resolution=64)
    maps = np.random.default_rng(0).random((200, 300, 2), np.float32)
    together = plan.forward(maps, "linear")
    for channel in (0, 1):
        assert (together[..., channel] == plan.forward(maps[..., channel].copy(), "linear")).all()


@pytest.mark.parametrize("arguments", [
    {"size": (0, 5), "grid": 8, "resolution": 64},
    {"size": (5, -1), "grid": 8, "resolution": 64},
    {"size": (5, 5), "grid": 0, "resolution": 64},
    {"size": (5, 5), "grid": 8, "resolution": 0},
    {"size": (5, 5), "grid": 8, "resolution": 64, "min_side": 0},
])  # fmt: skip
def test_impossible_plans_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        plan_fit(**arguments)  # type: ignore[arg-type]


def test_wrong_arrays_are_refused() -> None:
    plan = plan_fit((30, 20), grid=8, resolution=64)
    for array in (np.zeros((30, 20), np.uint8), np.zeros((1, 20, 30, 3), np.uint8)):
        with pytest.raises(InputError, match="rows"):
            plan.forward(array)
    with pytest.raises(InputError, match="rows"):
        plan.inverse(np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="uint8, float32 or float64"):
        plan.forward(np.zeros((20, 30), np.int64))  # type: ignore[type-var]
    with pytest.raises(SettingsError, match="resample"):
        plan.forward(np.zeros((20, 30), np.uint8), "cubic")  # type: ignore[arg-type]
