"""Runs in `earlier/`, written before evaluations had ledgers: they go on, and their figures are what they were.

The models of tests are made anew and differ between versions of libraries, so each file of rows is first told which
model and which version of the bench it is of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import quick_plan, write_judge, write_model
from tests.support.command import command_of
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.runner import Progress
from wordbrush.evaluation.report import write_report
from wordbrush.evaluation.truth_run import run_truth

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def tell(path: Path, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write the facts of this version into a file of rows, which has the same ones; return its rows."""
    head, *rows = map(json.loads, path.read_text().splitlines())
    assert head["settings"].keys() == facts.keys()
    head["settings"] = facts
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
    return rows


def test_a_run_on_the_truth_bench(model: Path, tmp_path: Path) -> None:
    plan, out = quick_plan(model, write_judge(tmp_path / "judge")), tmp_path / "out"
    shutil.copytree(EARLIER / "truth", out)
    facts = run_truth(replace(plan, only=("copy",), limit=2), tmp_path / "now").facts
    old, seen = tell(out / "rows.jsonl", facts), list[Progress]()
    rows = run_truth(plan, out, seen.append)
    assert seen == [Progress(6, 6, 6, 0)]
    assert [(row.item, row.variant, row.metrics) for row in rows.rows] == [
        (row["item"], row["variant"], row["metrics"]) for row in old
    ]
    write_report(rows, out, command="")
    assert (out / "summary.csv").read_bytes() == (EARLIER / "truth" / "summary.csv").read_bytes()


def test_a_run_of_a_protocol(model: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    run, out, old = command_of(capsysbinary), tmp_path / "out", EARLIER / "prompts"
    shutil.copytree(old, out)
    quick = ("--set", "steps=2", "--set", "maps=1", "--set", "resolution=32", "--generation-steps", "2")
    words = ("eval", "prompts", "--prompts", old / "texts.txt", "--judge", tmp_path, "--model", model, *quick, "-q")
    assert run(*words, "--out", tmp_path / "now", "--limit", "1").code == 0
    with Ledger.open(tmp_path / "now", read_only=True) as ledger:
        tell(out / "edits.jsonl", ledger.runs()[-1]["command"]["facts"])
    assert run(*words, "--out", out).code == 0
    with Ledger.open(out, read_only=True) as ledger:
        assert [run["command"].get("from") for run in ledger.runs()] == ["edits.jsonl", None]
    now, before = ((folder / "figures.csv").read_text().splitlines() for folder in (out, old))
    assert [line for line in now if "no judge is here" not in line] == before  # with the judge's folder of today
    for name in ("edited/0000.png", "masks/0001.png"):
        assert (out / name).read_bytes() == (old / name).read_bytes()
