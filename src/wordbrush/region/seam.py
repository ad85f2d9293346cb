"""Seams: where the composite changes from the picture to what was decoded, so that nobody sees it.

Two things are decided after the decode, from the picture and the decoded one on the same canvas:

- where the seam runs (`outward`). What was painted rarely ends where the region was found to: the picture's antialiased
  rim or a shadow would stay as a ghost, a new thing would be cut off. The seam goes out to where the pictures agree.
- what is carried inwards (`correction`). The codec shifts colours a little and softens, and the network's ground is a
  shade off; next to the seam that shows as a step. What differs along the seam by little is added inside, fading within
  a cell or two; what differs by much differs because it should, and is left alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wordbrush.region.contour import signed_distance

__all__ = ["correction", "matched", "outward"]

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]

VISIBLE = 8.0
"""Difference, root mean square over RGB of 255, from which on the decoded picture shows something else."""

EDGE = 0.7
"""Spread of the Gaussian, in canvas pixels, that both get before: a codec shifts edges by a fraction of one."""

THIN = 3
"""Canvas pixels that something else is wide at least: lines that the codec softened, as a horizon, are not followed."""

AROUND = 1.0
"""Canvas pixels by which the seam keeps away from what differs: a pixel there is something else in part."""

SMALL = 40.0
"""Difference along the seam, of 255, from which on nothing is carried inwards."""


def outward(before: Bytes, after: Bytes, distance: Float, most: float) -> Float:
    """Return the contour around all that was painted otherwise, found or not, so that the seam runs where both agree.

    From the region, what differs is followed outwards, lines of a pixel or two left out: a new thing that is larger
    than the old one, the rim and the shadow of one that is gone. What differs apart from it, as a star that the codec
    lost, is left as it was.

    Args:
        before: the picture on the canvas, (height, width, RGB).
        after: the decoded one.
        distance: signed distance to the outline of the region, (height, width) in pixels, positive inside.
        most: pixels that the contour goes out at most; `AROUND` everywhere, more where the pictures differ.

    Returns:
        Signed distance to the contour, (height, width) in pixels, positive inside.
    """
    soft = [ndimage.gaussian_filter(picture.astype(np.float32), (EDGE, EDGE, 0)) for picture in (before, after)]
    differs = np.square(soft[1] - soft[0]).mean(-1) > VISIBLE**2
    other = (distance > 0) | ((distance > -most) & differs)
    opened = ndimage.binary_opening(np.pad(other, 2, "edge"), np.ones((THIN, THIN), np.bool_))[2:-2, 2:-2]
    reached = ndimage.binary_propagation(distance > 0, mask=opened | (distance > 0))
    beyond = signed_distance(reached) + np.float32(AROUND)
    return np.asarray(np.maximum(distance, np.minimum(beyond, distance + np.float32(most))), np.float32)


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
