"""The ledger of a batch: what became of every item, in one SQLite file beside the results.

One row is one item, known by its key. A row is written in one transaction, after the files it tells of are on the disk,
so a run that is killed at any moment goes on where it was. One process writes at a time: it holds an operating system's
lock on `ledger.lock`, which ends with the process however it ends. Others may read meanwhile.

No clock of the day decides anything: seconds are measured by a clock that cannot be set, and the dates of runs are for
people only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from wordbrush.batch.entry import STATES, Added, Checks, Entry, ErrorGroup, State
from wordbrush.batch.ledger_file import LEDGER, explained, locked, writable
from wordbrush.batch.ledger_file import read_only as open_to_read
from wordbrush.batch.ledger_reader import LedgerReader, parsed
from wordbrush.batch.names import folded, suffixed
from wordbrush.batch.work import COLUMNS, Outcome, Row
from wordbrush.errors import InputError
from wordbrush.files import make_folder

__all__ = ["LEDGER", "STATES", "Added", "Checks", "Entry", "ErrorGroup", "Ledger", "State"]

_PAGE: Final = 200
_NOTES: Final = 5
_ROW: Final = ("key", "number", "name", "grp", "attempts", "crashes", "item")


class Ledger(LedgerReader):
    """The ledger of one folder; open it with `Ledger.open`, and use it in `with`. Threads take turns.

    Attributes:
        folder: where it lies, with the results.
        notes: what a user should know about how it was opened.
    """

    def __init__(self, folder: Path, base: sqlite3.Connection, lock: int | None, notes: list[str]) -> None:
        super().__init__(folder, base)
        self.notes, self._lock = notes, lock

    @classmethod
    def open(cls, folder: str | Path, *, read_only: bool = False) -> Ledger:
        """Open the ledger of a folder; to write, make folder and ledger where there are none, and take the lock.

        Raises:
            OutputError: another process writes it, or it cannot be written.
            InputError: there is none to read, or the file is none of this version.
        """
        folder, notes = Path(folder), list[str]()
        if read_only:
            if not (folder / LEDGER).is_file():
                raise InputError(f"{folder}: there is no {LEDGER}, so no batch was run into this folder")
            with explained(folder):
                return cls(folder, open_to_read(folder / LEDGER), None, notes)
        make_folder(folder)
        lock = locked(folder, notes)
        try:
            with explained(folder):
                return cls(folder, writable(folder / LEDGER, notes), lock, notes)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._base.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Runs.

    def begin(self, command: Mapping[str, Any], version: str) -> int:
        """Begin a run and return its number; what a killed run left running waits again, as crashed once more."""
        with self._writing():
            self._base.execute("UPDATE items SET state='waiting', crashes=crashes+1 WHERE state='running'")
            made = self._base.execute(
                "INSERT INTO runs (began, version, command) VALUES (?, ?, ?)", (_now(), version, json.dumps(command))
            )
            self.run = int(made.lastrowid or 0)
        return self.run

    def end(self, seconds: float) -> None:
        """Close a run; what has no outcome is waiting again."""
        with self._writing():
            self._base.execute("UPDATE items SET state='waiting', attempts=attempts-1 WHERE state='running'")
            self._base.execute("UPDATE runs SET ended=?, seconds=? WHERE run=?", (_now(), seconds, self.run))

    def clear(self) -> None:
        """Forget all runs and items; the files of their results stay."""
        with self._writing():
            self._base.execute("DELETE FROM items")
            self._base.execute("DELETE FROM runs")
        self.run = 0

    # Items.

    def add(self, entries: Iterable[Entry], checks: Checks | None = None) -> Added:
        """Enter items of this run; known ones keep their state and their name.

        Args:
            entries: as many as there are; they are streamed.
            checks: what is looked at besides the ledger; by default nothing.

        Raises:
            OutputError: the ledger cannot be written.
        """
        added, entries, checks = Added(), iter(entries), checks or Checks()
        while batch := list(islice(entries, _PAGE)):
            with self._writing():
                for entry in batch:
                    self._enter(entry, added, checks)
        return added

    def _enter(self, entry: Entry, added: Added, checks: Checks) -> None:
        found = self._base.execute("SELECT * FROM items WHERE key=?", (entry.key,)).fetchone()
        if found is not None and found["run"] == self.run:
            added.twice += 1
            if added.twice == 1:
                added.notes.append(f"line {entry.line or entry.number} asks for the same as {found['name']}: done once")
            return
        if found is None:
            self._insert(entry, added, checks)
            return
        state = found["state"]
        if state == "done":
            verdict = checks.current(parsed(found), entry)
            if isinstance(verdict, Entry):
                self._enter(verdict, added, checks)
                return
            state = "done" if verdict else "waiting"
        values = (entry.number, entry.line, self._place(entry), self.run, json.dumps(entry.item), state, entry.key)
        self._base.execute("UPDATE items SET number=?, line=?, place=?, run=?, item=?, state=? WHERE key=?", values)
        added.known += 1

    def _insert(self, entry: Entry, added: Added, checks: Checks) -> None:
        name = entry.name
        if checks.taken(entry) or self._base.execute("SELECT 1 FROM items WHERE folded=?", (folded(name),)).fetchone():
            name = suffixed(name, entry.key)
            if len(added.notes) < _NOTES:
                added.notes.append(f"the name {entry.name} is taken: the item of line {entry.line} is called {name}")
        kind, sentence = entry.error or (None, None)
        values = {
            "key": entry.key,
            "number": entry.number,
            "line": entry.line,
            "name": name,
            "folded": folded(name),
            "grp": entry.group,
            "place": self._place(entry),
            "run": self.run,
            "state": "failed" if entry.error else "waiting",
            "item": json.dumps(entry.item),
            "error_type": kind,
            "error": sentence,
        }
        places = ", ".join(f":{column}" for column in values)
        self._base.execute(f"INSERT INTO items ({', '.join(values)}) VALUES ({places})", values)  # noqa: S608
        added.new += 1

    def _place(self, entry: Entry) -> int:
        """Return where an item is run: beside the first of its group."""
        found = self._base.execute(
            "SELECT min(place) FROM items WHERE grp=? AND run=?", (entry.group, self.run)
        ).fetchone()[0]
        return entry.number if found is None else int(found)

    def retry_failed(self) -> int:
        """Let the failed items of this run wait again, but for rows that are no items; return how many."""
        with self._writing():
            made = self._base.execute(
                "UPDATE items SET state='waiting', crashes=0 WHERE state='failed' AND run=? AND attempts > 0",
                (self.run,),
            )
        return made.rowcount

    def waiting(self) -> Iterator[Row]:
        """Yield the waiting items of this run, groups together, those that a process died with last.

        Each is marked as running when it is yielded. Rows are read a page at a time, so that memory stays flat.
        """
        last: tuple[Any, ...] = (-1, -1, -1, "")
        while True:
            with self._reading():
                page = self._base.execute(
                    "SELECT key, number, name, grp, attempts, crashes, item, place FROM items WHERE run=? AND"
                    " state='waiting' AND (crashes, place, number, key) > (?, ?, ?, ?)"
                    " ORDER BY crashes, place, number, key LIMIT ?",
                    (self.run, *last, _PAGE),
                ).fetchall()
            if not page:
                return
            for row in page:
                with self._writing():
                    self._base.execute(
                        "UPDATE items SET state='running', attempts=attempts+1 WHERE key=?", (row["key"],)
                    )
                yield {name: row[name] for name in _ROW} | {"attempts": row["attempts"] + 1}
            last = (page[-1]["crashes"], page[-1]["place"], page[-1]["number"], page[-1]["key"])

    def finish(self, outcome: Outcome) -> None:
        """Write what became of an item.

        Raises:
            OutputError: it cannot be written.
        """
        values = {name: outcome.get(name, default) for name, default in COLUMNS.items()}
        values["inputs"] = json.dumps(list(values["inputs"]))
        values["result"] = json.dumps({name: value for name, value in outcome.items() if name not in COLUMNS})
        places = ", ".join(f"{column}=:{column}" for column in values if column != "key")
        with self._writing():
            self._base.execute(f"UPDATE items SET {places} WHERE key=:key", values)  # noqa: S608 - our own names

    def keep(self, key: str, name: str, value: Any) -> None:
        """Add to what the work told of an item, under a name; what is there under this name is replaced.

        Raises:
            OutputError: it cannot be written.
        """
        with self._writing():
            self._base.execute(
                "UPDATE items SET result=json_set(coalesce(result, '{}'), '$.' || ?, json(?)) WHERE key=?",
                (name, json.dumps(value), key),
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn, explained(self.folder):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
