"""A journal: the results of a long run as JSON lines, written one by one, so that the run can be resumed.

The first line tells the settings of the run; each further line is one result with its `id`. A line counts once its
newline is on the disk: what a kill left half written is dropped when the journal is opened again. Where an id appears
twice, the later line counts, so an entry that failed can simply be tried again.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from filelock import lock_descriptor

from wordbrush.errors import InputError, OutputError

__all__ = ["SCHEMA", "Journal", "canonical", "differences"]

SCHEMA: Final = 1


def canonical(value: Any) -> Any:
    """Return `value` as it is after a round trip through JSON: tuples become lists, keys become texts.

    Raises:
        ValueError: a number in it is not finite.
        TypeError: it holds something that JSON has no word for.
    """
    return json.loads(json.dumps(value, allow_nan=False, sort_keys=True))


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Name what differs between two JSON values, such as `settings.steps: 50 -> 20`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for key in sorted({*old, *new}):
            name = f"{where}.{key}" if where else str(key)
            changes += differences(old.get(key), new.get(key), name)
        return changes
    return [] if old == new else [f"{where or 'value'}: {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"


class Journal:
    """The results of one run; open it with `Journal.open`, close it or use it in `with`.

    One process writes a journal at a time. The file is locked while it is open, where its file system can lock, and the
    lock ends with the process.

    Attributes:
        path: the file.
        settings: what the run was started with, as JSON gives it back.
        rows: the results by id, in the order in which they were first written.
    """

    def __init__(self, path: Path, file: io.BufferedRandom, settings: Any, rows: dict[str, dict[str, Any]]) -> None:
        self.path, self.settings, self.rows = path, settings, rows
        self._file = file

    @classmethod
    def open(cls, path: str | Path, settings: Mapping[str, Any], *, force: bool = False) -> Journal:
        """Start a journal, or go on with one that was started under the same settings.

        Args:
            path: the file; its folder must exist.
            settings: whatever must be the same for the results to belong together; JSON values.
            force: start again from nothing, whatever is there.

        Raises:
            OutputError: the file cannot be written, another process is writing it, or it was made under other
                settings and `force` is false.
            InputError: it is no journal, or a line in it is broken.
        """
        path, settings = Path(path), canonical(settings)
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")
        except OSError as error:
            raise OutputError(f"{path}: the results cannot be written here ({error.strerror or error})") from error
        try:
            _lock(file, path)
            if force:
                file.truncate(0)
            rows = _resume(file, path, settings)
            journal = cls(path, file, settings, rows)
            if file.tell() == 0:
                journal._write({"journal": SCHEMA, "settings": settings})
        except BaseException:
            file.close()
            raise
        return journal

    def is_done(self, identity: str) -> bool:
        """Whether there is a result for this id; one that failed (it has an `error`) is not done."""
        row = self.rows.get(identity)
        return row is not None and row.get("error") is None

    def append(self, identity: str, row: Mapping[str, Any]) -> None:
        """Write one result and wait until it is on the disk.

        Raises:
            OutputError: it cannot be written.
            ValueError: a number in it is not finite.
        """
        value = canonical({"id": identity, **row})
        self._write({"id": identity, **{key: value[key] for key in row if key != "id"}})
        self.rows[identity] = value

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, allow_nan=False).encode() + b"\n"
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: a result cannot be written ({error.strerror or error})") from error


def _lock(file: io.BufferedRandom, path: Path) -> None:
    """Lock the file for this process; where the file system cannot lock, do nothing."""
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return
    if not taken:
        raise OutputError(f"{path}: another run is writing these results; wait for it or choose another folder")


def _resume(file: io.BufferedRandom, path: Path, settings: Any) -> dict[str, dict[str, Any]]:
    """Read the rows of an earlier run, cut off a torn last line and leave the file at its end."""
    file.seek(0)
    data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        value = _parsed(line, path, number)
        if number == 1:
            _check_header(value, path, settings)
        elif not isinstance(value.get("id"), str):
            raise InputError(f"{path}: line {number} has no id; remove the line, or start again (--force)")
        else:
            rows[value["id"]] = value
    file.truncate(len(whole))
    file.seek(len(whole))
    return rows


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); remove it, or start again (--force)") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: line {number} is not a JSON object; remove it, or start again (--force)")
    return value


def _check_header(value: dict[str, Any], path: Path, settings: Any) -> None:
    if value.get("journal") != SCHEMA:
        raise InputError(f"{path}: this is not a file of results of this version; choose another folder (or --force)")
    changed = differences(value.get("settings"), settings)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise OutputError(
            f"{path}: the results there were made under other settings ({'; '.join(changed[:3])}{more}); "
            "choose another folder, or start again (--force)"
        )
