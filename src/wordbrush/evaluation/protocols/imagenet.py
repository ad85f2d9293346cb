"""ImageNet by FlexIT's protocol (Couairon et al., CVPR 2022), which DiffEdit's ImageNet experiments follow.

Queries come from FlexIT's `dataset/queries.csv`: 273 target classes, 8 pictures each, half of them for testing. Its
columns are an unnamed number, `path` (wnid/file), `source`, `source_id`, `target`, `target_id` and `is_test`. Pictures
are found as `val/<wnid>/<file>` or as `val/<file>`, the flat folder of the original archive.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Final, Literal

from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.common import (
    Entry,
    Protocol,
    ReferenceKind,
    check_identities,
    inside,
    read_text,
)
from wordbrush.models.checkpoint.digests import file_digest

__all__ = ["COLUMNS", "TEMPLATE", "QuerySplit", "check_ground_truth", "read_imagenet", "target_classes"]

QuerySplit = Literal["dev", "test", "all"]
COLUMNS: Final = ("path", "source", "source_id", "target", "target_id", "is_test")
TEMPLATE: Final = "a photo of a {}"
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_CLASSES = 1000
_PICTURES = 50_000


def read_imagenet(
    pictures: Path,
    queries: Path,
    *,
    split: QuerySplit = "test",
    reference: ReferenceKind = "empty",
    template: str = TEMPLATE,
    devkit: Path | None = None,
) -> Protocol:
    """Read FlexIT's queries.

    Args:
        pictures: ImageNet's validation folder: with a folder for each wnid, or flat.
        queries: FlexIT's `queries.csv`.
        split: which half of the queries.
        reference: `empty`, as in the paper, or `caption`: the source class in the template.
        template: makes a text of a class: its name goes where `{}` is, or its number from 0 to 999 where `{id}` is, for
            models that take classes in place of texts.
        devkit: the folder of the development kit, or its list of the validation pictures' classes; where given, the
            queries' wnids are checked against it, which a flat folder alone does not allow.

    Raises:
        InputError: a file or folder is missing, or a line is not as it should be; the message names it.
    """
    if template.count("{}") + template.count("{id}") != 1:
        raise InputError(
            f"the template {template!r} must hold {{}} once, where the class name goes, or {{id}} once, for its number"
        )
    if not pictures.is_dir():
        raise InputError(f"{pictures}: this is no folder; give ImageNet's validation folder")
    rows = _rows(queries)
    entries = [_entry(row, number, queries, pictures, reference, template) for number, row in rows]
    check_identities(entries, queries)
    if devkit is not None:
        check_ground_truth(entries, _ground_truth(devkit))
    classes = target_classes(entries)
    chosen = [entry for entry in entries if split in ("all", entry.groups["split"])]
    data = {
        "queries_sha256": file_digest(queries),
        "split": split,
        "reference": reference,
        "template": template,
        "target_classes": classes,
    }
    return Protocol("imagenet", tuple(chosen), data)


def target_classes(entries: list[Entry]) -> list[int]:
    """Return the classes that are a target anywhere in the list, dev and test alike: FlexIT's 273."""
    return sorted({entry.target for entry in entries if entry.target is not None})


def _rows(queries: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) of the list."""
    reader = csv.DictReader(io.StringIO(read_text(queries, "the query list"), newline=""), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing or not reader.fieldnames:
            raise InputError(f"{queries}: the column {missing[0]} is missing; this is not FlexIT's queries.csv")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{queries}: line {reader.line_num + 1} is not CSV ({error})") from error
    if not rows:
        raise InputError(f"{queries}: there is no query in it")
    for number, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{queries}: line {number} has not as many fields as the first line")
    return rows


def _entry(
    row: dict[str, str], number: int, queries: Path, pictures: Path, reference: ReferenceKind, template: str
) -> Entry:
    where = f"{queries}: line {number}"
    if row["is_test"] not in ("True", "False"):
        raise InputError(f"{where}: is_test is {row['is_test'][:40]!r}, it should be True or False")
    source, target = (_class_number(row[key], f"{where}: {key}") for key in ("source_id", "target_id"))
    nested = inside(pictures, row["path"], where)
    if _NAME.fullmatch(nested.name) is None or len(Path(row["path"]).parts) != 2:
        raise InputError(f"{where}: the path {row['path'][:100]!r} is not like n01234567/ILSVRC2012_val_00000001.JPEG")
    # The first column, the picture's number in the sorted validation set, names FlexIT's own result files.
    first = next(iter(row.values()))
    return Entry(
        id=first if first.isdecimal() else nested.stem,
        picture=nested if nested.is_file() else pictures / nested.name,
        query=_text(template, row["target"], target),
        reference=_text(template, row["source"], source) if reference == "caption" else "",
        target=target,
        source=source,
        groups={"split": "test" if row["is_test"] == "True" else "dev"},
        facts={"wnid": nested.parent.name},
    )


def _text(template: str, name: str, number: int) -> str:
    """Return the text of a class."""
    return template.replace("{id}", str(number)) if "{id}" in template else template.replace("{}", name)


def _class_number(text: str, where: str) -> int:
    if not text.isdecimal() or int(text) >= _CLASSES:
        raise InputError(f"{where} is {text[:40]!r}, it should be a class number from 0 to {_CLASSES - 1}")
    return int(text)


def _ground_truth(devkit: Path) -> list[int]:
    """Read the classes of the 50,000 validation pictures, numbered from 1 as the development kit does."""
    name = "ILSVRC2012_validation_ground_truth.txt"
    path = (
        devkit if devkit.is_file() else next((p for p in (devkit / "data" / name, devkit / name) if p.is_file()), None)
    )
    if path is None:
        raise InputError(f"{devkit}: there is no data/{name}; give the folder of ILSVRC2012_devkit_t12")
    lines = read_text(path, "the validation classes").split()
    for number, line in enumerate(lines, start=1):
        if not line.isdecimal() or not 1 <= int(line) <= _CLASSES:
            raise InputError(
                f"{path}: line {number} is {line[:40]!r}, it should be a class number from 1 to {_CLASSES}"
            )
    return [int(line) for line in lines]


def check_ground_truth(entries: list[Entry], classes: list[int]) -> None:
    """Check that pictures of one wnid have one class in the development kit, and different wnids different ones.

    The kit's own numbers are in another order than FlexIT's, and what they stand for is in a MATLAB file; that the
    two lists agree on which pictures belong together is told without it.

    Raises:
        InputError: naming the first picture on which the lists disagree.
    """
    wnid_of: dict[int, str] = {}
    class_of: dict[str, int] = {}
    for entry in entries:
        match = _NAME.fullmatch(entry.picture.name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= min(len(classes), _PICTURES):
            raise InputError(f"entry {entry.id}: the development kit lists no class for {entry.picture.name}")
        wnid, kind = entry.facts["wnid"], classes[number - 1]
        if wnid_of.setdefault(kind, wnid) != wnid or class_of.setdefault(wnid, kind) != kind:
            raise InputError(
                f"entry {entry.id}: {entry.picture.name} is {wnid} in the query list, but the development kit puts it "
                f"with {wnid_of[kind]} (its class {kind}); are both lists those of ILSVRC2012?"
            )
