"""Outlines finer than latent cells: a map of cells is laid on the picture so that its edges follow the picture's.

A latent cell covers many pixels. The guided filter (He, Sun, Tang 2010) explains the map, in every small window, as a
linear function of the picture's colours; the level line of the result runs along the object's own edge wherever that
edge and the map agree on a change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wordbrush.picture.resize import resize

__all__ = ["guided"]

EPSILON = 0.003
"""Colour variance, in squared units of [0, 1], below which a window counts as even and the map is only smoothed."""


def guided(
    cells: NDArray[np.float32], picture: NDArray[np.uint8], *, radius: int, epsilon: float = EPSILON
) -> NDArray[np.float32]:
    """Lay a map of latent cells on a picture, edges following the picture's.

    Args:
        cells: (row, column) of latent cells.
        picture: (height, width, RGB) bytes, whole multiples of the map's sides.
        radius: of the window in pixels; one latent cell sees an edge from both sides.
        epsilon: see `EPSILON`; larger smooths across fainter edges.

    Returns:
        The map at the picture's size (height, width). It may leave the range of `cells` a little at edges.
    """
    height, width = picture.shape[:2]
    values = resize(cells, (width, height), "linear").astype(np.float64)
    colours = [picture[..., channel].astype(np.float64) / 255.0 for channel in range(3)]

    def mean(array: NDArray[np.float64]) -> NDArray[np.float64]:
        averaged: NDArray[np.float64] = ndimage.uniform_filter(array, 2 * radius + 1, mode="nearest")
        return averaged

    level, means = mean(values), [mean(colour) for colour in colours]
    spread = {
        (i, j): mean(colours[i] * colours[j]) - means[i] * means[j] + (epsilon if i == j else 0.0)
        for i in range(3)
        for j in range(i, 3)
    }
    shared = [mean(colour * values) - middle * level for colour, middle in zip(colours, means, strict=True)]
    slopes = _solved(spread, shared)
    offset = level - sum(slope * middle for slope, middle in zip(slopes, means, strict=True))
    laid = mean(offset) + sum(mean(slope) * colour for slope, colour in zip(slopes, colours, strict=True))
    return np.asarray(laid, np.float32)


def _solved(
    spread: dict[tuple[int, int], NDArray[np.float64]], shared: list[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Solve the symmetric 3 x 3 system of every pixel by cofactors."""
    a, b, c = spread[0, 0], spread[0, 1], spread[0, 2]
    d, e, f = spread[1, 1], spread[1, 2], spread[2, 2]
    rows = [
        [d * f - e * e, c * e - b * f, b * e - c * d],
        [c * e - b * f, a * f - c * c, b * c - a * e],
        [b * e - c * d, b * c - a * e, a * d - b * b],
    ]
    size = a * rows[0][0] + b * rows[0][1] + c * rows[0][2]
    return [sum((k * s for k, s in zip(row, shared, strict=True)), np.zeros_like(a)) / size for row in rows]
