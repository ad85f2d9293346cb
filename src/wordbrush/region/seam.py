"""Seams: where the composite changes from the picture to what was decoded, so that nobody sees it.

Two things are decided after the decode, from the picture and the decoded one on the same canvas:

- where the seam runs (`outward`). Along the outline of a thing that is gone, the picture's antialiased rim lies just
  outside the region and would stay as a ghost: the seam moves out. Where the decode kept the outline, as a change of
  colour does, it stays.
- what is carried inwards (`correction`). The codec shifts colours a little and softens, and the network's ground is a
  shade off; next to the seam that shows as a step. What differs along the seam by little is added inside, fading within
  a cell or two; what differs by much differs because it should, and is left alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["correction", "kept_outline", "matched", "outward"]

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BESIDE = 4.0
"""Canvas pixels on either side of an outline in which its step is looked for."""

ALONG = 3.0
"""Spread of the Gaussian, in canvas pixels, over which what is measured along an outline is averaged."""

KEPT, GONE = 0.4, 0.15
"""Shares of an outline's step that count as all of it kept, and as none."""

FAINT = 2.0
"""Mean squared step, in squared units of 255 for a pixel, that counts as no step at all."""

SMALL = 40.0
"""Difference along the seam, of 255, from which on nothing is carried inwards."""


def kept_outline(before: Bytes, after: Bytes, distance: Float) -> Float:
    """Return how much of the picture's step across an outline the decoded picture still has.

    The step is the slope of the colours along the outline's normal, as a root mean square over its surroundings.

    Args:
        before: the picture on the canvas, (height, width, RGB).
        after: the decoded one.
        distance: signed distance to the outline, (height, width) in pixels.

    Returns:
        (height, width), 0 or more; about 1 where the outline is as it was. Far from the outline it means nothing.
    """
    down, across = np.gradient(ndimage.gaussian_filter(np.clip(distance, -12, 12), 2.0))
    length = np.hypot(down, across) + 1e-6
    beside = (np.abs(distance) <= BESIDE).astype(np.float32)

    def step(picture: Bytes) -> Float:
        squares = np.zeros(distance.shape, np.float32)
        for channel in range(3):
            y, x = np.gradient(ndimage.gaussian_filter(picture[..., channel].astype(np.float32), 1.0))
            squares += ((down * y + across * x) / length) ** 2
        return np.asarray(ndimage.gaussian_filter(squares * beside, ALONG), np.float32)

    share = ndimage.gaussian_filter(beside, ALONG)
    return np.asarray(np.sqrt(step(after) / (step(before) + FAINT * share + 1e-6)), np.float32)


def outward(before: Bytes, after: Bytes, distance: Float, least: float, most: float) -> Float:
    """Return how far beyond an outline the seam runs, (height, width) in pixels from `least` to `most`.

    Args:
        before: the picture on the canvas, (height, width, RGB).
        after: the decoded one.
        distance: signed distance to the outline, (height, width) in pixels.
        least: where the outline is kept.
        most: where it is gone.
    """
    gone = np.clip((KEPT - kept_outline(before, after, distance)) / (KEPT - GONE), 0.0, 1.0)
    return np.asarray(least + max(most - least, 0.0) * gone, np.float32)


def correction(before: Bytes, after: Bytes, weight: Float, reach: float) -> Float:
    """Return what to add to the decoded picture so that it meets the other one along the seam.

    In a strip of half the reach outside the region, the difference of the two pictures is known. Its mean there, a
    Gaussian weighting by nearness, goes inwards and falls linearly to 0 at the reach. A difference d counts by
    (1 - (d / SMALL)²)²: all of a small one, nothing from `SMALL` on.

    Args:
        before: the picture on the canvas, (height, width, RGB).
        after: the decoded one.
        weight: of the composite, (height, width) in [0, 1].
        reach: pixels.

    Returns:
        (height, width, RGB), units of 255.
    """
    result = np.zeros(before.shape, np.float32)
    outside = weight <= 0
    if reach <= 0 or outside.all() or not outside.any():
        return result
    inwards = ndimage.distance_transform_edt(~outside)
    strip = (outside & (ndimage.distance_transform_edt(outside) <= reach / 2)).astype(np.float32)
    spread = reach / 4
    difference = before.astype(np.float32) - after
    near = ndimage.gaussian_filter(strip, 1.0) + 1e-6
    level = np.stack([ndimage.gaussian_filter(difference[..., c] * strip, 1.0) / near for c in range(3)], -1)
    trust = strip * np.clip(1 - np.square(level).mean(-1) / SMALL**2, 0, 1) ** 2
    # Divided by the whole strip's weight, once more trusted: where most of the strip differs much, little is carried.
    whole, trusted = (ndimage.gaussian_filter(part, spread) + 1e-6 for part in (strip, trust))
    share = trusted / whole * np.clip(1 - inwards / reach, 0, 1) * ~outside
    for c in range(3):
        result[..., c] = ndimage.gaussian_filter(level[..., c] * trust, spread) / trusted * share
    return result


def matched(before: Bytes, after: Bytes, weight: Float, reach: float) -> Bytes:
    """Return the decoded picture with the `correction` added, (height, width, RGB) bytes."""
    moved = after + correction(before, after, weight, reach)
    return np.asarray(np.clip(np.floor(moved + 0.5), 0, 255), np.uint8)
