"""PIE-Bench (Ju et al., ICLR 2024): 700 pictures of 512 x 512, ten kinds of edits, each with a mask.

The folder holds `mapping_file.json`, an object of items by name with `image_path` (below `annotation_images/`),
`original_prompt` and `editing_prompt` (what differs in [brackets]), `editing_type_id` ("0" to "9") and `mask`: runs
of pixels as start, length, start, length, ... row by row, 1 = to be edited.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.common import (
    Entry,
    Protocol,
    ReferenceKind,
    Runs,
    check_identities,
    inside,
    need,
    read_json,
)
from wordbrush.models.checkpoint.digests import file_digest

__all__ = ["SIZE", "TYPES", "framed", "parse_runs", "plain_prompt", "read_pie"]

SIZE: Final = (512, 512)
TYPES: Final = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change colour",
    "change material",
    "change background",
    "change style",
)
"""The kinds of edits by `editing_type_id`."""


def read_pie(folder: Path, *, reference: ReferenceKind = "caption", mapping: str = "mapping_file.json") -> Protocol:
    """Read PIE-Bench.

    Args:
        folder: holds the mapping file and `annotation_images/`.
        reference: `caption`, the item's original prompt, or `empty`.
        mapping: name of the mapping file.

    Raises:
        InputError: a file or folder is missing, or an item is not as it should be; the message names it.
    """
    path, pictures = folder / mapping, folder / "annotation_images"
    items = need(read_json(path, "PIE-Bench's mapping file"), dict, f"{path}: the document")
    if not pictures.is_dir():
        raise InputError(f"{pictures}: this folder is missing; PIE-Bench keeps its pictures there")
    if not items:
        raise InputError(f"{path}: there is no item in it")
    entries = tuple(_entry(name, item, path, pictures, reference) for name, item in items.items())
    check_identities(entries, path)
    return Protocol("pie", entries, {"mapping_sha256": file_digest(path), "reference": reference})


def plain_prompt(text: str) -> str:
    """Return a prompt without the brackets around its changed words and without double spaces."""
    return re.sub(r"\s+", " ", text.replace("[", "").replace("]", "")).strip()


def parse_runs(value: Any, where: str, size: tuple[int, int] = SIZE) -> Runs:
    """Read a run-length-coded mask: a list of whole numbers, or a text of them.

    Runs that end beyond the last pixel are cut there, as PIE-Bench's own reader does.

    Raises:
        InputError: it is neither, a number is negative or no whole number, a start lies outside the picture, or a
            length is missing; the message begins with `where`.
    """
    if isinstance(value, str):
        parts = value.replace(",", " ").split()
        value = [int(part) if part.isdecimal() and len(part) < 10 else part for part in parts]
    numbers = need(value, list, f"{where}: mask")
    pixels = size[0] * size[1]
    for position, number in enumerate(numbers):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(
                f"{where}: mask: value {position} is {str(number)[:40]!r}, it should be a whole number >= 0"
            )
        if position % 2 == 0 and number >= pixels:
            raise InputError(f"{where}: mask: a run starts at {number}, but {size[0]} x {size[1]} ends at {pixels - 1}")
    if len(numbers) % 2:
        raise InputError(f"{where}: mask: the last of {len(numbers)} numbers is a start without a length")
    return Runs(tuple(numbers), size)


def framed(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the region with the outermost pixels added, as PIE-Bench does before it measures the background."""
    whole = region.copy()
    whole[[0, -1], :] = True
    whole[:, [0, -1]] = True
    return whole


def _entry(name: str, item: Any, path: Path, pictures: Path, reference: ReferenceKind) -> Entry:
    where = f"{path}: item {name[:100]!r}"
    row = need(item, dict, where)
    texts = {
        key: plain_prompt(need(row.get(key), str, f"{where}: {key}")) for key in ("original_prompt", "editing_prompt")
    }
    kind = str(need(row.get("editing_type_id"), (str, int), f"{where}: editing_type_id"))
    if kind not in map(str, range(len(TYPES))):
        raise InputError(f"{where}: editing_type_id is {kind[:40]!r}, it should be 0 to {len(TYPES) - 1}")
    return Entry(
        id=name,
        picture=inside(pictures, need(row.get("image_path"), str, f"{where}: image_path"), where),
        query=texts["editing_prompt"],
        reference=texts["original_prompt"] if reference == "caption" else "",
        region=parse_runs(row.get("mask"), where),
        groups={"edit type": f"{kind} {TYPES[int(kind)]}"},
        facts={"original_prompt": texts["original_prompt"]},
    )
