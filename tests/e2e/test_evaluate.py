"""`wordbrush eval truth`: flags to variants, a run to its files, failures to exit codes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import BENCH, write_judge
from tests.support.command import Command
from wordbrush.evaluation.items import KINDS, MethodRequest, Outcome
from wordbrush.evaluation.methods import METHODS
from wordbrush.evaluation.scoring import METRICS

SEEN = ["clean"] if (BENCH / "critic").is_dir() else []
"""What a critic adds to the table, where the bench has one."""


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tmp_path_factory.mktemp("bench") / "judge")


@pytest.fixture
def truth(tiny_folder: Path, judge: Path) -> list[str]:
    """The command on a tiny model, one item of one kind."""
    return [
        *("eval", "truth", "--model", str(tiny_folder), "--judge", str(judge)),
        *("--kind", "object", "--limit", "1"),
    ]


def test_a_run_prints_a_table_and_writes_its_files(wordbrush: Command, truth: list[str], tmp_path: Path) -> None:
    words = [*truth, "--method", "copy", "--method", "diffedit", "--set", "steps=4", "--set", "maps=2"]
    done = wordbrush(*words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    title, head, copy, edited = done.text.splitlines()
    assert title == "dev, 1 items, scope object: mean [95 % interval]"
    assert head.split() == [
        *("variant", "n", "mask_iou", "rms", "band_rms", "success", "kept", *SEEN, "evaluations", "seconds"),
    ]
    assert copy.split()[:3] == ["copy", "1", "-"]
    assert edited.split()[:2] == ["diffedit", "1"]
    notes = done.err.splitlines()
    assert re.fullmatch(r"0/2 rows", notes[0])
    assert re.fullmatch(r"2/2 rows, [\d.]+ (rows/s|s a row)", notes[-2])
    assert notes[-1] == str(tmp_path / "out" / "report.html")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("ledger.sqlite", "ledger.lock", "rows.csv", "summary.csv", "result.json", "report.html", "pictures"),
    }
    assert wordbrush("batch", "status", tmp_path / "out").text.startswith("0 waiting, 0 running, 2 done, 0 failed")
    wordbrush("batch", "report", tmp_path / "out").failed(3, "this is an evaluation's folder")
    with (tmp_path / "out" / "rows.csv").open() as file:
        assert list(next(csv.DictReader(file))) == ["item", "kind", "variant", *METRICS, "error"]


def test_json_is_the_result_and_tells_a_command_without_folders(
    wordbrush: Command, truth: list[str], tmp_path: Path
) -> None:
    words = [
        *truth,
        "--method",
        "copy",
        "--phrasing",
        "phrases",
        "--phrasing",
        "empty",
        "--seed",
        "3",
        "--dtype",
        "float32",
        "-q",
    ]
    done = wordbrush(*words, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert done.err == ""
    assert done.json == json.loads((tmp_path / "out" / "result.json").read_text())
    assert [v["name"] for v in done.json["variants"]] == ["copy phrases", "copy empty"]
    assert [v["phrasing"] for v in done.json["variants"]] == ["phrases", "empty"]
    assert done.json["seed"] == 3
    assert done.json["words"] == (
        "wordbrush eval truth --model tiny --dtype float32 --method copy --phrasing phrases --phrasing empty "
        "--split dev --kind object --limit 1 --seed 3 --out FOLDER"
    )
    assert str(tmp_path) not in (tmp_path / "out" / "result.json").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "report.html").read_text()


def test_again_it_resumes_and_another_plan_needs_force(wordbrush: Command, truth: list[str], tmp_path: Path) -> None:
    words = [*truth, "--method", "copy", "--out", str(tmp_path)]
    first = wordbrush(*words)
    again = wordbrush(*words)
    assert (again.code, again.text) == (0, first.text)
    assert "1/1 rows (1 were there)" in again.err
    wordbrush(*words, "--seed", "1").failed(3, "seed: 0 -> 1", "--force")
    assert wordbrush(*words, "--seed", "1", "--force").code == 0


def test_items_that_fail_are_told_and_end_in_6(
    wordbrush: Command, truth: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(editor: Any, session: Any, request: MethodRequest, settings: Any) -> Outcome:
        raise ValueError("no luck")

    monkeypatch.setitem(METHODS, "broken", broken)
    done = wordbrush(*truth, "--method", "copy", "--method", "broken", "--out", tmp_path)
    assert done.code == 6
    assert "warning: dev/object/000, broken: ValueError: no luck" in done.err
    assert "1 of 2 rows failed" in done.err
    assert done.text.splitlines()[-1].split() == ["broken", "0", *"------", *("-" for _ in SEEN)]
    assert json.loads((tmp_path / "result.json").read_text())["failed"] == [
        {"item": "dev/object/000", "variant": "broken", "error": "ValueError: no luck"}
    ]


def test_a_dry_run_lists_each_method_at_each_value(wordbrush: Command, tmp_path: Path) -> None:
    words = ["eval", "truth", "--method", "sdedit", "--peer", "leditspp", "--vary", "ratio=0.5,0.8", "--vary", "eta=1"]
    done = wordbrush(*words, "--limit", "3", "--dry-run", "--out", tmp_path / "out")
    assert done.code == 0
    *names, total = done.text.splitlines()
    assert names == [
        f"{method} {value}" for method in ("sdedit", "leditspp") for value in ("ratio=0.5", "ratio=0.8", "eta=1.0")
    ]
    assert total.startswith("6 variants x 21 items (3 object, 3 colour")
    assert total.endswith("= 126 rows")
    assert not (tmp_path / "out").exists()
    plan = wordbrush(*words, "--split", "test", "--dry-run", "--json", "--out", tmp_path / "out").json
    assert plan["items"] == dict.fromkeys(KINDS, 60)
    assert plan["rows"] == 6 * 420


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "magic"], ["magic", "oracle_mask", "leditspp"]),
        (["--preset", "magic"], ["magic", "balanced"]),
        (["--set", "magic=1"], ["magic", "ratio"]),
        (["--set", "steps"], ["--set steps", "--set steps=20"]),
        (["--set", "steps=many"], ["steps 'many'", "whole number"]),
        (["--set", "steps=0"], ["steps 0", "1 ... 1000"]),
        (["--set", "antithetic=maybe"], ["antithetic 'maybe'", "on or off"]),
        (["--set", "rule=best"], ["rule 'best'", "otsu"]),
        (["--vary", "ratio=0.5,high"], ["ratio 'high'", "number"]),
        (["--vary", "ratio=0.5,2"], ["ratio 2", "0.0 ... 1.0"]),
        (["--vary", "ratio=0.5", "--vary", "ratio=0.8"], ["ratio", "twice"]),
        (["--kind", "magic"], ["--kind", "magic", "removal"]),
        (["--split", "train"], ["--split", "train", "dev, test"]),
        (["--phrasing", "poem"], ["--phrasing", "poem", "captions"]),
        (["--baseline", "nobody"], ["--baseline", "nobody", "diffedit"]),
        (["--workers", "0"], ["--workers"]),
        (["--method", "copy", "--method", "copy"], ["copy", "twice"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_flags_that_cannot_be_meant_are_refused_in_one_line(
    wordbrush: Command, tmp_path: Path, words: list[str], told: list[str]
) -> None:
    wordbrush("eval", "truth", *words, "--out", tmp_path / "out").failed(2, *told)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_there_are_told(
    wordbrush: Command, truth: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = str(tmp_path / "none")
    out = ["--out", str(tmp_path / "out")]
    wordbrush("eval", "truth").failed(2, "--out")
    wordbrush(*truth, *out, "--bench", none).failed(3, none)
    wordbrush(*truth, *out, "--judge", none).failed(3, none)
    wordbrush(*truth, *out, "--critic", none).failed(3, none)
    wordbrush(*truth, *out, "--lpips", none).failed(4, "--lpips", none)
    wordbrush(*truth, *out, "--model", none).failed(4, none)
    assert BENCH.is_dir()  # found from the checkout, wherever one stands
    monkeypatch.chdir(tmp_path)
    assert wordbrush(*truth, *out, "--method", "copy", "--dry-run").code == 0
