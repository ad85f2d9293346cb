"""Regions: from a contrast and the user's masks to what is edited, at latent cells and at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wordbrush.mask import Mask

if TYPE_CHECKING:
    from wordbrush.contrast import Contrast
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["Region", "found_cells", "region_of"]


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
    mask = contrast.threshold(settings.threshold, settings.rule)
    if settings.fill_holes:
        mask = mask.fill_holes()
    if settings.drop_specks:
        mask = mask.drop_specks(settings.drop_specks)
    return mask.grow(settings.grow) if settings.grow >= 0 else mask.shrink(-settings.grow)


def region_of(
    session: Session,
    found: Mask | None,
    settings: Settings,
    *,
    mask: Mask | None = None,
    include: Mask | None = None,
    exclude: Mask | None = None,
) -> Region:
    """Bring the found mask and the user's masks to latent cells and to the picture's size.

    Args:
        session: of the picture.
        found: the mask found, at latent cells; None where the user gave the whole mask.
        settings: for edges and feather.
        mask: the user's whole mask, any size; takes the place of `found`.
        include: always edited, any size.
        exclude: never edited, any size; wins over everything.
    """
    size = session.picture.size
    if mask is not None:
        pixels, cells = mask.resize(size, "linear"), _to_cells(session, mask)
    else:
        cells = found or Mask.empty(session.latent_size)
        pixels = _to_pixels(session, cells, settings.edges)
    if include is not None:
        pixels, cells = pixels | include.resize(size, "linear"), cells | _to_cells(session, include)
    if settings.feather > 0:
        cell = session.engine.codec.factor * max(size) / max(session.fit.inner)
        pixels = pixels.feather(settings.feather * cell)
    if exclude is not None:
        pixels = pixels - exclude.resize(size, "any")
        cells = cells - ~_to_cells(session, ~exclude)
    return Region(cells, pixels)


def _to_cells(session: Session, mask: Mask) -> Mask:
    """Mark every latent cell that the mask touches."""
    canvas = session.fit.forward(mask.resize(session.picture.size, "linear").values, "linear")
    return Mask.from_array(np.clip(canvas, 0.0, 1.0)).resize(session.latent_size, "any")


def _to_pixels(session: Session, cells: Mask, edges: str) -> Mask:
    canvas = cells.resize(session.fit.canvas, "linear" if edges == "smooth" else "nearest")
    return Mask.from_array(np.clip(session.fit.inverse(canvas.values, "linear"), 0.0, 1.0))
