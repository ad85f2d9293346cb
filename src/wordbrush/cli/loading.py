"""Opening what the flags name: the model, the picture, masks."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from wordbrush.cli.options import ModelChoice
from wordbrush.cli.startup import is_alone, uncollected
from wordbrush.cli.targets import STDIO
from wordbrush.cli.terminal import Terminal
from wordbrush.editor import Editor
from wordbrush.errors import PictureError
from wordbrush.files import bounded_read
from wordbrush.models.checkpoint.lean import allow
from wordbrush.picture.limits import reading_limits
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask
from wordbrush.region.suited import suited
from wordbrush.speed.backend import COMPILE

__all__ = ["load_editor", "open_masks", "open_picture"]


def load_editor(choice: ModelChoice, terminal: Terminal, *, lean: bool = False) -> Editor:
    """Load the model; a Hugging Face id comes from the local cache unless downloading was allowed.

    Args:
        choice: the flags that name it.
        terminal: where people are told.
        lean: the command loads no other model, so this process may do without libraries that this one does not need.

    Raises:
        ModelError: it is not there, or cannot be used.
    """
    if lean and is_alone() and choice.backend != COMPILE:  # which hides torch's compiler from diffusers
        allow()
    with terminal.waiting(f"loading {choice.name}"), uncollected():
        editor = Editor.from_pretrained(choice.name, **choice.load)
    for note in editor.model.notes:
        terminal.warn(note)
    return editor


def open_picture(path: str, terminal: Terminal) -> Picture:
    """Open the picture, and say what is to be known about it; `-` reads standard input.

    Raises:
        PictureError: it is not there, or is refused.
    """
    source: str | bytes = path
    if path == STDIO:
        limits = reading_limits()
        source = bounded_read(
            sys.stdin.buffer, limits.size, error=PictureError, kind="picture", advice=limits.advice(1)
        )
        if not source:
            raise PictureError("standard input is empty; pipe a picture into it or give a file name")
    picture = Picture.open(source)
    for note in picture.notes:
        terminal.warn(note)
    return picture


def open_masks(paths: Mapping[str, str | None], picture: Picture, terminal: Terminal) -> dict[str, Mask | None]:
    """Open the mask files that were given for a picture, and say what is to be known about them.

    Args:
        paths: by what they are for: `mask`, `include`, `exclude`.
        picture: what is edited.
        terminal: where it is told.

    Raises:
        MaskError: a mask is not there, or is refused.
    """
    masks = suited({name: Mask.open(path) for name, path in paths.items() if path is not None}, picture)
    for name, mask in masks.items():
        for note in mask.notes:
            terminal.warn(f"{name}: {note}")
    return {name: masks.get(name) for name in paths}
