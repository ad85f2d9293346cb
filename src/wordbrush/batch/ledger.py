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
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from filelock import lock_descriptor

from wordbrush.batch.names import folded, suffixed
from wordbrush.batch.work import COLUMNS, Outcome, Row
from wordbrush.errors import InputError, OutputError, WordbrushError

__all__ = ["LEDGER", "STATES", "Added", "Checks", "Entry", "ErrorGroup", "Ledger", "State"]

State = Literal["waiting", "running", "done", "failed"]
STATES: Final[tuple[State, ...]] = ("waiting", "running", "done", "failed")

LEDGER: Final = "ledger.sqlite"
"""The file's name in the folder."""

SCHEMA: Final = 1
_MARK: Final = 0x77_62_6C_67  # tells our files from other SQLite files
_PAGE: Final = 200
_NOTES: Final = 5
_ROW: Final = ("key", "number", "name", "grp", "attempts", "crashes", "item")
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS items (
  key TEXT PRIMARY KEY, number INTEGER NOT NULL, line INTEGER, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE,
  grp TEXT NOT NULL, place INTEGER NOT NULL, run INTEGER NOT NULL, state TEXT NOT NULL, item TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, seconds REAL, evaluations INTEGER,
  error_type TEXT, error TEXT, output TEXT, sha256 TEXT, size INTEGER, mtime_ns INTEGER, inputs TEXT, result TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_place ON items (run, state, crashes, place, number, key);
CREATE INDEX IF NOT EXISTS by_number ON items (run, number, key);
CREATE INDEX IF NOT EXISTS by_group ON items (grp, run, place);
CREATE TABLE IF NOT EXISTS runs (
  run INTEGER PRIMARY KEY, began TEXT NOT NULL, ended TEXT, seconds REAL, version TEXT NOT NULL, command TEXT NOT NULL
);
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An item as it is entered.

    Attributes:
        key: of all that determines its output; the same item has the same key in every run.
        number: its place in the run, from 1.
        line: of the manifest, or None.
        name: wanted for its files, without ending; another item may have it already.
        group: items of one group are run one after the other, so that they can share what is computed once.
        item: what the work gets, JSON values.
        error: type and sentence of a row that cannot be an item; it is entered as failed.
    """

    key: str
    number: int
    name: str
    group: str
    item: Mapping[str, Any]
    line: int | None = None
    error: tuple[str, str] | None = None


@dataclass(frozen=True)
class Checks:
    """What is looked at when items are entered, besides the ledger.

    Attributes:
        current: called with the row of an item that is done and its entry. True keeps it, False has it done again, and
            an entry of another key is entered in its place.
        taken: says whether the name that a new entry wants belongs to something else.
    """

    current: Callable[[dict[str, Any], Entry], Entry | bool] = lambda _row, _entry: True
    taken: Callable[[Entry], bool] = lambda _entry: False


@dataclass
class Added:
    """What became of entries: `new` ones, `known` from earlier runs, and those that came `twice` in this one."""

    new: int = 0
    known: int = 0
    twice: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ErrorGroup:
    """Failures of one type: how many, and the first of them as an example."""

    kind: str
    count: int
    example: str
    name: str


class Ledger:
    """The ledger of one folder; open it with `Ledger.open`, and use it in `with`. Threads take turns.

    Attributes:
        folder: where it lies, with the results.
        notes: what a user should know about how it was opened.
    """

    def __init__(self, folder: Path, base: sqlite3.Connection, lock: int | None, notes: list[str]) -> None:
        self.folder, self.notes = folder, notes
        self._base, self._lock, self._turn = base, lock, threading.RLock()
        base.row_factory = sqlite3.Row
        found = base.execute("SELECT max(run) FROM runs").fetchone()[0]
        self.run: int = found or 0

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
            with _explained(folder):
                return cls(folder, _read_only(folder / LEDGER), None, notes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be made ({error.strerror or error})") from error
        lock = _locked(folder, notes)
        try:
            with _explained(folder):
                return cls(folder, _writable(folder / LEDGER, notes), lock, notes)
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

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, oldest first: number, dates, seconds, version, command."""
        with self._reading():
            rows = self._base.execute("SELECT * FROM runs ORDER BY run").fetchall()
        return [{**row, "command": json.loads(row["command"])} for row in map(dict, rows)]

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
            verdict = checks.current(_parsed(found), entry)
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

    # Reading.

    def counts(self, run: int | None = None) -> dict[State, int]:
        """Return how many items there are of each state; of one run, or of all."""
        with self._reading():
            found = dict(
                self._base.execute(
                    "SELECT state, count(*) FROM items WHERE ?1 IS NULL OR run=?1 GROUP BY state", (run,)
                ).fetchall()
            )
        return {state: found.get(state, 0) for state in STATES}

    def errors(self, run: int | None = None) -> list[ErrorGroup]:
        """Return the failures by type, the most frequent first."""
        with self._reading():
            rows = self._base.execute(
                "SELECT error_type, count(*) AS n, error, name, min(number) FROM items"
                " WHERE state='failed' AND (?1 IS NULL OR run=?1) GROUP BY error_type ORDER BY n DESC, error_type",
                (run,),
            ).fetchall()
        return [ErrorGroup(row["error_type"] or "", row["n"], row["error"] or "", row["name"]) for row in rows]

    def totals(self, run: int | None = None) -> tuple[float, int]:
        """Return the seconds and the network evaluations of the items that are done."""
        with self._reading():
            row = self._base.execute(
                "SELECT total(seconds), total(evaluations) FROM items WHERE state='done' AND (?1 IS NULL OR run=?1)",
                (run,),
            ).fetchone()
        return float(row[0]), int(row[1])

    def rows(self, run: int | None = None, state: State | None = None) -> Iterator[dict[str, Any]]:
        """Yield items in order of run and number: every column, `item`, `inputs` and `result` as JSON values."""
        last: tuple[Any, ...] = (-1, -1, "")
        while True:
            with self._reading():
                page = self._base.execute(
                    "SELECT * FROM items WHERE (run, number, key) > (?1, ?2, ?3) AND (?4 IS NULL OR run=?4)"
                    " AND (?5 IS NULL OR state=?5) ORDER BY run, number, key LIMIT ?6",
                    (*last, run, state, _PAGE),
                ).fetchall()
            if not page:
                return
            yield from map(_parsed, page)
            last = (page[-1]["run"], page[-1]["number"], page[-1]["key"])

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn, _explained(self.folder):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, _explained(self.folder):
            yield


def _parsed(row: sqlite3.Row) -> dict[str, Any]:
    read = {name: json.loads(row[name]) if row[name] else None for name in ("item", "inputs", "result")}
    return {**dict(row), **read}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _locked(folder: Path, notes: list[str]) -> int:
    """Take the lock of a folder, where its file system can lock, and return the file that holds it."""
    path = folder / "ledger.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: nothing can be written here ({error.strerror or error})") from error
    try:
        taken = lock_descriptor(file, blocking=False)
    except OSError:
        notes.append(f"{folder}: this file system cannot lock files; see to it that no other batch writes here")
        return file
    if not taken:
        os.close(file)
        raise OutputError(f"{folder}: another batch is writing here; wait for it, or choose another folder")
    return file


