"""Outlines finer than latent cells: a map of cells is laid on the picture so that its edges follow the picture's.

A latent cell covers many pixels. The guided filter (He, Sun, Tang 2010) explains the map, in every small window, as a
linear function of the picture's colours; the level line of the result runs along the object's own edge wherever that
edge and the map agree on a change. It looks no further than its window: `regional` adds what the even regions of the
picture have to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wordbrush.picture.resize import resize

__all__ = ["CONTOURS", "OUTLINES", "guided", "parts", "regional", "smoothed"]

EPSILON = 0.003
"""Colour variance, in squared units of [0, 1], below which a window counts as even and the map is only smoothed."""

SAMPLES: Final = 4
"""Samples that `regional` takes along a latent cell: it works on this grid, whatever the size of the picture."""

REACH: Final = 3.0
"""Standard deviation, in latent cells, of the surroundings of a sample: as far as a thing is large."""

STIFFNESS, CONTRAST = 400.0, 0.03
"""How far a map spreads in an even region, in samples squared; the step of colour that lets e times less through."""

UNCERTAIN: Final = 0.4
"""Value of the map from which on a sample surely belongs to what changes, and tells nothing of the ground."""


class Weights(NamedTuple):
    """Share of each part in the root of the map that `regional` makes; those of maps sum to 1.

    A logistic regression on dev of the truth bench (420 edits, 300 pixels each but 100 of an addition, maps of an
    earlier pocket model at strengths .5, .7, .9), divided by its sum over maps and rounded. Its constant (-.03) is left
    out, so that a map on which all agrees keeps its height; a chance of .46 then lies at .22.
    `python -m benchmarks.masks fit` learns them again.
    """

    guided: float
    smoothed: float
    around: float
    unlike: float
    darker: float


WEIGHTS: Final = Weights(guided=0.5, smoothed=0.72, around=-0.22, unlike=0.25, darker=0.07)


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


def regional(cells: NDArray[np.float32], picture: NDArray[np.uint8], *, radius: int) -> NDArray[np.float32]:
    """Lay a map of latent cells on a picture by its edges, its even regions and its colours.

    The root of the result is a weighted sum (`WEIGHTS`) of the roots of three maps and of two colour distances:

        root(m) = a root(guided) + b root(smoothed) + c root(around) + d unlike + e darker

    The smoothed map runs through even regions, so that a part of a ground that the contrast missed is filled from the
    rest; `around` is the map blurred, whose weight is negative: what counts is to stand out from the surroundings.
    `unlike` is the distance of a colour to the ground nearby, and `darker` by how much it is darker, as shadows are.
    The ground nearby is the mean colour of the surroundings, each sample weighted by (1 - guided / .4) squared.

    Args:
        cells: (row, column) of latent cells, not negative.
        picture: (height, width, RGB) bytes, whole multiples of the map's sides.
        radius: of the guided filter's window in pixels: one latent cell.

    Returns:
        The map at the picture's size (height, width), between 0 and the largest of `cells`, as large as `cells` where
        all agrees. A multiple of `cells` gives the multiple of the result.
    """
    peak = float(cells.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros(picture.shape[:2], np.float32)
    found = parts(cells / peak, picture, radius=radius)
    root = sum((weight * part for weight, part in zip(WEIGHTS, found, strict=True)), np.zeros_like(found[0]))
    return np.asarray(peak * np.square(np.clip(root, 0.0, 1.0)), np.float32)


def parts(
    cells: NDArray[np.float32], picture: NDArray[np.uint8], *, radius: int
) -> tuple[NDArray[np.float32], ...]:
    """Return what `regional` adds up, in the order of `Weights`, each (height, width): three roots, two distances.

    Args:
        cells: (row, column) of latent cells in [0, 1].
        picture: (height, width, RGB) bytes, whole multiples of the map's sides.
        radius: of the guided filter's window in pixels.
    """
    laid = np.maximum(guided(cells, picture, radius=radius), 0.0)
    size = (cells.shape[1] * SAMPLES, cells.shape[0] * SAMPLES)
    colours = resize(picture, size, "box").astype(np.float64) / 255.0
    plain = np.maximum(resize(cells, size, "linear"), 0.0).astype(np.float64)
    ground = _ground(colours, resize(laid, size, "box"))
    sampled = (
        np.sqrt(smoothed(plain, colours)),
        np.sqrt(_blurred(plain)),
        np.sqrt(np.square(colours - ground).sum(axis=-1)),
        np.log((ground.mean(axis=-1) + 0.05) / (colours.mean(axis=-1) + 0.05)),
    )
    across = (picture.shape[1], picture.shape[0])
    return np.sqrt(laid), *(resize(part.astype(np.float32), across, "linear") for part in sampled)


OUTLINES: Final[Mapping[str, Callable[..., NDArray[np.float32]]]] = {
    "regions": regional, "contour": guided, "guided": guided,
}  # fmt: skip
"""Ways to lay a map on a picture, by the words of the switch `edges`."""

CONTOURS: Final = ("regions", "contour")
"""Those whose outline is drawn at the picture's own size."""


