"""The request: one edit that somebody asks for, the same in Python, command line and web."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.region.mask import Mask
from wordbrush.settings import Settings

__all__ = ["EditRequest", "MaskLike", "Queries", "as_mask", "requests_of"]

Queries = list[str] | tuple[str, ...]
MaskLike = Mask | Image.Image | NDArray[Any] | str | Path | bytes


def as_mask(value: MaskLike) -> Mask:
    """Take a mask as it comes - a Mask, a picture, an array, a file - at the 8 bits that a record keeps.

    Raises:
        MaskError: it cannot be read as a mask.
    """
    if isinstance(value, Mask):
        return value.rounded()
    if isinstance(value, Image.Image):
        return Mask.from_image(value).rounded()
    if isinstance(value, np.ndarray):
        return Mask.from_array(value).rounded()
    return Mask.open(value).rounded()


@dataclass(frozen=True, eq=False, kw_only=True)
class EditRequest:
    """One edit of one picture.

    Attributes:
        picture: anything `Picture.open` takes.
        query: what the picture should show.
        reference: what it shows now; may be empty.
        negative: what the decode is guided away from.
        seed: of the contrast's noises, unless the settings have a `contrast_seed` (and of the decode's, with eta
            above 0).
        mask: use this mask, any size; no contrast is computed.
        include: always edit here, too.
        exclude: never edit here; wins over the rest.
        settings: all switches; by default those of the call.
        check_inversion: measure the reconstruction error, at the cost of a decode without guidance.
    """

    picture: Any
    query: str
    reference: str = ""
    negative: str = ""
    seed: int = 0
    mask: MaskLike | None = None
    include: MaskLike | None = None
    exclude: MaskLike | None = None
    settings: Settings | None = None
    check_inversion: bool = False


def requests_of(
    picture: Any,
    query: str | Queries,
    reference: str,
    negative: str,
    seed: int | Sequence[int],
    mask: MaskLike | None,
    include: MaskLike | None,
    exclude: MaskLike | None,
    settings: Settings,
    check_inversion: bool,
) -> list[EditRequest]:
    """List the edits of every query with every seed, queries first; masks are read once."""
    masks = {
        name: None if value is None else as_mask(value)
        for name, value in (("mask", mask), ("include", include), ("exclude", exclude))
    }
    queries = [query] if isinstance(query, str) else list(query)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    return [
        EditRequest(
            picture=picture,
            query=text,
            reference=reference,
            negative=negative,
            seed=number,
            settings=settings,
            check_inversion=check_inversion,
            **masks,
        )
        for text in queries
        for number in seeds
    ]
