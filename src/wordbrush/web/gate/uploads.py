"""Uploaded files: taken by their place in the server's private folder. Nothing is ever fetched from anywhere else.

Gradio downloads what an input names by a web address, on the server's behalf, and copies any local file an input names
into its cache when it is mounted in another application. `fence` replaces that step of a component.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.exceptions import InvalidPathError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import create_form_parser

from wordbrush.errors import InputError
from wordbrush.files import bounded_read
from wordbrush.web.state.keys import new_key
from wordbrush.web.state.pictures import clean_name

__all__ = ["Upload", "Uploads", "fence", "file_name"]

MOST_FILES = 16
"""Most files of one form."""

NO_UPLOAD = "there is no such upload, or it was dropped; upload the file and give what the upload answered"

_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class Upload:
    """A file that came in.

    Attributes:
        data: its bytes.
        name: what the sender calls it, without folders.
    """

    data: bytes = field(repr=False)
    name: str


@dataclass(frozen=True)
class Uploads:
    """The private folder that uploads lie in.

    Attributes:
        folder: it.
        most: largest file in bytes.
    """

    folder: Path
    most: int

    def take(self, kind: str, body: bytes) -> list[str]:
        """Write the files of a form, each under a name that nobody can guess, and return their places.

        Args:
            kind: the Content-Type of the request.
            body: the form.

        Raises:
            InputError: it is no form, or none with files.
        """
        files: list[tuple[str, bytes]] = []

        def on_file(file: Any) -> None:
            file.file_object.seek(0)
            name = (file.file_name or b"").decode("utf-8", "replace")
            files.append((clean_name(name), file.file_object.read()))

        try:
            config: Any = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_BODY_SIZE": float("inf")}
            heads: Any = {"Content-Type": kind.encode("latin-1", "replace")}
            parser = create_form_parser(heads, lambda _: None, on_file, config=config)
            parser.write(body)
            parser.finalize()
        except (FormParserError, ValueError) as error:
            raise InputError("the body is not a form with files (multipart/form-data)") from error
        if not 0 < len(files) <= MOST_FILES:
            raise InputError(f"a form has 1 to {MOST_FILES} files in it; {len(files)} came")
        if max(len(data) for _, data in files) > self.most:
            raise InputError(f"the file is larger than the limit of {self.most / 1e6:.1f} MB")
        places = []
        for name, data in files:
            folder = self.folder / "uploads" / new_key()
            folder.mkdir(mode=0o700, parents=True)
            place = folder / file_name(name)
            place.write_bytes(data)
            places.append(str(place))
        return places

    def place(self, text: str) -> Path:
        """Return the file that an input names.

        Raises:
            InputError: a web address, or no file of this folder.
        """
        if _ADDRESS.match(text):
            raise InputError("no URL inputs; upload the file and give what the upload answered")
        try:
            path, home = Path(text).resolve(), self.folder.resolve()
            there = path.lstat() if path.is_relative_to(home) and Path(text).is_absolute() else None
        except (OSError, ValueError):
            there = None
        if there is None or not stat.S_ISREG(there.st_mode):
            raise InputError(NO_UPLOAD)
        return path

    def read(self, text: str, name: str | None = None) -> Upload:
        """Read the file that an input names.

        Args:
            text: its place, as the upload answered it.
            name: what the sender calls it, if that is another name than the file has there.

        Raises:
            InputError: it is too large, cannot be read, or see `place`.
        """
        path = self.place(text)
        try:
            data = bounded_read(
                path, self.most, error=InputError, kind="upload", advice="save it smaller", name=path.name
            )
        except InputError:
            self.place(text)  # raises if it was dropped meanwhile
            raise
        return Upload(data, clean_name(name or path.name))

    def decode(self, text: str) -> Upload:
        """Read a `data:image/...;base64,` address, or else the file that an input names.

        Raises:
            InputError: not such an address, too large, or see `place`.
        """
        if not text.startswith("data:"):
            return self.read(text)
        start = _DATA.match(text)
        if start is None:
            raise InputError("the data address does not start with data:image/png;base64, or alike")
        if (len(text) - start.end()) // 4 * 3 > self.most + 2:
            raise InputError(f"the file is larger than the limit of {self.most / 1e6:.1f} MB")
        try:
            data = base64.b64decode(text[start.end() :], validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError("the data address does not hold base64") from error
        return Upload(data, "picture.png")


def file_name(name: str) -> str:
    """Return a clean name as the name of a file: at most 200 bytes."""
    return name.encode("utf-8", "replace")[-200:].decode("utf-8", "ignore") or "picture.png"


def fence(block: gr.blocks.Block, uploads: Uploads) -> None:
    """Let a component of Gradio name files of the private folder only, in and out; there they stay where they are."""

    async def keep(path: str | Path | None) -> str | None:
        if path is None:
            return None
        try:
            file = str(uploads.place(str(path)))
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        block.temp_files.add(file)  # Gradio deletes these when they are old, and when it stops
        return file

    part: Any = block
    part.async_move_resource_to_block_cache = keep
    _speak_plainly()


def _speak_plainly() -> None:
    """Reword what Gradio's own check of paths refuses: its messages name folders of the server."""
    check = processing_utils._check_allowed
    if getattr(check, "plain", False):
        return

    def plainly(path: str | Path, check_in_upload_folder: bool) -> None:
        try:
            check(path, check_in_upload_folder)
        except (InvalidPathError, OSError, ValueError) as error:
            raise gr.Error(NO_UPLOAD, print_exception=False) from error

    plainly.plain = True  # type: ignore[attr-defined]
    processing_utils._check_allowed = plainly
