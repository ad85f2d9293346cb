"""The request for a batch over HTTP, read and checked whole: its pictures are kept, its items counted, before any runs.

It says what `wordbrush.batch` takes in Python, with files that were uploaded in the place of paths.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.batch.columns import MASKS, TEXTS, TRUTHS, plain_name
from wordbrush.batch.items import SUFFIXES, items_of
from wordbrush.batch.manifest import Manifest
from wordbrush.batch.run import Batch
from wordbrush.errors import InputError, SettingsError, WordbrushError
from wordbrush.files import write_atomic
from wordbrush.notation import parse_seeds
from wordbrush.picture.limits import ReadingLimits
from wordbrush.settings import Settings
from wordbrush.web.api.admission import check_file
from wordbrush.web.api.fields import LONGEST_TEXT, Field, fields_of
from wordbrush.web.gate.uploads import Upload, Uploads, file_name
from wordbrush.web.state.flags import parse_flags
from wordbrush.web.state.request import check_limits

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.web.options import Limits

__all__ = ["FILES", "INPUTS", "BatchAsked", "TooLargeError", "fields_of_batch"]

FILES: Final = ("picture", *MASKS)
"""Columns of an item that name files."""

INPUTS: Final = "inputs"
"""Where the files of a batch lie within its folder: `inputs/DIGEST/NAME`."""

LONGEST_ITEM: Final = 16_000
"""Most characters of an item as JSON, without its files; every combination of a grid keeps them once more."""

_MANIFEST: Final = "items.jsonl"


class TooLargeError(InputError):
    """The files of a batch take more than it may have."""


def fields_of_batch(models: Sequence[str]) -> dict[str, Field]:
    """Return the inputs of a batch besides `items`, by name.

    Args:
        models: names that may be asked for, the default first.
    """
    known = fields_of(models)
    filled = "where an item has none; may name columns of the items: a {breed} on grass"

    def text(name: str, help_: str, default: str = "", most: int = LONGEST_TEXT, **more: Any) -> Field:
        return Field(name=name, kind="string", help=help_, default=default, high=most, **more)

    def choice(name: str, help_: str, *, default: bool) -> Field:
        return Field(name=name, kind="boolean", help=help_, default=default)

    fields = [
        text("to", f"What the pictures should show, {filled}."),
        text("reference", f"What they show now, {filled}."),
        text("negative", f"What the results should not show, {filled}."),
        text("seed", "Seeds, as a number or a text such as 1-4,7; each makes an item.", "0"),
        known["model"],
        known["preset"],
        text("switches", "As on the command line: --ratio 0.5,0.7,0.9 --maps 4; every combination makes an item."),
        text("name", "Names of the results, such as {stem}-{breed}; left out, by picture and key.", most=500),
        text("format", "Ending of results whose names have none.", ".png", choices=SUFFIXES),
        *(known[name] for name in MASKS),
        known["check_inversion"],
        choice("masks", "Keep the mask of each result, too.", default=True),
        choice("strip_metadata", "Write no records into the results.", default=False),
        choice("include_prompt", "Write the texts into the records.", default=True),
    ]
    return {one.name: one for one in fields}


@dataclass(frozen=True, kw_only=True)
class BatchAsked:
    """A batch that was asked for, with its files in its folder.

    Attributes:
        folder: of the batch; the results lie in `out` within it.
        model: one of the operator's names.
        keywords: of `Batch.of`.
        reading: how large pictures and masks may be.
        total: how many items it has.
    """

    folder: Path
    model: str
    keywords: Mapping[str, Any]
    reading: ReadingLimits
    total: int

    @property
    def out(self) -> Path:
        """The folder of the results and the ledger."""
        return self.folder / "out"

    def batch(self, editor: Editor) -> Batch:
        """Return it as the batch that Python runs, of the items in its folder."""
        made = Batch.of(self.folder / _MANIFEST, self.out, model=editor, **self.keywords)
        return replace(made, limits=self.reading)

    @classmethod
    def of(
        cls, folder: Path, body: Mapping[str, Any], models: Sequence[str], limits: Limits, uploads: Uploads
    ) -> BatchAsked:
        """Read a request, and write its files and items into a folder that is there and empty.

        Args:
            folder: of the batch.
            body: JSON, as it came in.
            models: names of those there are.
            limits: of files, items, steps and the working size.
            uploads: where files that items name lie.

        Raises:
            TooLargeError: the files take more than a batch may have.
            InputError: a file is not there, or is refused.
            SettingsError: anything else that concerns all items, or goes beyond a limit. What is wrong with one item
                within the limits fails that item alone, when the batch runs.
        """
        fields = fields_of_batch(models)
        unknown = sorted(body.keys() - {"items", *fields})
        if unknown:
            raise SettingsError(f"unknown input {unknown[0][:40]!r} of a batch: known are items, {', '.join(fields)}")
        given = {**body, "seed": str(body["seed"])} if type(body.get("seed")) is int else body
        inputs = {name: one.read(given.get(name)) for name, one in fields.items()}
        rows = _rows(body.get("items"), limits.batch_items)
        kept = _Kept(folder, limits.batch_bytes, uploads)
        of_all = {name: kept.place(name, inputs.pop(name)) for name in MASKS if inputs[name] is not None}
        lines = [json.dumps({**of_all, **kept.row(number, row)}) for number, row in enumerate(rows, start=1)]
        write_atomic(folder / _MANIFEST, ("\n".join(lines) + "\n").encode())
        keywords = _keywords(inputs)
        reading = ReadingLimits(limits.pixels, limits.file_bytes, names=None)
        batch = Batch.of(folder / _MANIFEST, folder / "out", **keywords)
        total = _counted(batch, rows, limits)
        return cls(folder=folder, model=inputs["model"], keywords=keywords, reading=reading, total=total)


def _rows(items: Any, most: int) -> list[dict[str, Any]]:
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise SettingsError("items is not a list of objects, one an item, each with a picture")
    if len(items) > most:
        raise SettingsError(f"{len(items):,} items; at most {most:,} a batch here")
    return items


def _keywords(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs as `Batch.of` takes them."""
    switches = parse_flags(inputs["switches"], (), several=True)
    plain = ("to", "reference", "negative", "seed", "preset", "format", "check_inversion", "masks")
    return {
        **{name: inputs[name] for name in (*plain, "strip_metadata", "include_prompt")},
        "output": inputs["name"] or None,
        "grid": {name: values for name, values in switches.items() if len(values) > 1},
        **{name: values[0] for name, values in switches.items() if len(values) == 1},
    }


