"""The request: one edit that somebody asks for, the same in Python, command line and web."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import MaskError, SettingsError
from wordbrush.region.mask import Mask
from wordbrush.settings import MAX_SEED, Settings
from wordbrush.texts import check_text
from wordbrush.values import is_whole, plain, worded

__all__ = ["EditRequest", "MaskLike", "Queries", "as_mask", "check_callback", "check_seed", "is_single", "requests_of"]

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
    _check_mask(value)
    return Mask.open(value).rounded()


def _check_mask(value: object) -> None:
    if value is not None and not isinstance(value, Mask | Image.Image | np.ndarray | str | Path | bytes):
        raise MaskError(
            f"cannot read a {type(value).__name__} as a mask; give a Mask, a path, bytes, a PIL image or a numpy array"
        )


def check_seed(value: object) -> int:
    """Return a seed as a Python int; a whole number of numpy is one, too.

    Raises:
        SettingsError: it is no whole number in [0, 2**63 - 1].
    """
    seed = plain(value)
    if not is_whole(seed):
        raise SettingsError(f"seed {worded(value)} is not a whole number")
    whole = int(seed)
    if whole < 0:
        raise SettingsError(
            f"seed {worded(value)} is below 0: no number stands for a random seed; draw one, as by "
            "secrets.randbelow(2**32)"
        )
    if whole > MAX_SEED:
        raise SettingsError(f"seed {worded(value)} is above 2^63 - 1, the largest")
    return whole


def check_callback(callback: object) -> None:
    """Raise SettingsError where this cannot be called after a step."""
    if callback is not None and not callable(callback):
        raise SettingsError(f"the callback is a function that takes an event, not {type(callback).__name__}")


def is_single(value: object) -> bool:
    """Say whether this is one text or one seed, and not several of them."""
    return isinstance(value, str | bytes | Mapping) or not isinstance(plain(value), Iterable)


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

    def checked(self) -> EditRequest:
        """Return the request with its seed as a Python int, once all in it is of the kinds that an edit takes.

        Raises:
            InputError: a text is none.
            SettingsError: seed or settings are none.
            MaskError: a mask is nothing that can be one. No file is opened yet.
        """
        for name in ("query", "reference", "negative"):
            check_text(getattr(self, name), name)
        for mask in (self.mask, self.include, self.exclude):
            _check_mask(mask)
        if self.settings is not None and not isinstance(self.settings, Settings):
            raise SettingsError(f"settings are a Settings object, not {type(self.settings).__name__}")
        return replace(self, seed=check_seed(self.seed))


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
    """List the edits of every query with every seed, queries first; masks are read once.

    Raises:
        WordbrushError: as `EditRequest.checked`, or a mask cannot be read.
    """
    masks = {
        name: None if value is None else as_mask(value)
        for name, value in (("mask", mask), ("include", include), ("exclude", exclude))
    }
    queries: list[Any] = [query] if is_single(query) else list(query)
    seeds: list[Any] = [seed] if is_single(seed) else list(plain(seed))
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
        ).checked()
        for text in queries
        for number in seeds
    ]
