"""Shared by the protocols: entries, their regions, and checked reading of annotation files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError

__all__ = [
    "MAX_ANNOTATION_BYTES",
    "Entry",
    "Protocol",
    "ReferenceKind",
    "Runs",
    "changed_words",
    "check_identities",
    "inside",
    "need",
    "read_json",
    "read_text",
    "words_of",
]

ReferenceKind = Literal["empty", "caption"]
"""The reference text of an entry: the empty text, or a caption of the picture."""

MAX_ANNOTATION_BYTES: Final = 1_000_000_000
_IDENTITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Runs:
    """A region as runs of pixels, row by row; small, because a data set has many.

    Attributes:
        runs: start, length, start, length, ...; starts count from 0 through the rows.
        size: (width, height) in pixels.
    """

    runs: tuple[int, ...]
    size: tuple[int, int]

    def region(self) -> NDArray[np.bool_]:
        """Return the region (height, width), True inside."""
        width, height = self.size
        flat = np.zeros(width * height, dtype=np.bool_)
        for start, length in zip(self.runs[::2], self.runs[1::2], strict=True):
            flat[start : start + length] = True
        return flat.reshape(height, width)


@dataclass(frozen=True)
class Entry:
    """One item of a protocol: an edit of one picture. The results' files and docs/protocols.md call it an entry.

    Attributes:
        id: what its files and its line in the results are called; letters, digits, `_`, `-` and `.` only.
        picture: file of the picture to edit.
        query: what it should show.
        reference: what it shows now; may be empty.
        target: class number that the edit should reach, where the protocol has classes.
        source: class number of the picture.
        region: what may change, where the protocol has masks.
        groups: tables it belongs to: the table's name and the row in it, such as {"edit type": "1 change object"}.
        facts: what the protocol's own metrics need, JSON values.
    """

    id: str
    picture: Path
    query: str
    reference: str = ""
    target: int | None = None
    source: int | None = None
    region: Runs | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A data set in entries, as a reader returns it.

    Attributes:
        name: `imagenet`, `coco`, `prompts` or `pie`.
        entries: what is to be edited, in the data set's order.
        data: what was read, for the record: digests of annotation files, counts, choices; JSON values. Runs of
            different data are not mixed.
        notes: what a user should know about what was read.
    """

    name: str
    entries: tuple[Entry, ...]
    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def read_text(path: Path, what: str) -> str:
    """Read an annotation file as UTF-8.

    Raises:
        InputError: it is missing, no plain file, too large, or not UTF-8.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: {what} is not there; see docs/protocols.md for the layout")
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise InputError(f"{path}: {what} is larger than {MAX_ANNOTATION_BYTES // 1_000_000} MB")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {what} cannot be read ({error})") from error


def read_json(path: Path, what: str) -> Any:
    """Read an annotation file as JSON.

    Raises:
        InputError: as `read_text`, or it is not JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {what} is not valid JSON ({error})") from error


def need(value: Any, kind: type | tuple[type, ...], where: str) -> Any:
    """Return `value` if it is of this kind (a bool is no number).

    Raises:
        InputError: it is missing or of another kind; the message begins with `where`.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
        return value
    expected = " or ".join(k.__name__ for k in kinds)
    raise InputError(f"{where} is {'missing' if value is None else type(value).__name__}, it should be {expected}")


def inside(root: Path, name: str, where: str) -> Path:
    """Return `root / name` for a relative name from an annotation file.

    Raises:
        InputError: the name is absolute, leads out of `root`, or is no possible name; the message begins with `where`.
    """
    plain, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = plain.is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if not name or "\0" in name or "\\" in name or leaves:
        raise InputError(
            f"{where}: the path {name[:100]!r} leads out of {root}; only relative paths inside it are read"
        )
    return root / plain


def check_identities(entries: Iterable[Entry], where: Path) -> None:
    """Refuse ids that occur twice, ignoring case, or that are not safe as file names.

    Raises:
        InputError: naming the file and the id.
    """
    seen: set[str] = set()
    for entry in entries:
        if not _IDENTITY.fullmatch(entry.id) or entry.id.endswith("."):
            raise InputError(f"{where}: the id {entry.id[:100]!r} cannot be a file name: letters, digits, _ - . only")
        if entry.id.lower() in seen:
            raise InputError(f"{where}: the id {entry.id} is there twice")
        seen.add(entry.id.lower())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters and digits, apostrophes inside them kept."""
    return _WORD.findall(text.lower())


def changed_words(first: str | Sequence[str], second: str | Sequence[str]) -> float:
    """Return the share of words that differ, 0 to 1.

    The word-level Levenshtein distance (words left out, put in or replaced, each counting one) divided by the number
    of words of the longer text. It is symmetric; two texts without any word differ by 0.
    """
    a = words_of(first) if isinstance(first, str) else first
    b = words_of(second) if isinstance(second, str) else second
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    longest = max(len(a), len(b))
    return row[-1] / longest if longest else 0.0
