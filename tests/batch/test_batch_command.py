"""`wordbrush batch`: the run, its plan, status and export, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.batches import ledger_rows, results, write_pictures
from tests.support.command import Command, command_of
from wordbrush.batch.runner import Progress
from wordbrush.cli.runs import run_progress
from wordbrush.cli.terminal import Terminal

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
    parts = ["treshold is kept as data", "did you mean threshold?", "2 x PictureError", "4 of 7 items done", "3 failed"]
    for part in parts:
        assert part in " ".join(ran.err.split()), part
    assert len(results(out)) == 8
    # The plan counted what was then needed, for all but the two that cannot be read.
    assert told["evaluations"] == sum(row["evaluations"] for row in ledger_rows(out) if row["state"] == "done")
    assert told["evaluations"] * 6 == plan["evaluations"] * 4

    again = wordbrush(*words, "--dry-run", "--retry-failed")
    assert ("6, 4 of them done" in again.err, "measured on earlier items" in again.err) == (True, True)
    assert wordbrush(*words, "--quiet").code == 6

    status = wordbrush("batch", "status", out)
    assert status.text.splitlines()[0] == "0 waiting, 0 running, 4 done, 3 failed, of 7 items"
    counts = wordbrush("batch", "status", out, "--json").json["items"]
    assert counts == {"waiting": 0, "running": 0, "done": 4, "failed": 3}

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
