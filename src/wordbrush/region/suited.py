"""Whether masks belong to a picture: looked at once, before any network runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wordbrush.errors import MaskError
from wordbrush.region.mask import Mask

if TYPE_CHECKING:
    from wordbrush.picture.picture import Picture

__all__ = ["extent_note", "suited"]

Size = tuple[int, int]

NOTHING = 0.002
"""Share of the picture that is next to nothing."""

NEARLY_ALL = 0.995
"""Share of the picture that is nearly all of it."""

WEAK = 0.6
"""Strength of the strongest cell below which a mask hardly edits."""

SMALL = 64
"""Side of the copies in which a mask is compared with the picture."""

SAME_SHAPE = 0.02
"""Relative difference of two aspects that rounding to whole cells of a model explains."""


def suited(masks: Mapping[str, Mask], picture: Picture, *, latent_size: Size | None = None) -> dict[str, Mask]:
    """Return masks with notes on what is odd about them for this picture.

    Args:
        masks: by the names `mask`, `include` and `exclude`, as they were read.
        picture: what is edited.
        latent_size: (width, height) in cells of a model, where it is known; a mask of this size is always fitting.

    Raises:
        MaskError: a mask looks turned by a quarter, or is the picture itself.
    """
    told = dict(masks)
    for name, mask in masks.items():
        if mask.size not in (picture.size, latent_size):
            told[name] = _noted(told[name], _shape_note(name, mask.size, picture.size))
        if _is_picture(mask, picture):
            raise MaskError(f"{name}: this is the picture itself, not a mask; were the two mixed up?")
        told[name] = _noted(told[name], *_extent_notes(name, mask))
    if "exclude" in told:
        told["exclude"] = _noted(told["exclude"], _together_note(masks, picture.size))
    return told


def _noted(mask: Mask, *notes: str) -> Mask:
    """Return a mask with further notes; empty ones, and those it has, are left out."""
    new = tuple(dict.fromkeys(note for note in notes if note and note not in mask.notes))
    return replace(mask, notes=(*mask.notes, *new)) if new else mask


def _shape_note(name: str, size: Size, of_picture: Size) -> str:
    """Return what is odd about the shape of a mask, or "".

    Raises:
        MaskError: it looks turned by a quarter.
    """
    shapes = f"{size[0]} × {size[1]} for a picture of {of_picture[0]} × {of_picture[1]}"
    if _same_shape(size, of_picture):
        return ""
    if _same_shape(size[::-1], of_picture):
        raise MaskError(
            f"{name}: {shapes} looks turned by a quarter; turn the mask (pictures are turned upright by their EXIF)"
        )
    return f"its shape is not that of the picture: {shapes}; it is stretched"


def _same_shape(size: Size, of_picture: Size) -> bool:
    """Whether one is a scaled copy of the other, but for rounding to whole pixels or to cells of a model."""
    (width, height), (wide, high) = size, of_picture
    exact = abs(width - wide * height / high) <= 1 or abs(height - high * width / wide) <= 1
    rounded = min(size) > 1 and abs(np.log(width * high / (height * wide))) <= SAME_SHAPE
    return bool(rounded or (exact and min(size) > 1) or (size == (1, 1) and wide == high))


def _is_picture(mask: Mask, picture: Picture) -> bool:
    """Whether the mask is the picture in grey, of whatever size; no mask of two values is."""
    if not _same_shape(mask.size, picture.size) or ((mask.values > 0.04) & (mask.values < 0.96)).mean() < 0.1:
        return False
    small = Image.fromarray(picture.srgb).resize((SMALL, SMALL), Image.Resampling.BOX)
    values = mask.resize((SMALL, SMALL), "area").values
    greys = (np.asarray(small.convert("L")), np.asarray(small).max(axis=2))
    return any(float(np.abs(grey / 255 - values).mean()) < 0.02 for grey in greys)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %"


def extent_note(area: float) -> str:
    """Return what is odd about a region of this share of the picture, or ""."""
    if area < NOTHING:
        return "nothing is edited" if area == 0 else "next to nothing is edited"
    return "" if area <= NEARLY_ALL else "nothing is kept" if area == 1 else "next to nothing is kept"


def _extent_notes(name: str, mask: Mask) -> tuple[str, ...]:
    """Return what is odd about how much a mask covers, and how strongly."""
    area, low, high = mask.area, float(mask.values.min()), float(mask.values.max())
    verb = {"mask": "edits", "include": "adds", "exclude": "protects"}[name]
    if high == 0:
        return (f"it is empty: it {verb} nothing",)
    if area < NOTHING:
        return (f"it {verb} next to nothing: {_percent(area)} of the picture",)
    if area > NEARLY_ALL:
        left = "nothing" if low == 1 else f"next to nothing ({_percent(1 - area)} of the picture)"
        return (f"it leaves {left} to {'edit' if name == 'exclude' else 'keep'}",)
    notes = (f"its strongest value is {high:.2g} of 1: nothing is fully white",) if high < WEAK else ()
    return notes if low == 0 else (*notes, f"its darkest value is {low:.2g} of 1: nothing is fully black")


def _together_note(masks: Mapping[str, Mask], size: Size) -> str:
    """Return what is odd about what `exclude` leaves of the others, or ""."""
    names = [name for name in ("mask", "include") if name in masks]
    if "exclude" not in masks or not names:
        return ""
    edited = np.max([masks[name].resize(size, "linear").values for name in names], axis=0)
    left = np.minimum(edited, 1 - masks["exclude"].resize(size, "any").values)
    share = float(left.mean(dtype=np.float64))
    if share >= NOTHING or float(edited.mean(dtype=np.float64)) < NOTHING:
        return ""
    return f"it leaves {'nothing' if share == 0 else 'next to nothing'} of {' and '.join(names)} to edit"
