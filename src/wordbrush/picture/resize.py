"""Resampling: one function for planes of numbers and for RGB bytes.

It stands below everything that changes a size: the fit of a picture to a model's canvas, masks, maps of latent cells,
panels. Seven filters, in two families:

- Pillow's own: `nearest`, and `linear`, `box` and `lanczos`, which widen when they shrink, so that no source pixel is
  skipped. They compute in floats; bytes are rounded.
- exact ones: `centre`, `area` and `any`, computed along rows and then along columns with positions in whole numbers, so
  that a pixel whose border falls on a border of the source never sees its neighbour. `centre` is `nearest` without
  rounding: where a centre falls exactly on a border, Pillow's sum of floats may land on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import SettingsError

__all__ = ["Resample", "resize"]

Resample = Literal["nearest", "linear", "box", "lanczos", "centre", "area", "any"]
Scalar = TypeVar("Scalar", np.uint8, np.float32, np.float64)


def resize(array: NDArray[Scalar], size: tuple[int, int], how: Resample) -> NDArray[Scalar]:
    """Resample an array; the same size is a bit-exact copy.

    Args:
        array: (height, width) or (height, width, channel), uint8, float32 or float64. The channels are independent.
        size: (width, height) of the result.
        how: `nearest`, `linear`, `box`, `lanczos`: Pillow's filters; lanczos overshoots at edges in floats. `centre`:
            the pixel under the target's centre. `area`: the mean over what the target covers. `any`: the largest value
            that the target touches, however little of it.

    Returns:
        A new array (height, width[, channel]) of the same dtype. float64 passes through float32.

    Raises:
        SettingsError: an unknown filter.
    """
    if how not in get_args(Resample):
        raise SettingsError(f"resample must be one of {', '.join(get_args(Resample))}, got {how!r}")
    if array.shape[:2] == (size[1], size[0]):
        return array.copy()
    if array.ndim == 2 or (array.shape[2] == 3 and array.dtype == np.uint8 and how in _PILLOW):
        return _resized(array, size, how)
    return np.stack([_resized(array[..., channel], size, how) for channel in range(array.shape[2])], axis=-1)


def _resized(array: NDArray[Scalar], size: tuple[int, int], how: Resample) -> NDArray[Scalar]:
    numbers = np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))
    if how in _PILLOW:
        return np.array(Image.fromarray(numbers).resize(size, _PILLOW[how]), dtype=array.dtype)
    rows = _EXACT[how]
    across = rows(np.ascontiguousarray(rows(numbers, size[1]).T), size[0])
    across = np.rint(across) if across.dtype != numbers.dtype else across  # means of bytes
    return np.ascontiguousarray(across.T, dtype=array.dtype)


def _centre_rows(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Take for each of `count` rows the source row its centre lies in."""
    return np.asarray(values[((2 * np.arange(count) + 1) * values.shape[0]) // (2 * count)])


def _area_rows(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Average what each of `count` rows covers, parts of rows counted as parts: the mean does not change."""
    source = values.shape[0]
    sums = np.zeros((source + 1, values.shape[1]), dtype=np.float64)
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    whole, part = np.divmod(np.arange(count + 1) * source, count)
    step = np.append(values, np.zeros_like(values[:1]), axis=0)[whole]
    edges = sums[whole] + step * (part / count)[:, None]
    means = np.diff(edges, axis=0) * (count / source)
    return np.asarray(np.clip(means, values.min(), values.max()), dtype=np.float32)


def _any_rows(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Take the largest value of all the source rows that each of `count` rows touches."""
    source = values.shape[0]
    first = (np.arange(count) * source) // count
    last = -((-(np.arange(count) + 1) * source) // count)
    padded = np.append(values, np.zeros_like(values[:1]), axis=0)
    # reduceat wants pairs (first, end); what it reduces between two pairs is thrown away.
    pairs = np.stack([first, last], axis=1).ravel()
    return np.asarray(np.maximum.reduceat(padded, pairs, axis=0)[::2])


_PILLOW: Final = {
    "nearest": Image.Resampling.NEAREST,
    "linear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_EXACT: Final[dict[str, Callable[[NDArray[Any], int], NDArray[Any]]]] = {
    "centre": _centre_rows,
    "area": _area_rows,
    "any": _any_rows,
}
