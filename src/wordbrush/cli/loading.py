"""Opening what the flags name: the model, the picture, masks."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.cli.options import parse_loras
from wordbrush.cli.outputs import STDIO
from wordbrush.errors import PictureError
from wordbrush.files import bounded_read

if TYPE_CHECKING:
    from wordbrush.cli.terminal import Terminal
    from wordbrush.editor import Editor
    from wordbrush.picture.picture import Picture
    from wordbrush.region.mask import Mask

__all__ = ["ModelChoice", "load_editor", "open_mask", "open_picture"]


@dataclass(frozen=True)
class ModelChoice:
    """What the flags say about the model."""

    name: str = "pocket"
    revision: str | None = None
    allow_download: bool = False
    device: str | None = None
    dtype: str | None = None
    loras: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        revision: str | None,
        device: str | None,
        dtype: str | None,
        lora: list[str] | None,
        *,
        allow_download: bool,
    ) -> ModelChoice:
        """Build a choice from the flags as they were given.

        Raises:
            SettingsError: a LoRA item cannot be read.
        """
        return cls(name, revision, allow_download, device, dtype, parse_loras(lora))


def load_editor(choice: ModelChoice, terminal: Terminal) -> Editor:
    """Load the model; a Hugging Face id comes from the local cache unless downloading was allowed.

    Raises:
        ModelError: it is not there, or cannot be used.
    """
    # Both are read once, when the libraries are imported; what they would say is not for users of this program.
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with terminal.waiting(f"loading {choice.name}"):
        from wordbrush.editor import Editor

        return Editor.from_pretrained(
            choice.name,
            revision=choice.revision,
            local_files_only=not choice.allow_download,
            device=choice.device,
            dtype=choice.dtype,
            loras=choice.loras,
        )


def open_picture(path: str) -> Picture:
    """Open the picture; `-` reads standard input.

    Raises:
        PictureError: it is not there, or is refused.
    """
    from wordbrush.picture.picture import MAX_BYTES, Picture

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
    from wordbrush.region.mask import Mask

    return None if path is None else Mask.open(Path(path))
