"""The file of a ledger: its lock, its tables, how it is opened, and what SQLite could not do in one sentence."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Final

from filelock import lock_descriptor

from wordbrush.errors import InputError, OutputError, WordbrushError

__all__ = ["LEDGER", "explained", "is_locked", "locked", "read_only", "writable"]

LEDGER: Final = "ledger.sqlite"
"""The file's name in the folder."""

LOCK: Final = "ledger.lock"
"""The file beside it that whoever writes has locked."""

SCHEMA: Final = 1
_TRIES: Final = 4
_PAUSE: Final = 0.05
_MARK: Final = 0x77_62_6C_67  # tells our files from other SQLite files
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS items (
  key TEXT PRIMARY KEY, number INTEGER NOT NULL, line INTEGER, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE,
  grp TEXT NOT NULL, place INTEGER NOT NULL, run INTEGER NOT NULL, state TEXT NOT NULL, item TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, seconds REAL, evaluations INTEGER,
  error_type TEXT, error TEXT, output TEXT, sha256 TEXT, size INTEGER, mtime_ns INTEGER, inputs TEXT, result TEXT
);
CREATE INDEX IF NOT EXISTS by_place ON items (run, state, crashes, place, number, key);
CREATE INDEX IF NOT EXISTS by_number ON items (run, number, key);
CREATE INDEX IF NOT EXISTS by_group ON items (grp, run, place);
CREATE TABLE IF NOT EXISTS runs (
  run INTEGER PRIMARY KEY, began TEXT NOT NULL, ended TEXT, seconds REAL, version TEXT NOT NULL, command TEXT NOT NULL
);
"""


def locked(folder: Path, notes: list[str]) -> int:
    """Take the lock of a folder, where its file system can lock, and return the file that holds it."""
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: nothing can be written here ({error.strerror or error})") from error
    try:
        taken = _taken(file)
    except OSError:
        notes.append(f"{folder}: this file system cannot lock files; see to it that no other batch writes here")
        return file
    if not taken:
        os.close(file)
        raise OutputError(f"{folder}: another batch is writing here; wait for it, or choose another folder")
    return file


def _taken(file: int) -> bool:
    """Take a lock, and say whether it was to be had; a moment is waited for, as `is_locked` has it for one."""
    for _ in range(_TRIES):
        if lock_descriptor(file, blocking=False):
            return True
        sleep(_PAUSE)
    return False


def is_locked(folder: Path) -> bool | None:
    """Say whether a process writes into a folder now; None where the file system does not tell."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not lock_descriptor(file, blocking=False)
    except OSError:
        return None
    finally:
        os.close(file)


def writable(path: Path, notes: list[str]) -> sqlite3.Connection:
    """Open a ledger to write; make its tables where there are none.

    Raises:
        InputError: the file is none of ours.
    """
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


def read_only(path: Path) -> sqlite3.Connection:
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
def explained(folder: Path) -> Iterator[None]:
    """Say in one sentence what SQLite could not do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(f"{folder / LEDGER}: the ledger cannot be written ({error}); run again to go on") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, WordbrushError):
            raise
        raise InputError(f"{folder / LEDGER}: this is not a batch's ledger ({error}); choose another folder") from error
