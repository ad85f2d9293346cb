"""Contours: outlines known to fractions of a canvas pixel, drawn at the picture's own size.

A binary mask of the canvas, laid on a larger picture, is a staircase of canvas pixels. A contour keeps the signed
distance to the outline instead. Between two pixels of the canvas it is read off where a map crosses its cut, so that
the outline stays smooth however much larger the picture is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wordbrush.picture.resize import resize

__all__ = ["drawn", "signed_distance"]

Float = NDArray[np.float32]

SMOOTHING = 0.7
"""Spread, in canvas pixels, of the Gaussian that rounds what is left of steps; it moves an even outline nowhere."""

FAR = 1e4
"""Distance, in canvas pixels, to an outline that is not there."""


def signed_distance(inside: NDArray[np.bool_], level: Float | None = None) -> Float:
    """Return the distance of every pixel's centre to the outline of a set, positive inside.

    Args:
        inside: (height, width), the set.
        level: (height, width), a map that is above 0 inside; the outline lies where it crosses 0 between two pixels,
            at `level / |gradient|` from each. Without it, and where it does not agree with `inside` on both sides, the
            outline lies half-way between two pixels.

    Returns:
        (height, width) in pixels; `FAR` or `-FAR` everywhere where the set is everything or nothing.
    """
    if inside.all() or not inside.any():
        return np.full(inside.shape, FAR if inside.any() else -FAR, np.float32)
    agrees, near = np.zeros_like(inside), np.zeros(inside.shape, np.float32)
    if level is not None:
        agrees = (level > 0) == inside
        near = np.clip(np.abs(level) / (np.hypot(*np.gradient(level)) + 1e-9), 0.0, 1.0).astype(np.float32)
    distance = np.zeros(inside.shape, np.float32)
    for side, sign in ((inside, 1), (~inside, -1)):
        rim = side & ndimage.binary_dilation(~side)  # by a cross: the four neighbours
        crossed = agrees & ndimage.binary_dilation(agrees & ~side)
        away, (rows, columns) = ndimage.distance_transform_edt(~rim, return_indices=True)
        distance[side] = (sign * (away + np.where(crossed, near, 0.5)[rows, columns]))[side]
    return np.asarray(ndimage.gaussian_filter(distance, SMOOTHING, mode="nearest"), np.float32)


def drawn(distance: Float, size: tuple[int, int], *, width: float = 0.0) -> Float:
    """Draw a contour at the picture's size.

    Args:
        distance: (height, width) in canvas pixels, positive inside.
        size: of the picture, (width, height).
        width: canvas pixels, counted inwards from the outline, over which the values rise from 0 to 1. At least one
            pixel of the picture is taken, half on either side of the outline: a smooth edge.

    Returns:
        (height, width) in [0, 1].
    """
    pixel = distance.shape[1] / size[0]
    values = resize(distance, size, "linear")
    values += np.float32(pixel / 2)
    values /= np.float32(max(width, pixel))
    return np.clip(values, 0.0, 1.0, out=values)
