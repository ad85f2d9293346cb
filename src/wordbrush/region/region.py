"""Regions: from a contrast and the user's masks to what is edited, at latent cells and at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wordbrush.region.contour import drawn, signed_distance
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import CONTOURS, OUTLINES
from wordbrush.region.seam import outward
from wordbrush.region.threshold import Contrast
from wordbrush.settings import Settings

__all__ = ["Region", "cut_region", "region_of", "settled"]

LEAST = 0.5
"""Canvas pixels by which the composite goes beyond a contour everywhere: the pixel there is the old thing in part."""


@dataclass(frozen=True, eq=False)
class Region:
    """What is edited: at latent cells for the decode, and at the picture's size for the composite.

    Attributes:
        cells: latent cells, [0, 1].
        pixels: picture size, [0, 1]; where it is 0 the output has the input's own bytes.
        ring: the latent cells that are free while the noise is high, where these are more than `cells`; else None.
        distance: signed distance to the outline of a region that was found, (height, width) of the picture on the
            canvas, positive inside; None where the outline is not a contour.
    """

    cells: Mask
    pixels: Mask
    ring: Mask | None = None
    distance: NDArray[np.float32] | None = None

    @property
    def widest(self) -> Mask:
        """All latent cells that the decode frees at some time."""
        return self.cells if self.ring is None else self.ring


def cut_region(frame: Frame, contrast: Contrast, settings: Settings) -> Region:
    """Cut a contrast and clean the mask up, at the fineness that `edges` asks for; turn it inside out with `invert`.

    Returns:
        With `edges` smooth or cells the latent cells above the cut, and their outline on the picture. With the others
        the outline follows the picture itself (`outline.OUTLINES`), and the cells are those it touches; that of regions
        and contour is drawn at the picture's size. The cut is the same number either way. Where no place of the picture
        lies above the cut (a flat contrast has none) the region is empty, with `invert`, too: no place must not mean
        that everything is edited.
    """
    if settings.edges not in OUTLINES:
        cells = _cleaned(contrast.threshold(settings.threshold, settings.rule), settings, 1)
        region = _placed(frame, cells, settings.edges)
        return region if not settings.invert or region.pixels.is_empty else _placed(frame, ~cells, settings.edges)
    if contrast.is_flat:
        return _placed(frame, Mask.empty(frame.size), settings.edges)
    values, cut = contrast.cut(settings.threshold, settings.rule)
    level = frame.outlined(values, settings.edges) - np.float32(cut)
    if settings.edges in CONTOURS:
        return _contoured(frame, level, settings)
    canvas = _cleaned(Mask.from_array(level > 0), settings, frame.cell)
    inner = Mask(frame.fit.cropped(canvas.values))
    pixels = inner.resize(frame.size, "linear")
    if settings.invert and not pixels.is_empty:
        inner, pixels = ~inner, ~pixels
    return Region(_touched(frame, inner), pixels)


def _contoured(frame: Frame, level: NDArray[np.float32], settings: Settings) -> Region:
    """Return the region above 0 of a map on the canvas, its outline a contour."""
    mask = _cleaned(Mask.from_array(level > 0), settings.changed(grow=0), frame.cell)
    # Distances know fractions of a pixel, and growing a set by a disc moves them all by its radius.
    distance = frame.fit.cropped(signed_distance(mask.values > 0, level)) + np.float32(settings.grow * frame.cell)
    if settings.invert and (distance > 0).any():
        distance = -distance
    cells = _touched(frame, Mask.from_array(distance > 0))
    region = Region(cells, Mask.empty(frame.size), distance=distance)
    return _outlined(frame, region, settings, distance + np.float32(_least(settings)))


def settled(
    frame: Frame, region: Region, settings: Settings, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> Region:
    """Return a region that was found with its outline where the seam is seen least; see `seam.outward`.

    Args:
        frame: of the picture.
        region: with a contour; any other comes back as it is.
        settings: for the rim and the blend.
        before: the picture on the canvas, (canvas height, canvas width, RGB).
        after: what was decoded.
    """
    if region.distance is None or region.pixels.is_empty:
        return region
    seen = (frame.fit.cropped(before), frame.fit.cropped(after))
    contour = outward(*seen, region.distance, settings.rim)
    return _outlined(frame, region, settings, np.maximum(contour, region.distance + np.float32(_least(settings))))


def _outlined(frame: Frame, region: Region, settings: Settings, contour: NDArray[np.float32]) -> Region:
    """Draw a contour (canvas height, canvas width) as the region's pixels, unless there is nothing inside it."""
    if region.distance is None or not (region.distance > 0).any():
        return region
    return replace(region, pixels=Mask(drawn(contour, frame.size, width=settings.blend)))


