"""Write the files of an evaluation, replacing older ones: JSON, tables as CSV, and the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.files import write_atomic

__all__ = ["csv_text", "json_text", "png_of", "write_results"]


def csv_text(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV; None is an empty cell, true and false are 1 and 0."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([int(cell) if isinstance(cell, bool) else cell for cell in line] for line in lines)
    return buffer.getvalue()


def json_text(record: Mapping[str, Any]) -> str:
    """Return a record as indented JSON text.

    Raises:
        ValueError: a number in it is not finite.
    """
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (height, width) or (height, width, RGB) bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_results(folder: Path, files: Mapping[str, str], *, force: bool = True) -> None:
    """Write texts into a folder, by file name.

    Raises:
        OutputError: a file cannot be written, or is there and `force` is off.
    """
    for name, text in files.items():
        write_atomic(folder / name, text.encode(), force=force)
