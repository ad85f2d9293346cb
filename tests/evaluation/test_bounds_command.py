"""`wordbrush eval bounds` from flags to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.command import Command, command_of


@pytest.fixture
def wordbrush(capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capfdbinary)


@pytest.mark.slow
def test_it_writes_its_three_reports_and_does_not_overwrite_them(wordbrush: Command, tmp_path: Path) -> None:
    model, out = tiny.write_folder(tmp_path / "model"), tmp_path / "out"
    quick = ("--model", model, "--set", "steps=4", "--set", "resolution=16", "--ratios", ".5,1")
    words = ("eval", "bounds", "--out", out, "--kind", "object", "--limit", "1", *quick, "--quiet")
    told = wordbrush(*words, "--json")
    assert told.code == 0, told.err
    record = told.json
    assert record == json.loads((out / "bounds.json").read_text("utf-8"))
    assert [row["ratio"] for row in record["rows"]] == [0.5, 1.0]
    assert record["constants"]["k1"]["power"]["largest"] > 0.0
    assert len(record["item_ids"]) == record["items"] == 1
    assert record["steps"] == 4
    assert len((out / "bounds.csv").read_text("utf-8").splitlines()) == 3
    assert (out / "bounds.html").read_text("utf-8").startswith("<!doctype html>")
    wordbrush(*words).failed(3, "bounds.json exists", "--force")
    again = wordbrush(*words, "--force")
    assert again.code == 0
    assert f"K1 {max(found['largest'] for found in record['constants']['k1'].values()):.3g}" in again.text
    assert json.loads((out / "bounds.json").read_text("utf-8")) == record


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (("--ratios", "a,b"), 2, "write numbers"),
        (("--kind", "hat"), 2, "--kind 'hat' is unknown"),
        (("--split", "all"), 2, "--split 'all' is unknown"),
        (("--set", "steps=none"), 2, "steps"),
        (("--bench", "nowhere"), 3, "nowhere"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    wordbrush: Command, tmp_path: Path, flags: tuple[str, str], code: int, part: str
) -> None:
    wordbrush("eval", "bounds", "--out", tmp_path / "out", *flags).failed(code, part)
    assert not (tmp_path / "out").exists()