def _counted(batch: Batch, rows: Sequence[Mapping[str, Any]], limits: Limits) -> int:
    """Count the items, and hold each to what one call may ask for.

    Raises:
        SettingsError: there are more than a batch may have, or one goes beyond a limit.
    """
    most, total = limits.batch_items, 0
    combinations = math.prod(len(values) for values in batch.defaults.grid.values())
    too_many = SettingsError(f"more than {most:,} items with all combinations; at most {most:,} a batch here")
    for row, manifest_row in zip(rows, Manifest(batch.source).rows(), strict=True):
        if combinations * _seeds(row, len(batch.defaults.seeds)) > most:  # before they are made
            raise too_many
        try:
            items = items_of(manifest_row, batch.defaults, {}, "")
        except WordbrushError:
            total += 1  # one that fails
            continue
        total += len(items)
        if total > most:
            raise too_many
        for item in items:
            try:
                check_limits(Settings.recorded(item.settings), limits)
            except SettingsError as error:
                raise SettingsError(f"item {manifest_row.number}: {error}") from error
            for name in TEXTS:
                if len(getattr(item, name)) > LONGEST_TEXT:
                    what = f"item {manifest_row.number}: the {name}"
                    raise SettingsError(f"{what} has more than {LONGEST_TEXT:,} characters")
    return total


def _seeds(row: Mapping[str, Any], of_all: int) -> int:
    """Return how many seeds an item asks for."""
    texts = [value for name, value in row.items() if plain_name(name) == "seed" and isinstance(value, str)]
    try:
        return max((len(parse_seeds(text)) for text in texts if text), default=of_all)
    except SettingsError:
        return 1


@dataclass
class _Kept:
    """The files of a batch, each kept once, under the name that the sender gave it.

    Attributes:
        folder: of the batch.
        most: bytes that they may take together.
        uploads: where they are taken from.
    """

    folder: Path
    most: int
    uploads: Uploads
    held: int = 0
    places: dict[str, str] = field(default_factory=dict)

    def row(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return an item with its files kept, and their places in the folder of the batch as the columns."""
        columns = {plain_name(name): name for name in row}
        for truth in columns.keys() & set(TRUTHS):
            raise SettingsError(f"item {number}: {truth} is for `wordbrush batch report`, and not taken here")
        files = {name for plain, name in columns.items() if plain in FILES}
        if len(columns) < len(row):
            raise SettingsError(f"item {number}: a column stands twice")
        rest = {name: value for name, value in row.items() if name not in files}
        if len(json.dumps(rest)) > LONGEST_ITEM:
            raise SettingsError(f"item {number}: more than {LONGEST_ITEM:,} characters, besides its files")
        named = {plain_name(name): row[name] for name in files if row[name] is not None}
        try:
            kept = {name: self.place(name, value) for name, value in named.items()}
        except InputError as error:
            raise type(error)(f"item {number}: {error}") from error
        except SettingsError as error:
            raise SettingsError(f"item {number}: {error}") from error
        return {**rest, **kept}

    def place(self, name: str, value: Any) -> str:
        """Keep the file that an input names, and return its place in the folder of the batch."""
        asked = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        if asked not in self.places:
            self.places[asked] = self._keep(self._read(name, value))
        return self.places[asked]

    def _read(self, name: str, value: Any) -> Upload:
        if isinstance(value, str):
            return self.uploads.decode(value)
        check_file(name, value)
        return self.uploads.read(value["path"], value.get("orig_name"))

    def _keep(self, upload: Upload) -> str:
        place = f"{INPUTS}/{hashlib.sha256(upload.data).hexdigest()[:16]}/{file_name(upload.name)}"
        path = self.folder / place
        if not path.exists():
            self.held += len(upload.data)
            if self.held > self.most:
                raise TooLargeError(f"the files of a batch have at most {self.most / 1e6:.0f} MB here; send several")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(upload.data)
        return place
