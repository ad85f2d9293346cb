"""Worker processes: the same files as in one process; what dies in them costs its own row, after its tries."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.batches import (
    POISON,
    QUICK,
    Marks,
    PoisonWork,
    ToyBatch,
    ToyWork,
    ledger_rows,
    results,
    write_pictures,
)
from wordbrush.batch.crew import crew_outcomes
from wordbrush.batch.edits import EditWork
from wordbrush.batch.ledger import Entry, Ledger
from wordbrush.batch.local import SUSPECT
from wordbrush.batch.runner import run_rows
from wordbrush.batch.work import EngineOptions, Rows
from wordbrush.errors import ModelError


def toy_batch(source: Any, out: Path, kind: type[EditWork] = ToyWork, **keywords: Any) -> ToyBatch:
    return replace(ToyBatch.of(source, out, **{**QUICK, **keywords, "model": "toy"}), kind=kind)


def test_one_and_two_workers_write_the_same_bytes(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 4)
    rows = [{"picture": str(path), "seed": seed} for seed in (0, 1) for path in paths]
    for workers in (1, 2):
        summary = toy_batch(rows, tmp_path / str(workers)).run(workers=workers)
        assert (summary.done, summary.failed) == (8, 0)
    assert results(tmp_path / "1") == results(tmp_path / "2")
    # The rows of one picture went to one worker, whose session it was; but at the end nobody is idle.
    reused = Counter(tuple(row["result"]["reused"]) for row in ledger_rows(tmp_path / "2"))
    assert reused[("latent", "trajectory")] >= 2


def test_poison_costs_its_own_rows(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 5)
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    rows: list[dict[str, Any]] = [{"picture": str(path), "seed": seed} for path in paths for seed in range(8)]
    for place, query in zip((3, 11, 19), POISON.values(), strict=True):
        rows[place]["query"] = query
    rows[30]["picture"] = str(tmp_path / "in" / "bad.png")
    batch = toy_batch(rows, tmp_path / "out", PoisonWork)
    summary = batch.run(workers=2)
    assert (summary.total, summary.done, summary.failed) == (40, 36, 4)
    failed = {row["error_type"]: row for row in ledger_rows(tmp_path / "out") if row["state"] == "failed"}
    assert failed.keys() == {*POISON, "PictureError"}
    assert all(failed[kind]["item"]["query"] == query for kind, query in POISON.items())
    assert "ended 2 times (exit code -9)" in failed["WorkerDiedError"]["error"]
    clean = [{**row, "query": row.get("query", QUICK["to"])} for row in rows if row.get("query") is None]
    del clean[27]  # the bad picture's
    assert toy_batch(clean, tmp_path / "clean").run(workers=1).failed == 0
    assert results(tmp_path / "clean") == results(tmp_path / "out")
    again = batch.run(workers=2)
    assert (again.resumed, again.failed, again.seconds < summary.seconds) == (36, 4, True)


def entries(*names: str) -> list[Entry]:
    return [
        Entry(key=name, number=number, name=name, group=name[:1], item={}) for number, name in enumerate(names, start=1)
    ]


def test_tries_are_counted(tmp_path: Path) -> None:
    work = Marks(folder=str(tmp_path))
    names = ["kill", "crash", "memory", "fail", *(f"a{n}" for n in range(6))]
    with Ledger.open(tmp_path / "out") as ledger:
        options = EngineOptions(folder=tmp_path / "out", workers=2, retries=1)
        summary = run_rows(ledger, work, entries(*names), options)
        rows = {row["name"]: row for row in ledger.rows()}
    assert (summary.done, summary.failed) == (7, 3)
    tries = {name: len((tmp_path / f"{name}.tries").read_text().splitlines()) for name in names}
    assert tries == {**dict.fromkeys(names, 1), "kill": 2, "crash": 2}
    assert {name: rows[name]["error_type"] for name in ("kill", "memory", "fail")} == {
        "kill": "WorkerDiedError",
        "memory": "MemoryError",
        "fail": "ValueError",
    }
    assert rows["a0"]["result"]["process"] != os.getpid()


class Sharing(Marks):
    """Gains from a group in one process, however many rows it has."""

    @property
    def ahead(self) -> int:
        return 12


def test_rows_are_read_so_far_ahead_that_each_process_has_a_group_of_its_own(tmp_path: Path) -> None:
    names = [f"{group}{number}" for group in "abcd" for number in range(12)]
    with Ledger.open(tmp_path / "out") as ledger:
        run_rows(ledger, Sharing(folder=str(tmp_path)), entries(*names), EngineOptions(folder=tmp_path, workers=2))
        processes = {(row["grp"], row["result"]["process"]) for row in ledger.rows()}
    assert len(processes) <= 5  # only the last group may be shared, where one process has nothing else to do


def test_what_processes_died_with_is_run_last_and_alone(tmp_path: Path) -> None:
    work = Marks(folder=str(tmp_path))
    with Ledger.open(tmp_path / "out") as ledger:
        for _ in range(SUSPECT):  # runs that were killed while they had the row
            ledger.begin({}, "0")
            ledger.add(entries("kill", "b", "c"))
            assert next(ledger.waiting())["key"] in ("kill", "b")
        ledger._base.execute("UPDATE items SET crashes=0 WHERE key != 'kill'")
        ledger._base.execute("UPDATE items SET crashes=? WHERE key = 'kill'", (SUSPECT,))
        options = EngineOptions(folder=tmp_path / "out", retries=0)
        summary = run_rows(ledger, work, entries("kill", "b", "c"), options)
        rows = {row["name"]: row for row in ledger.rows()}
    assert (summary.done, summary.failed) == (2, 1)
    assert rows["kill"]["error_type"] == "WorkerDiedError"
    assert rows["b"]["result"]["process"] == os.getpid()


class Closed(Marks):
    """Cannot be opened."""

    def open(self, editor: Any = None) -> Any:
        raise ValueError("no tools")


def test_workers_that_cannot_start_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a worker cannot start: no tools"):
        list(crew_outcomes(Closed(folder=str(tmp_path)), Rows([{"key": "a", "name": "a"}]), workers=2))
