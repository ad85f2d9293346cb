"""`wordbrush batch`: the run, its plan, status and export, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import lock_descriptor

from tests.support import tiny
from tests.support.batches import ledger_rows, results, write_pictures
from tests.support.command import Command, command_of
from wordbrush.batch.ledger import Entry, Ledger
from wordbrush.batch.ledger_file import is_locked
from wordbrush.batch.plan import BatchPlan
from wordbrush.batch.runner import Progress
from wordbrush.batch.work import done
from wordbrush.cli.runs import run_progress
from wordbrush.cli.terminal import Terminal
from wordbrush.errors import OutputError

QUICK = ("--steps", "2", "--maps", "1", "--strength", "0.6", "--edges", "cells", "--rim", "0", "--match", "0")


@pytest.fixture
def wordbrush(capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capfdbinary)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("tiny"))


def test_a_batch_from_plan_to_export(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 2, (64, 64))
    (tmp_path / "in" / "bad.png").write_bytes(b"x")
    manifest, out = tmp_path / "edits.csv", tmp_path / "out"
    lines = ["picture,animal,treshold", *(f"in/{path.name},zebra,1" for path in paths)]
    lines += ["in/bad.png,car,", "in/p000.png,,"]
    manifest.write_text("\n".join(lines))
    words = ["batch", manifest, "-o", out, "--model", model, "--to", "a {animal} on grass", "--from", "a horse", *QUICK]
    words += ["--ratio", "0.5,1", "--workers", "1"]

    planned = wordbrush(*words, "--dry-run", "--json")
    assert planned.code == 0
    plan = planned.json
    assert (plan["items"], plan["done"], plan["refused"]) == (6, 0, 1)
    assert "line 5: 'a {animal} on grass' needs a column animal" in plan["first_refusal"]
    assert (plan["rate_from"], plan["seconds"] > 0, plan["bytes"] > 0) == ("measured on one picture", True, True)
    assert not out.exists()

    ran = wordbrush(*words, "--json")
    assert ran.code == 6
    told = ran.json
    assert (told["total"], told["done"], told["failed"]) == (7, 4, 3)
    assert {(error["kind"], error["count"]) for error in told["errors"]} == {("PictureError", 2), ("InputError", 1)}
    parts = ["treshold is kept as data", "did you mean threshold?", "2 x PictureError", "4 of 7 items done"]
    parts += ["2 failed (--retry-failed", "1 row is no item", "1 x InputError, first line 5: 'a {animal}", "status"]
    for part in parts:
        assert part in " ".join(ran.err.split()), part
    assert "were there" not in ran.err
    assert len(results(out)) == 8
    # The plan counted what was then needed, for all but the two that cannot be read.
    assert told["evaluations"] == sum(row["evaluations"] for row in ledger_rows(out) if row["state"] == "done")
    assert told["evaluations"] * 6 == plan["evaluations"] * 4

    again = wordbrush(*words, "--dry-run", "--retry-failed")
    assert ("6, 4 of them done" in again.err, "measured on earlier items" in again.err) == (True, True)
    assert wordbrush(*words, "--quiet").code == 6

    status = wordbrush("batch", "status", out)
    assert status.text.splitlines()[0] == "0 waiting, 0 running, 4 done, 3 failed, of 7 items"
    failures = wordbrush("batch", "status", out, "--failed").text.splitlines()[1:]
    names = [row["name"] for row in ledger_rows(out) if row["attempts"]]
    assert [line.partition(":")[0] for line in failures] == [*(name for name in names if "bad" in name), "line 5"]
    told = wordbrush("batch", "status", out, "--json").json
    assert (told["items"], told["writing"]) == ({"waiting": 0, "running": 0, "done": 4, "failed": 3}, False)

    table = list(csv.DictReader(io.StringIO(wordbrush("batch", "export", out, "csv").text)))
    lined = [json.loads(line) for line in wordbrush("batch", "export", out, "jsonl").text.splitlines()]
    assert len(table) == len(lined) == 7
    for one, other in zip(table, lined, strict=True):
        assert (one["key"], one["state"], json.loads(one["data"])) == (other["key"], other["state"], other["data"])
    assert lined[0]["data"] == {"animal": "zebra", "treshold": "1"}
    assert (lined[0]["query"], lined[0]["settings"]["ratio"]) == ("a zebra on grass", 0.5)
    arrow = pytest.importorskip("pyarrow.parquet")
    assert wordbrush("batch", "export", out, "parquet", "-o", tmp_path / "t.parquet").code == 0
    assert [row["key"] for row in arrow.read_table(tmp_path / "t.parquet").to_pylist()] == [row["key"] for row in lined]
    wordbrush("batch", "export", out, "parquet", "-o", tmp_path / "t.parquet").failed(3, "exists")


def test_the_status_says_whether_a_run_has_the_folder(wordbrush: Command, tmp_path: Path) -> None:
    entries = [Entry(key=str(n), number=n, name=f"p{n}", group="g", item={}) for n in range(1, 5)]
    with Ledger.open(tmp_path) as ledger:
        ledger.begin({}, "1")
        ledger.add(entries)
        rows = ledger.waiting()
        ledger.finish(done(next(rows)))
        assert next(rows)["name"] == "p2"
        assert wordbrush("batch", "status", tmp_path).text.splitlines() == [
            "2 waiting, 1 running, 1 done, 0 failed, of 4 items", "a run is going on"
        ]  # fmt: skip
        assert wordbrush("batch", "status", tmp_path, "--json").json["writing"] is True
    # Closed without an end, as by a kill: nobody runs what the ledger calls running.
    assert wordbrush("batch", "status", tmp_path).text.splitlines() == [
        "3 waiting, 0 running, 1 done, 0 failed, of 4 items",
        "no run holds the folder; the last one was killed with 1 of those that wait in hand",
    ]
    told = wordbrush("batch", "status", tmp_path, "--json").json
    assert (told["writing"], told["items"]["waiting"], told["items_of_all_runs"]["running"]) == (False, 3, 0)


def test_looking_at_a_folder_keeps_no_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(tmp_path), pytest.raises(OutputError, match="another batch"):
        Ledger.open(tmp_path)
    looking = os.open(tmp_path / "ledger.lock", os.O_RDONLY)
    assert lock_descriptor(looking, blocking=False)
    monkeypatch.setattr("wordbrush.batch.ledger_file.sleep", lambda _: os.close(looking))  # the look ends meanwhile
    with Ledger.open(tmp_path):
        assert is_locked(tmp_path)
    assert is_locked(tmp_path) is False
    assert is_locked(tmp_path / "none") is False


def test_a_plan_says_times_and_sizes_that_can_be_read() -> None:
    plan = BatchPlan(4, 0, 0, None, 80, 16.0, 5.0, "measured on one picture", 250_000, "assumed")
    assert plan.lines()[2:] == [
        "time           16.0 seconds with one worker (5 evaluations a second, measured on one picture)",
        "results        0.2 MB (assumed)",
    ]
    told = [replace(plan, seconds=90.0, bytes=2_500_000_000), replace(plan, seconds=9000.0, rate=None)]
    assert [line.split(" with")[0].split("  ")[-1].strip() for one in told for line in one.lines()[2:]] == [
        "1.5 minutes", "2.5 GB (assumed)", "2.5 hours", "0.2 MB (assumed)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("--seed", "random"), 2, ("--seed random",)),
        (("--ratio", "0.5,much"), 2, ("ratio 'much'",)),
        (("--ratio", "0.5,7"), 2, ("ratio 7.0",)),
        (("--format", "gif"), 2, ("--format gif",)),
        (("--engine", "slow"), 2, ("engine 'slow'",)),
        (("--wait", "5"), 2, ("--wait is for --engine ray",)),
        (("--to", "\udcff"), 3, ("--to", "Unicode")),
    ],
)
def test_flags_that_cannot_be_meant(
    wordbrush: Command, tmp_path: Path, words: tuple[str, ...], code: int, parts: tuple[str, ...]
) -> None:
    write_pictures(tmp_path / "in", 1)
    wordbrush("batch", tmp_path / "in", "-o", tmp_path / "out", *words).failed(code, *parts)
    assert not (tmp_path / "out").exists()


def test_a_run_that_waits_says_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress(Terminal(), "item") as show:
        assert show is not None
        show(Progress(1, 3, 1, 0))
        show(Progress(1, 3, 1, 0, 4.0, "waiting for 1 CPU"))
        show(Progress(2, 3, 1, 0, 5.0))  # ten seconds have not gone by
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["1/3 items (1 were there)", "1/3 items (1 were there), waiting for 1 CPU"]


def test_what_is_not_there(wordbrush: Command, tmp_path: Path) -> None:
    wordbrush("batch", "status", tmp_path).failed(3, "no batch was run")
    wordbrush("batch", "export", tmp_path, "xml").failed(2, "'xml'", "parquet")
    wordbrush("batch", "export", tmp_path, "parquet").failed(2, "-o")
    wordbrush("batch", tmp_path / "none.csv", "-o", tmp_path / "out").failed(3, "there is no manifest")
    wordbrush("batch", tmp_path / "none.csv").failed(2, "-o")
    wordbrush("batch", tmp_path / "none", "-o", tmp_path / "out").failed(3, "there is no folder, pattern or table")


def test_several_values_of_every_kind_of_switch(wordbrush: Command, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path / "in", 1)
    words = ["--strength", "0.5;0.5,0.7", "--edges", "cells,smooth", "--steps", "2,3", "--fill-holes", "--seed", "1-2"]
    plan = wordbrush("batch", path, "-o", tmp_path / "out", "--to", "dark", *words, "--dry-run", "--json").json
    assert plan["items"] == 16


@pytest.mark.slow
def test_control_c_is_130_and_the_next_run_goes_on(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 3, (64, 64))
    words = ["batch", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model), "--to", "a cat"]
    words += [*QUICK, "--seed", "1-200"]
    command = [sys.executable, "-m", "wordbrush", *words, "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list((tmp_path / "out").glob("*.png"))) < 4:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "run again to go on" in told
    assert "Traceback" not in told
    states = [row["state"] for row in ledger_rows(tmp_path / "out")]
    done = states.count("done")
    assert 4 <= done < 600
    assert states.count("waiting") == 600 - done
    assert len(list((tmp_path / "out").glob("*.png"))) == done
    ran = wordbrush(*words, "--workers", "1", "--limit", "1", "--json")
    assert (ran.code, ran.json["resumed"], ran.json["done"]) == (0, done, done + 1)
