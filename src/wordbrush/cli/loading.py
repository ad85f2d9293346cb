"""Opening what the flags name: the model, the picture, masks."""

from __future__ import annotations

import sys
from pathlib import Path

from wordbrush.cli.options import ModelChoice
from wordbrush.cli.targets import STDIO
from wordbrush.cli.terminal import Terminal
from wordbrush.editor import Editor
from wordbrush.errors import PictureError
from wordbrush.files import bounded_read
from wordbrush.picture.picture import MAX_BYTES, Picture
from wordbrush.region.mask import Mask

__all__ = ["load_editor", "open_mask", "open_picture"]


def load_editor(choice: ModelChoice, terminal: Terminal) -> Editor:
    """Load the model; a Hugging Face id comes from the local cache unless downloading was allowed.

    Raises:
        ModelError: it is not there, or cannot be used.
    """
    with terminal.waiting(f"loading {choice.name}"):
        return Editor.from_pretrained(choice.name, **choice.load)


def open_picture(path: str) -> Picture:
    """Open the picture; `-` reads standard input.

    Raises:
        PictureError: it is not there, or is refused.
    """
    if path != STDIO:
        return Picture.open(path)
    data = bounded_read(sys.stdin.buffer, MAX_BYTES, error=PictureError, kind="picture", advice="save it smaller")
    if not data:
        raise PictureError("standard input is empty; pipe a picture into it or give a file name")
    return Picture.open(data)


def open_mask(path: str | None) -> Mask | None:
    """Open a mask file, if one was given.

    Raises:
        MaskError: it is not there, or is refused.
    """
    return None if path is None else Mask.open(Path(path))
