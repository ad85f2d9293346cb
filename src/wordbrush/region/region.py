"""Regions: from a contrast and the user's masks to what is edited, at latent cells and at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask

if TYPE_CHECKING:
    from wordbrush.region.threshold import Contrast
    from wordbrush.settings import Settings

__all__ = ["Region", "found_cells", "found_mask", "region_of"]


@dataclass(frozen=True, eq=False)
class Region:
    """What is edited: at latent cells for the decode, and at the picture's size for the composite.

    Attributes:
        cells: latent cells, [0, 1].
        pixels: picture size, [0, 1]; where it is 0 the output has the input's own bytes.
    """

    cells: Mask
    pixels: Mask


def found_cells(contrast: Contrast, settings: Settings) -> Mask:
    """Cut a contrast and clean the mask up: threshold, fill holes, drop specks, grow or shrink, at latent cells."""
    return _cleaned(contrast.threshold(settings.threshold, settings.rule), settings, 1)


def found_mask(frame: Frame, contrast: Contrast, settings: Settings) -> Mask:
    """Cut a contrast and clean the mask up, at the fineness that `edges` asks for; turn it inside out with `invert`.

    Returns:
        A mask of latent cells; with `edges` guided one at the picture's size, whose outline follows the picture's own
        edges (`outline.guided`) and whose cells are those it touches. The cut is the same number either way. Where
        nothing was found in the picture (a flat contrast, or no cell above the cut) it is empty, with `invert`, too:
        nothing found must not mean that everything is edited.
    """
    if settings.edges != "guided":
        cells = found_cells(contrast, settings)
        return cells if not settings.invert or _to_pixels(frame, cells, settings.edges).is_empty else ~cells
    if contrast.is_flat:
        return Mask.empty(frame.size)
    values, cut = contrast.cut(settings.threshold, settings.rule)
    cell = frame.cell
    canvas = _cleaned(Mask.from_array(frame.outlined(values) > cut), settings, cell)
    found = Mask.from_array(np.clip(frame.fit.inverse(canvas.values, "linear"), 0.0, 1.0))
    return found if not settings.invert or found.is_empty else ~found


def _cleaned(mask: Mask, settings: Settings, cell: int) -> Mask:
    """Fill holes, drop specks, grow or shrink; `cell` is the side of a latent cell in units of the mask."""
    if settings.fill_holes:
        mask = mask.fill_holes()
    if settings.drop_specks:
        mask = mask.drop_specks(settings.drop_specks * cell * cell)
    return mask.grow(settings.grow * cell) if settings.grow >= 0 else mask.shrink(-settings.grow * cell)


def region_of(
    frame: Frame,
    found: Mask | None,
    settings: Settings,
    *,
    mask: Mask | None = None,
    include: Mask | None = None,
    exclude: Mask | None = None,
) -> Region:
    """Bring the found mask and the user's masks to latent cells and to the picture's size.

    A mask of exactly the latent's size is taken for latent cells, as `Contrast.threshold` gives them; any other is
    stretched over the picture.

    Args:
        frame: of the picture.
        found: the mask found, at latent cells; None where the user gave the whole mask.
        settings: for edges and feather.
        mask: the user's whole mask; takes the place of `found`.
        include: always edited.
        exclude: never edited; wins over everything.
    """
    start = mask if mask is not None else found or Mask.empty(frame.latent_size)
    region = _placed(frame, start, settings.edges)
    if include is not None:
        more = _placed(frame, include, settings.edges)
        region = Region(region.cells | more.cells, region.pixels | more.pixels)
    if settings.feather > 0:
        cell = frame.cell * max(frame.size) / max(frame.fit.inner)
        region = Region(region.cells, region.pixels.feather(settings.feather * cell))
    if exclude is not None:
        # Every pixel that is excluded at all stays; a cell stays out of the decode where all of it is excluded.
        kept = _placed(frame, exclude, "cells", "any").pixels
        free = _placed(frame, ~exclude, "cells").cells
        region = Region(region.cells - ~free, region.pixels - kept)
    return region


def _placed(frame: Frame, mask: Mask, edges: str, how: Literal["linear", "any"] = "linear") -> Region:
    """Lay a mask on cells and picture; `edges` is for one of the latent's size, `how` resizes any other."""
    if mask.size == frame.latent_size != frame.size:
        return Region(mask, _to_pixels(frame, mask, edges))
    pixels = mask.resize(frame.size, how)
    canvas = frame.fit.forward(pixels.values, "linear")
    return Region(Mask.from_array(np.clip(canvas, 0.0, 1.0)).resize(frame.latent_size, "any"), pixels)


def _to_pixels(frame: Frame, cells: Mask, edges: str) -> Mask:
    canvas = cells.resize(frame.fit.canvas, "nearest" if edges == "cells" else "linear")
    return Mask.from_array(np.clip(frame.fit.inverse(canvas.values, "linear"), 0.0, 1.0))
