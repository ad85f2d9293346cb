"""Reports of runs as files: a record in JSON, tables in CSV, and a page; one writer for all of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.files import write_atomic
from wordbrush.pages.page import Group, Link, Page, Section

__all__ = ["Report", "csv_text", "failed_section", "json_text", "model_text", "png_of"]


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """The report of a run: one record, its tables, and a page for people.

    Attributes:
        record: content of the JSON file.
        tables: names of columns and lines of each CSV file, by its name without ending.
        page: the page.
        names: of the JSON file and of the page, without endings.
    """

    record: Mapping[str, Any]
    tables: Mapping[str, tuple[Sequence[str], Iterable[Sequence[Any]]]]
    page: Page
    names: tuple[str, str] = ("result", "report")

    def write(self, folder: Path, *, force: bool = True) -> None:
        """Write the files into a folder, the page last.

        Raises:
            OutputError: a file cannot be written, or is there and `force` is off.
        """
        record, page = self.names
        files = {f"{record}.json": json_text(self.record)}
        files |= {f"{name}.csv": csv_text(head, lines) for name, (head, lines) in self.tables.items()}
        files[f"{page}.html"] = self.page.html()
        for name, text in files.items():
            write_atomic(folder / name, text.encode(), force=force)


def failed_section(faults: Sequence[tuple[str, str]], total: int) -> list[Section]:
    """Return the section of what failed, by the kinds of errors, as (name, error); none where nothing has."""
    kinds: dict[str, list[Link]] = {}
    for name, error in faults:
        kind, colon, _ = error.partition(": ")
        known = kind if colon and kind.isidentifier() else "Refused"
        kinds.setdefault(known, []).append(Link(f"{name}: {error}"))
    groups = [Group(kind, len(lines), "", lines) for kind, lines in kinds.items()]
    return [Section(f"Failed: {len(faults)} of {total}", groups=groups)] if groups else []


def model_text(model: Mapping[str, Any]) -> str:
    """Return what a run's facts say of its model, in one line."""
    return f"{model['name']} ({model['family']}, {model['dtype']}), weights {model['sha256'][:16]}"
