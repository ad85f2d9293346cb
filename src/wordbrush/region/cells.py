"""Operations on the cells of a mask: morphology of float32 arrays (height, width) in [0, 1].

Every function returns a new array and leaves its argument alone. Cells beyond the border count as the border demands:
growing sees 0 there and shrinking sees 1, so that a mask that touches the edge of the picture keeps touching it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    _Spread = Callable[[NDArray[np.float32], float], NDArray[np.float32]]

__all__ = ["LEVELS", "bounds", "drop_specks", "feather", "fill_holes", "grow", "shrink"]

LEVELS = 16


def bounds(values: NDArray[Any]) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of the cells that are not 0, right and bottom exclusive, or None."""
    rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def grow(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Return the largest value within `radius` cells of each cell (centre to centre, a disc): grey dilation."""
    return _near_cells(values, radius, partial(_dilate, ground=0))


def shrink(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Return the smallest value within `radius` cells of each cell: grey erosion, 1 beyond the border."""
    return 0 - _near_cells(0 - values, radius, partial(_dilate, ground=-1), ground=-1)


def feather(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Let every value fade outwards: value × (1 - distance / radius), 0 from `radius` cells on, the largest wins.

    The value is taken in sixteenths downwards, which is exact for 0 and 1 and lets a soft mask fade at the price of
    sixteen distance maps. No cell ever gets less than it had.
    """
    return _near_cells(values, radius, _fade)


def fill_holes(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set to 1 what is shut in: regions below 0.5 (joined by edges) that do not touch the border."""
    from scipy import ndimage

    labels, count = ndimage.label(values < 0.5)
    if not count:
        return values.copy()
    hole = np.ones(count + 1, dtype=bool)
    hole[0] = False
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[rim] = False
    filled = values.copy()
    filled[hole[labels]] = 1.0
    return filled


def drop_specks(values: NDArray[np.float32], min_cells: float) -> NDArray[np.float32]:
    """Set to 0 the regions above 0 (joined by edges or corners) whose values sum to less than `min_cells`."""
    from scipy import ndimage

    labels, count = ndimage.label(values > 0, structure=np.ones((3, 3), dtype=bool))
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count + 1)
    keep = sums >= min_cells
    return np.where(keep[labels], values, np.float32(0))


def _near_cells(values: NDArray[np.float32], radius: float, act: _Spread, ground: float = 0) -> NDArray[np.float32]:
    """Run `act` where something above `ground` is within `radius`: elsewhere nothing happens, and that is most."""
    box = bounds(values != ground)
    if box is None or radius <= 0:
        return values.copy()
    height, width = values.shape
    reach = math.ceil(min(radius, height + width))
    rows = slice(max(box[1] - reach, 0), min(box[3] + reach, height))
    columns = slice(max(box[0] - reach, 0), min(box[2] + reach, width))
    result = values.copy()
    result[rows, columns] = act(values[rows, columns], radius)
    return result


def _dilate(values: NDArray[np.float32], radius: float, ground: float) -> NDArray[np.float32]:
    """Grey dilation by a disc of values from `ground` to `ground` + 1; beyond the border is `ground`."""
    from scipy import ndimage

    low = values == ground
    if (low | (values == ground + 1)).all():
        # One distance map does what a disc of any size would.
        return (ndimage.distance_transform_edt(low) <= radius) + np.float32(ground)
    height, width = values.shape
    rows = min(math.floor(radius), height - 1)
    result = np.full_like(values, ground)
    for shift in range(-rows, rows + 1):
        # A disc is a stack of rows: the largest value along each row, then over the rows.
        half = min(math.floor(math.sqrt(radius * radius - shift * shift)), width - 1)
        target, source = slice(max(shift, 0), height + min(shift, 0)), slice(max(-shift, 0), height - max(shift, 0))
        row = ndimage.maximum_filter1d(values[source], 2 * half + 1, axis=1, mode="constant", cval=ground)
        np.maximum(result[target], row, out=result[target])
    return result


def _fade(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    from scipy import ndimage

    result, before = values.copy(), 0
    for level in range(LEVELS, 0, -1):
        share = np.float32(level / LEVELS)
        held = values >= share
        cells = int(np.count_nonzero(held))
        if cells == before:
            continue  # the same set as one level higher, which fades more strongly
        before = cells
        distance = ndimage.distance_transform_edt(~held)
        ramp = np.clip(1.0 - distance / radius, 0.0, 1.0).astype(np.float32)
        np.maximum(result, ramp * share, out=result)
    return result
