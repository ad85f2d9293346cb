"""Fit a picture of any size to the sizes a model takes, and bring results back.

The picture is resampled to `inner`, keeping its aspect, and padded to `canvas` by repeating its edge pixels. The way
back crops and resamples to exactly the original size.

With r the model's native side, the rules of `plan_fit` are:

- the canvas holds about r * r pixels (within a factor of 2), sides multiples of the grid;
- a picture that already has about that area (within a quarter) is padded but not resampled;
- no side is longer than 4 r, and a side is at least r / 4 (both rounded to the grid), so an aspect beyond 16:1 is
  carried smaller and padded more, instead of becoming a strip one cell high;
- a larger `min_side`, or a grid coarser than r / 4, is met by padding and may exceed the factor of 2.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError, SettingsError
from wordbrush.picture.resize import Resample, resize

__all__ = ["FitPlan", "Resample", "plan_fit"]

Size = tuple[int, int]
Scalar = TypeVar("Scalar", np.uint8, np.float32, np.float64)

LONGEST = 4  # longest side of the canvas, in native sides
KEEP = 1.25  # how far the area may be from native before a picture is resampled


@dataclass(frozen=True)
class FitPlan:
    """How one picture lies on a model's canvas.

    Attributes:
        size: the picture, (width, height) in pixels.
        inner: the resampled picture on the canvas, (width, height).
        canvas: what the model sees, (width, height), multiples of the grid.
        offset: of `inner` on `canvas`, (left, top).
    """

    size: Size
    inner: Size
    canvas: Size
    offset: Size

    @property
    def identity(self) -> bool:
        """Whether the picture is the canvas, so that both ways change no bit."""
        return self.size == self.canvas

    def forward(self, array: NDArray[Scalar], resample: Resample = "lanczos") -> NDArray[Scalar]:
        """Put an array of the picture's size on the canvas.

        Args:
            array: (height, width) or (height, width, channels), uint8, float32 or float64.
            resample: the filter, see `resize`; for masks not "lanczos", which overshoots at edges in floats.

        Returns:
            A new array (canvas height, canvas width[, channels]) of the same dtype.

        Raises:
            InputError: the array has another size, dtype or rank.
        """
        self._check(array, self.size, "picture")
        return self.padded(resize(array, self.inner, resample))

    def padded(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Put an array of the size of `inner` on the canvas, repeating its edge around it."""
        left, top = self.offset
        right, bottom = self.canvas[0] - left - self.inner[0], self.canvas[1] - top - self.inner[1]
        return np.pad(array, ((top, bottom), (left, right), (0, 0))[: array.ndim], mode="edge")

    def inverse(self, array: NDArray[Scalar], resample: Resample = "lanczos") -> NDArray[Scalar]:
        """Bring an array on the canvas back to the picture's size.

        Args:
            array: (canvas height, canvas width) or (canvas height, canvas width, channels).
            resample: as in `forward`.

        Returns:
            A new array (height, width[, channels]) of the same dtype.

        Raises:
            InputError: the array has another size, dtype or rank.
        """
        return resize(self.cropped(array), self.size, resample)

    def cropped(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Take `inner` out of an array on the canvas, as a view.

        Raises:
            InputError: the array has another size, dtype or rank.
        """
        self._check(array, self.canvas, "canvas")
        left, top = self.offset
        return array[top : top + self.inner[1], left : left + self.inner[0]]

    @staticmethod
    def _check(array: NDArray[Scalar], size: Size, what: str) -> None:
        if array.ndim not in (2, 3) or array.shape[:2] != (size[1], size[0]):
            raise InputError(f"expected the {what}'s {size[1]} rows x {size[0]} columns, got shape {array.shape}")
        if array.dtype not in (np.uint8, np.float32, np.float64):
            raise InputError(f"expected uint8, float32 or float64, got {array.dtype}")


def plan_fit(size: Size, *, grid: int, resolution: int, min_side: int | None = None) -> FitPlan:
    """Choose where a picture lies on a model's canvas; see the module's text for the rules.

    Args:
        size: (width, height) in pixels, each at least 1.
        grid: both canvas sides are multiples of it, in pixels.
        resolution: the model's native side in pixels; the canvas area is about its square.
        min_side: least canvas side in pixels, reached by padding; by default a quarter of `resolution`.

    Raises:
        SettingsError: a number is below 1.
    """
    numbers = (*size, grid, resolution, 1 if min_side is None else min_side)
    if min(numbers) < 1:
        raise SettingsError(f"size, grid, resolution and min_side must be at least 1, got {numbers}")
    least = max(grid, round(resolution / 4 / grid) * grid) if min_side is None else math.ceil(min_side / grid) * grid
    most = max(grid, LONGEST * resolution // grid * grid)

    def canvas_of(inner: Size) -> Size:
        return (max(least, math.ceil(inner[0] / grid) * grid), max(least, math.ceil(inner[1] / grid) * grid))

    def cost(scale: float) -> float:
        inner = _scaled(size, scale)
        area = math.prod(canvas_of(inner))
        return abs(math.log(area / resolution**2)) + math.log(area / math.prod(inner))

    area = math.prod(canvas_of(size))
    if max(size) <= most and resolution**2 / KEEP <= area <= resolution**2 * KEEP:
        scale = 1.0
    else:
        longest = most / max(size)
        scale = min((min(s, longest) for s in _scales(size, grid, resolution)), key=cost)
    inner = _scaled(size, scale)
    canvas = canvas_of(inner)
    return FitPlan(size, inner, canvas, ((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2))


def _scales(size: Size, grid: int, resolution: int) -> list[float]:
    """Scales worth trying: the one of exactly native area, and those near it that fill whole grid cells on a side."""
    ideal = resolution / math.sqrt(math.prod(size))
    scales = [ideal]
    for side in size:
        cells = math.floor(side * ideal / grid)
        scales += [count * grid / side for count in (cells, cells + 1) if count >= 1]
    return scales


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
