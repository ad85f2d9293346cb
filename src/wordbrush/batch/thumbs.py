"""Small pictures of a contact sheet: one file for each picture, however many items show it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.files import make_folder, write_atomic
from wordbrush.pages.page import SIDE

__all__ = ["Thumbs"]

_NAME: Final = re.compile(r"[0-9a-f]{32}-[a-z]+\.webp")


class Thumbs:
    """The small pictures of one sheet, named by the digest of the file they show; made once, and kept.

    Args:
        folder: where they lie; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def name_of(self, digest: str, kind: str) -> str | None:
        """Return the name of a small picture, relative to the folder, if it is there."""
        name = f"{digest[:32]}-{kind}.webp"
        if not _NAME.fullmatch(name) or not (self.folder / name[:2] / name).is_file():
            return None
        self._used.add(name)
        return f"{name[:2]}/{name}"

    def made(self, digest: str, kind: str, pixels: Callable[[], NDArray[np.uint8]]) -> str:
        """Return the name of a small picture, relative to the folder; make it if need be.

        Args:
            digest: of the file that it shows, hexadecimal.
            kind: how it shows it, letters.
            pixels: returns (height, width) or (height, width, RGB), called where it is not there.

        Raises:
            OutputError: it cannot be written.
        """
        there = self.name_of(digest, kind)
        if there is not None:
            return there
        name = f"{digest[:32]}-{kind}.webp"
        image, buffer = Image.fromarray(pixels()).convert("RGB"), io.BytesIO()
        image.thumbnail((SIDE, SIDE), reducing_gap=3)
        image.save(buffer, "WEBP", quality=82, method=4)
        place = self.folder / name[:2]
        make_folder(place)
        write_atomic(place / name, buffer.getvalue(), force=True)
        self._used.add(name)
        return f"{name[:2]}/{name}"

    def sweep(self) -> None:
        """Delete the small pictures that were not asked for since this began."""
        for path in self.folder.glob("??/*-*.webp"):
            if _NAME.fullmatch(path.name) and path.name not in self._used:
                path.unlink(missing_ok=True)
