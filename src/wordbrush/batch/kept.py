"""What is kept of an item: its pictures, read again from where they lie, for reports and scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.batch.inputs import stamp
from wordbrush.batch.sources import bytes_of, is_url
from wordbrush.errors import InputError, MaskError, PictureError
from wordbrush.files import bounded_read
from wordbrush.picture.limits import reading_limits
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask

__all__ = ["Kept", "opened_picture", "reason"]


def opened_picture(place: str) -> Picture:
    """Open the picture at a path or URL.

    Raises:
        PictureError: it is not there, or is none.
    """
    return Picture.open(bytes_of(place, PictureError, "picture") if is_url(place) else place)


class Kept:
    """An item of a ledger with its files; each is read at first use.

    Args:
        folder: of the ledger.
        row: of the ledger, see `Ledger.rows`.
    """

    def __init__(self, folder: Path, row: Mapping[str, Any]) -> None:
        self.folder, self.row = folder, row
        self.item: Mapping[str, Any] = row["item"] or {}
        self.told: Mapping[str, Any] = row["result"] or {}
        self.data: Mapping[str, Any] = self.item.get("data") or {}

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return bool(self.row["state"] == "done")

    @property
    def source(self) -> str:
        """Where the picture lies that was edited; "" where the item names none."""
        return str(self.item.get("picture") or "")

    @property
    def output(self) -> str | None:
        """The result's file, relative to the folder."""
        return _inside(self.row["output"])

    @property
    def mask_file(self) -> str | None:
        """The mask's file, relative to the folder; None where masks are not kept."""
        return _inside(self.told.get("mask"))

    @cached_property
    def picture(self) -> Picture:
        """The picture that was edited.

        Raises:
            PictureError: it is not there any more.
        """
        return opened_picture(self.source)

    @cached_property
    def result(self) -> Picture:
        """The result.

        Raises:
            PictureError: it is not there any more.
        """
        if self.output is None:
            raise PictureError("there is no result")
        return Picture.open(self.folder / self.output)

    @cached_property
    def mask_bytes(self) -> bytes:
        """The file of the mask.

        Raises:
            MaskError: it is not there.
        """
        if self.mask_file is None:
            raise MaskError("masks were not kept")
        path, most = self.folder / self.mask_file, reading_limits().size
        return bounded_read(path, most, error=MaskError, kind="mask", advice="it is none of ours")

    @cached_property
    def mask(self) -> NDArray[np.float32]:
        """The mask of the edit, (height, width) in [0, 1].

        Raises:
            MaskError: it is not there.
        """
        return Mask.recorded(self.mask_bytes).values

    def source_digest(self) -> str | None:
        """Return the digest of the picture's file as it was read, unless another file lies there now."""
        for read in self.row["inputs"] or ():
            if read.get("path") == self.source:
                return _unless_changed(self.source, read)
        return None

    def output_digest(self) -> str | None:
        """Return the digest of the result's file, or None where it is not known to be there as it was written.

        Raises:
            PictureError: it is gone.
        """
        if self.output is None or not (self.folder / self.output).is_file():
            raise PictureError("the file is gone" if self.output else "there is no result")
        return _unless_changed(str(self.folder / self.output), self.row)


def _inside(name: Any) -> str | None:
    """Return a file's name unless it leads out of the folder."""
    if not isinstance(name, str) or not name or "\\" in name:
        return None
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts else name


def _unless_changed(place: str, told: Mapping[str, Any]) -> str | None:
    """Return the digest that is told of a file; None where the file has another size or time than is told."""
    found = stamp(place)
    return told.get("sha256") if all(told.get(name) == value for name, value in found.items()) else None


def reason(error: InputError) -> str:
    """Return why a file is not shown, in one line."""
    return " ".join(str(error).split())[:200]
