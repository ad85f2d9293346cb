"""Reading a ledger: how far a batch is, what failed, and its items."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.entry import STATES, ErrorGroup, State
from wordbrush.batch.ledger_file import explained

__all__ = ["LedgerReader", "parsed"]

_PAGE: Final = 200


class LedgerReader:
    """What can be asked of an open ledger; threads take turns.

    Attributes:
        folder: where it lies, with the results.
        run: number of the latest run, 0 where there was none.
    """

    def __init__(self, folder: Path, base: sqlite3.Connection) -> None:
        self.folder, self._base, self._turn = folder, base, threading.RLock()
        base.row_factory = sqlite3.Row
        found = base.execute("SELECT max(run) FROM runs").fetchone()[0]
        self.run: int = found or 0

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, oldest first: number, dates, seconds, version, command."""
        with self._reading():
            rows = self._base.execute("SELECT * FROM runs ORDER BY run").fetchall()
        return [{**row, "command": json.loads(row["command"])} for row in map(dict, rows)]

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

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the row of an item as `rows` does, or None."""
        with self._reading():
            row = self._base.execute("SELECT * FROM items WHERE key=?", (key,)).fetchone()
        return None if row is None else parsed(row)

    def mean_size(self) -> float | None:
        """Return the mean bytes of the results, or None where there are none."""
        with self._reading():
            size: float | None = self._base.execute("SELECT avg(size) FROM items WHERE state='done'").fetchone()[0]
        return size

    def warnings(self, run: int | None = None, most: int = 5) -> list[tuple[str, int]]:
        """Return the most frequent warnings of the results, with how many have them."""
        with self._reading():
            rows = self._base.execute(
                "SELECT value, count(*) AS n FROM items, json_each(items.result, '$.warnings')"
                " WHERE state='done' AND (?1 IS NULL OR run=?1) GROUP BY value ORDER BY n DESC, value LIMIT ?2",
                (run, most),
            ).fetchall()
        return [(row["value"], row["n"]) for row in rows]

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
            yield from map(parsed, page)
            last = (page[-1]["run"], page[-1]["number"], page[-1]["key"])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, explained(self.folder):
            yield


def parsed(row: sqlite3.Row) -> dict[str, Any]:
    """Return a row as plain data, its JSON columns read."""
    read = {name: json.loads(row[name]) if row[name] else None for name in ("item", "inputs", "result")}
    return {**dict(row), **read}
