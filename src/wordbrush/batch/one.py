"""Edits one by one: a callable that takes a row and gives what became of it, for loops and `datasets.map`."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from wordbrush.batch.edits import EditMaker
from wordbrush.batch.items import BatchItem, items_of, refused_entry
from wordbrush.batch.ledger import Entry
from wordbrush.batch.manifest import ManifestRow
from wordbrush.batch.run import Batch
from wordbrush.batch.work import Outcome, Rows, failed
from wordbrush.editor import Editor
from wordbrush.errors import InputError, SettingsError, WordbrushError
from wordbrush.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EditItem"]

_TOLD: Final = {
    "key": "", "state": "", "output": "", "sha256": "", "seconds": 0.0, "evaluations": 0, "error_type": "", "error": "",
}  # fmt: skip


class EditItem:
    """Edits the picture of a row and writes the result into a folder, without a ledger.

    Called with a row, a mapping as a manifest has them, it returns the columns that tell what became of it: `key`,
    `state` (`done` or `failed`), `output` (the file's name), `sha256`, `seconds`, `evaluations`, `error_type`, `error`;
    texts are empty where there is nothing to tell. A batch of columns, as `datasets.map(batched=True)` and Ray Data
    give them, is a mapping of lists, and so is what comes back. A picture may be a path or URL, and here also bytes, a
    PIL image or `{"bytes": ..., "path": ...}`.

    A result that is there already, made by this very edit, is kept. The model is loaded at the first call, in
    whatever process that is.

    Args:
        out: folder of the results; it is made if it is not there.
        keywords: as for `batch`: to, reference, seed, model, load, switches, ...; they must make one item of a row.
    """

    def __init__(self, out: str | Path, **keywords: Any) -> None:
        self.batch = Batch.of((), out, **keywords)
        if len(self.batch.defaults.seeds) > 1 or any(len(values) > 1 for values in self.batch.defaults.grid.values()):
            raise SettingsError("a grid or several seeds make several items of a row: take batch, or a row for each")
        self._maker: EditMaker | None = None
        self._of_all: dict[str, Any] | None = None
        self._number = 0
        self._turn = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"batch": self.batch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.batch, self._maker, self._of_all, self._number = state["batch"], None, None, 0
        self._turn = threading.Lock()

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Edit one row, or a batch of columns; threads take turns.

        Raises:
            ModelError: the model cannot be used.
            OutputError: nothing can be written.
        """
        with self._turn:
            columns = {name: _listed(value) for name, value in row.items()}
            if not all(isinstance(value, list) for value in columns.values()) or not columns:
                return self._told(self._edited([row])[0])
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            outcomes = [self._told(outcome) for outcome in self._edited(rows)]
            return {name: [outcome[name] for outcome in outcomes] for name in _TOLD}

    @staticmethod
    def _told(outcome: Outcome) -> dict[str, Any]:
        return {name: outcome[name] or empty for name, empty in _TOLD.items()}

    def _edited(self, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        maker, given = self._opened(), dict[str, bytes]()
        entries = [self._entry(row, given) for row in rows]
        maker.given = given
        asked = [
            {"key": entry.key, "number": entry.number, "name": entry.name, "grp": entry.group, "item": entry.item}
            for entry in {entry.key: entry for entry in entries}.values()
            if entry.error is None
        ]
        outcomes = {outcome["key"]: outcome for outcome in maker(Rows(asked))}
        return [outcomes.get(entry.key) or _refused(entry) for entry in entries]

    def _opened(self) -> EditMaker:
        if self._maker is None:
            batch = self.batch
            make_folder(batch.folder)
            work = replace(batch.work, replace=False)
            self._maker = EditMaker(work, batch.editor or Editor.from_pretrained(batch.model, **batch.load))
        return self._maker

    def _entry(self, row: Mapping[str, Any], given: dict[str, bytes]) -> Entry:
        if self._of_all is None:
            self._of_all = self.batch.of_all()
        self._number += 1
        values = {name: value for name, value in row.items() if value is not None}
        plain = ManifestRow(self._number, values, where="row")
        try:
            if "picture" in values:
                plain = replace(plain, values={**values, "picture": _named(values["picture"], given)})
            items: list[BatchItem] = items_of(plain, self.batch.defaults, self._of_all, "", self._number)
        except WordbrushError as error:
            return refused_entry(plain, error, self._number)
        if len(items) > 1:
            several = InputError(f"{plain.place}: several seeds make several items; give a row for each")
            return refused_entry(plain, several, self._number)
        return items[0].entry()


def _listed(value: Any) -> Any:
    """Return a column of numpy as a list; anything else as it is."""
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) and not isinstance(value, Image.Image) else value


def _named(picture: Any, given: dict[str, bytes]) -> Any:
    """Return what an item names as picture; one that lies in memory is put into `given` under a URL of its own."""
    name = ""
    if isinstance(picture, dict):
        name, picture = str(picture.get("path") or ""), picture.get("bytes") or picture.get("path")
    if isinstance(picture, Image.Image):
        name, file = str(getattr(picture, "filename", "") or ""), io.BytesIO()
        picture.save(file, "PNG")
        picture = file.getvalue()
    if not isinstance(picture, bytes):
        return picture
    called = f"given://{hashlib.sha256(picture).hexdigest()[:16]}/{Path(name).name or 'picture'}"
    given[called] = picture
    return called


def _refused(entry: Entry) -> Outcome:
    kind, sentence = entry.error or ("", "")
    return {**failed({"key": entry.key}, InputError(sentence)), "error_type": kind}