def _least(settings: Settings) -> float:
    """Return by how many canvas pixels the composite goes beyond a contour everywhere."""
    return min(LEAST, settings.rim)


def _cleaned(mask: Mask, settings: Settings, cell: int) -> Mask:
    """Fill holes, drop specks, grow or shrink; `cell` is the side of a latent cell in units of the mask."""
    if settings.fill_holes:
        mask = mask.fill_holes()
    if settings.drop_specks:
        mask = mask.drop_specks(settings.drop_specks * cell * cell)
    return mask.grow(settings.grow * cell) if settings.grow >= 0 else mask.shrink(-settings.grow * cell)


def region_of(
    frame: Frame,
    automatic: Region | None,
    settings: Settings,
    *,
    mask: Mask | None = None,
    include: Mask | None = None,
    exclude: Mask | None = None,
) -> Region:
    """Lay the user's masks over the automatic region, at latent cells and at the picture's size.

    A mask of exactly the latent's size is taken for latent cells, as `Contrast.threshold` gives them; any other is
    stretched over the picture, and a cell takes the largest value of the pixels that touch it. So a black and white
    mask of the picture's size gives cells that are free or held, and a soft one keeps its greys.

    Args:
        frame: of the picture.
        automatic: the region cut from the contrast, see `cut_region`; None where the user gave the whole mask.
        settings: for edges and feather.
        mask: the user's whole mask; takes the place of `automatic`.
        include: always edited.
        exclude: never edited; wins over everything.
    """
    region = _seen(frame, automatic) if automatic else _placed(frame, Mask.empty(frame.size), settings.edges)
    if mask is not None:
        region = _placed(frame, mask, settings.edges)
    if include is not None:
        more = _placed(frame, include, settings.edges)
        region = replace(region, cells=region.cells | more.cells, pixels=region.pixels | more.pixels)
    if settings.feather > 0:
        cell = frame.cell * max(frame.size) / max(frame.fit.inner)
        region = replace(region, pixels=region.pixels.feather(settings.feather * cell))
    ring = region.cells.grow(settings.ring) if settings.ring else None
    if exclude is not None:
        # Every pixel that is excluded at all stays; a cell stays out of the decode where all of it is excluded.
        pixels = _placed(frame, exclude, "cells", "any").pixels
        free = _placed(frame, ~exclude, "cells").cells
        ring = None if ring is None else ring - ~free
        region = replace(region, cells=region.cells - ~free, pixels=region.pixels - pixels)
    return replace(region, ring=ring)


def _seen(frame: Frame, region: Region) -> Region:
    """Cut a region that was found to what can be seen of the picture."""
    if frame.visible is None:
        return region
    seen = _placed(frame, Mask.from_array(frame.visible), "cells", "any")
    return replace(region, cells=region.cells & seen.cells, pixels=region.pixels & seen.pixels)


def _placed(frame: Frame, mask: Mask, edges: str, how: Literal["linear", "any"] = "linear") -> Region:
    """Lay a mask on cells and picture; `edges` is for one of the latent's size, `how` resizes any other."""
    if mask.size == frame.latent_size != frame.size:
        return Region(mask, _to_pixels(frame, mask, edges))
    pixels = mask.resize(frame.size, how)
    return Region(_touched(frame, pixels.resize(frame.fit.inner, "any")), pixels)


def _touched(frame: Frame, inner: Mask) -> Mask:
    """Return the latent cells that a mask touches, each as free as its strongest pixel.

    Args:
        frame: of the picture.
        inner: a mask of the size that the picture has on the canvas; its edge is repeated in the padding around it.
    """
    return Mask(frame.fit.padded(inner.values)).resize(frame.latent_size, "any")


def _to_pixels(frame: Frame, cells: Mask, edges: str) -> Mask:
    canvas = cells.resize(frame.fit.canvas, "nearest" if edges == "cells" else "linear")
    return Mask(frame.fit.inverse(canvas.values, "linear"))
