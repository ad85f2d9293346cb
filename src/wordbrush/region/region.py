"""Regions: from a contrast and the user's masks to what is edited, at latent cells and at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import OUTLINES
from wordbrush.region.threshold import Contrast
from wordbrush.settings import Settings

__all__ = ["Region", "cut_region", "region_of"]


@dataclass(frozen=True, eq=False)
class Region:
    """What is edited: at latent cells for the decode, and at the picture's size for the composite.

    Attributes:
        cells: latent cells, [0, 1].
        pixels: picture size, [0, 1]; where it is 0 the output has the input's own bytes.
    """

    cells: Mask
    pixels: Mask


def cut_region(frame: Frame, contrast: Contrast, settings: Settings) -> Region:
    """Cut a contrast and clean the mask up, at the fineness that `edges` asks for; turn it inside out with `invert`.

    Returns:
        With `edges` smooth or cells the latent cells above the cut, and their outline on the picture. With the others
        the outline follows the picture itself (`outline.OUTLINES`), and the cells are those it touches. The cut is the
        same number either way. Where no place of the picture lies above the cut (a flat contrast has none) the region
        is empty, with `invert`, too: no place must not mean that everything is edited.
    """
    if settings.edges not in OUTLINES:
        cells = _cleaned(contrast.threshold(settings.threshold, settings.rule), settings, 1)
        region = _placed(frame, cells, settings.edges)
        return region if not settings.invert or region.pixels.is_empty else _placed(frame, ~cells, settings.edges)
    if contrast.is_flat:
        return _placed(frame, Mask.empty(frame.size), settings.edges)
    values, cut = contrast.cut(settings.threshold, settings.rule)
    canvas = _cleaned(Mask.from_array(frame.outlined(values, settings.edges) > cut), settings, frame.cell)
    inner = Mask(frame.fit.cropped(canvas.values))
    pixels = inner.resize(frame.size, "linear")
    if settings.invert and not pixels.is_empty:
        inner, pixels = ~inner, ~pixels
    return Region(_touched(frame, inner), pixels)


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
    region = automatic or _placed(frame, Mask.empty(frame.size), settings.edges)
    if mask is not None:
        region = _placed(frame, mask, settings.edges)
    if include is not None:
        more = _placed(frame, include, settings.edges)
        region = Region(region.cells | more.cells, region.pixels | more.pixels)
    if settings.feather > 0:
        cell = frame.cell * max(frame.size) / max(frame.fit.inner)
        region = Region(region.cells, region.pixels.feather(settings.feather * cell))
    if exclude is not None:
        # Every pixel that is excluded at all stays; a cell stays out of the decode where all of it is excluded.
        pixels = _placed(frame, exclude, "cells", "any").pixels
        free = _placed(frame, ~exclude, "cells").cells
        region = Region(region.cells - ~free, region.pixels - pixels)
    return region


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
