"""Runs that are killed, stopped, or cannot write go on where they were, and end as if nothing had been."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import wordbrush as wb
from tests.support import toy
from tests.support.batches import QUICK, ended, forked, ledger_rows, results, write_pictures
from wordbrush.batch import ledger as ledger_module
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.runner import BatchSummary
from wordbrush.errors import OutputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")

QUERIES = ("dark left, light right", "light left, dark right", "light right", "light left")


def run(source: Any, out: Path, **keywords: Any) -> BatchSummary:
    return wb.batch(source, out, **{**QUICK, "model": toy.editor(16), "threads": 1, **keywords})


def rows_of(folder: Path, pictures: int, seeds: int) -> list[dict[str, Any]]:
    return [
        {"picture": str(path), "query": query, "seed": seed, "output": f"{path.stem}-{number}-{seed}"}
        for path in write_pictures(folder, pictures)
        for number, query in enumerate(QUERIES)
        for seed in range(seeds)
    ]


def written(out: Path) -> int:
    return sum(1 for _ in out.glob("p*.png"))


def await_files(out: Path, count: int, process: int) -> None:
    """Wait until so many results are there, or the process has ended."""
    while written(out) < count and os.waitpid(process, os.WNOHANG)[0] == 0:
        time.sleep(0.002)


@pytest.mark.slow
def test_twenty_kills_and_a_run_are_as_one_run(tmp_path: Path) -> None:
    rows, dice = rows_of(tmp_path / "in", 10, 5), random.Random(3)  # noqa: S311
    assert run(rows, tmp_path / "whole").done == 200
    out = tmp_path / "killed"
    for _ in range(20):
        dice.shuffle(rows)
        process = forked(lambda: run(rows, out))
        await_files(out, written(out) + dice.randrange(8), process)
        time.sleep(dice.random() * 0.05)
        os.kill(process, signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
    assert 0 < written(out) < 200
    summary = run(rows, out)
    assert (summary.done, summary.failed, summary.waiting) == (200, 0, 0)
    left = {name: data for name, data in results(out).items() if not Path(name).name.startswith(".wordbrush-")}
    assert left == results(tmp_path / "whole")
    table = ledger_rows(out)
    assert len(table) == 200
    assert sum(row["crashes"] for row in table) > 0
    assert all(row["state"] == "done" and (out / row["output"]).is_file() for row in table)


def test_control_c_ends_the_item_and_the_next_run_goes_on(tmp_path: Path) -> None:
    rows, out = rows_of(tmp_path / "in", 10, 4), tmp_path / "out"
    process = forked(lambda: run(rows, out))
    await_files(out, 5, process)
    os.kill(process, signal.SIGINT)
    assert ended(process) == 130
    table = ledger_rows(out)
    states = [row["state"] for row in table]
    assert 5 <= states.count("done") < 160
    assert states.count("done") == written(out)
    assert states.count("waiting") == 160 - written(out)
    assert all((row["attempts"], row["crashes"]) == (int(row["state"] == "done"), 0) for row in table)
    summary = run(rows, out, limit=3)
    assert (summary.resumed, summary.done) == (states.count("done"), states.count("done") + 3)


def test_a_full_disk_ends_the_run_which_then_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows, out = rows_of(tmp_path / "in", 2, 1), tmp_path / "out"
    (large,) = write_pictures(tmp_path / "large", 1, (700, 700))
    rows.insert(3, {"picture": str(large), "output": "p-large"})

    def limited(most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        run(rows, out)

    for most, part in ((500_000, "p-large.png"), (20_000, "ledger")):  # one result, then the ledger is too large
        assert ended(forked(partial(limited, most))) == OutputError.exit_code
        message = capfd.readouterr().err
        assert part in message
        assert message.count("\n") == 1
        assert [p.name for p in out.iterdir() if p.name.startswith(".wordbrush-")] == []
    assert 0 < written(out) < 9
    assert run(rows, tmp_path / "whole").done == 9
    summary = run(rows, out)
    assert (summary.done, summary.failed) == (9, 0)
    assert results(out) == results(tmp_path / "whole")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can look into."""
    folder = Path(tempfile.mkdtemp(prefix="wordbrush-shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written(shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows, out = rows_of(shared / "in", 1, 1), shared / "out"
    assert run(rows[:2], out).done == 2
    for path in (out, *out.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def by_somebody(call: Callable[[], object]) -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        call()

    for place in (out, shared / "new"):
        assert ended(forked(partial(by_somebody, partial(run, rows, place)))) == OutputError.exit_code
        message = capfd.readouterr().err
        assert str(place) in message
        assert message.count("\n") == 1

    def read() -> None:
        with Ledger.open(out, read_only=True) as ledger:
            assert ledger.counts()["done"] == 2

    assert ended(forked(partial(by_somebody, read))) == 0


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, out = rows_of(tmp_path / "in", 1, 2), tmp_path / "out"
    years = iter([2030, 1971, 2001, 1999])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime(next(years), 1, 1, tzinfo=UTC)

    monkeypatch.setattr(ledger_module, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: float(next(iter([0]))))
    assert run(rows, out, limit=5).done == 5
    for number, path in enumerate(sorted(out.glob("p*.png"))):
        os.utime(path, (number * 10**9, number * 10**9))
    summary = run(rows, out)
    assert (summary.resumed, summary.done) == (5, 8)
    assert summary.seconds > 0
    with Ledger.open(out, read_only=True) as ledger:
        assert [run["began"][:4] for run in ledger.runs()] == ["2030", "2001"]


def test_a_file_system_without_a_write_ahead_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Base(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> Any:
            if "journal_mode=WAL" in sql:
                raise sqlite3.OperationalError("locking protocol")
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Base, **k))
    rows = rows_of(tmp_path / "in", 1, 1)
    summary = run(rows, tmp_path / "out")
    assert summary.done == 4
    assert sum("plain journal" in note for note in summary.notes) == 1
    assert not (tmp_path / "out" / "ledger.sqlite-wal").exists()