def smoothed(
    values: NDArray[np.float64],
    colours: NDArray[np.float64],
    *,
    stiffness: float = STIFFNESS,
    contrast: float = CONTRAST,
    rounds: int = 3,
) -> NDArray[np.float64]:
    """Spread values through even regions: the fast global smoother (Min, Choi, Lu, Ham, Sohn, Do 2014).

    Each row, then each column, is replaced by the u that minimises the sum of (u - value)**2 and of stiffness * w *
    (difference of neighbours in u)**2, with w = exp(-|difference of their colours| / contrast): a tridiagonal system.
    Rounds repeat it, each with a quarter of the stiffness before. The result is the mean of this and of columns before
    rows, so that a picture that is turned gives the map turned.

    Args:
        values: (height, width).
        colours: (height, width, channel) in [0, 1].
        stiffness: how much neighbours of one colour are held together; a value reaches about its root in samples.
        contrast: the step of colour over which this is e times less.
        rounds: more leave fewer streaks along rows and columns.
    """
    across, down = (
        np.exp(-np.sqrt(np.square(np.diff(colours, axis=axis)).sum(axis=-1)) / contrast) for axis in (1, 0)
    )
    one = other = values
    for turn in range(rounds):
        share = 1.5 * stiffness * 4.0 ** (rounds - turn - 1) / (4.0**rounds - 1.0)
        one = _tied(_tied(one.T, share * across.T).T, share * down)
        other = _tied(_tied(other, share * down).T, share * across.T).T
    return (one + other) / 2


def _tied(values: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve (1 + D' ties D) u = values along the first axis, D the difference of neighbours: Thomas's algorithm.

    Args:
        values: (row, column), every column for itself.
        ties: (row - 1, column), not negative.
    """
    diagonal = np.ones_like(values)
    diagonal[1:] += ties
    diagonal[:-1] += ties
    u = np.array(values)
    for i in range(1, len(u)):
        factor = ties[i - 1] / diagonal[i - 1]
        diagonal[i] -= factor * ties[i - 1]
        u[i] += factor * u[i - 1]
    u[-1] /= diagonal[-1]
    for i in range(len(u) - 2, -1, -1):
        u[i] = (u[i] + ties[i] * u[i + 1]) / diagonal[i]
    return u


def _blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the surroundings of each sample: a Gaussian over the first two axes."""
    sigma = REACH * SAMPLES
    blurred: NDArray[np.float64] = ndimage.gaussian_filter(values, sigma, truncate=3.0, axes=(0, 1))
    return blurred


def _ground(colours: NDArray[np.float64], laid: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean colour of what surely stays around each sample, (height, width, channel)."""
    share = np.square(np.clip(1.0 - laid / UNCERTAIN, 0.01, 1.0)).astype(np.float64)[..., None]
    return _blurred(share * colours) / _blurred(share)


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