def _writable(path: Path, notes: list[str]) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    try:
        _check_schema(base, path)
        try:
            mode = base.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            mode = None
        if mode != "wal":
            base.execute("PRAGMA journal_mode=DELETE")
            notes.append(f"{path}: this file system takes no write-ahead log; a plain journal is used, which is slower")
        base.execute("PRAGMA synchronous=NORMAL")
        marks = f"PRAGMA application_id={_MARK}; PRAGMA user_version={SCHEMA};"
        base.executescript(f"BEGIN IMMEDIATE; {_TABLES} {marks} COMMIT")
    except BaseException:
        base.close()
        raise
    return base


def _read_only(path: Path) -> sqlite3.Connection:
    """Open for reading; in a folder that cannot be written as a file that nobody changes."""
    for way in ("mode=ro", "immutable=1"):
        address = f"{path.resolve().as_uri()}?{way}"
        base = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        try:
            _check_schema(base, path)
            base.execute("SELECT count(*) FROM runs")
        except sqlite3.OperationalError:
            base.close()
            continue
        return base
    raise InputError(f"{path}: the ledger cannot be read")


def _check_schema(base: sqlite3.Connection, path: Path) -> None:
    mark, version = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    empty = mark == 0 and not base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not empty and mark != _MARK:
        raise InputError(f"{path}: this is not a batch's ledger; choose another folder")
    if not empty and version > SCHEMA:
        raise InputError(f"{path}: made by a newer wordbrush (schema {version}, known is {SCHEMA}); update this one")


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say in one sentence what SQLite could not do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(f"{folder / LEDGER}: the ledger cannot be written ({error}); run again to go on") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, WordbrushError):
            raise
        raise InputError(f"{folder / LEDGER}: this is not a batch's ledger ({error}); choose another folder") from error
