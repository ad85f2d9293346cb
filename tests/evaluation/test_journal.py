"""The journal of a run: written line by line, resumed, never mixed with other settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from wordbrush.errors import InputError, OutputError
from wordbrush.evaluation.journal import Journal, differences

SETTINGS = {"steps": 20, "metrics": ("psnr", "ssim")}


def test_rows_come_back_in_order_and_later_lines_win(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS) as journal:
        journal.append("b", {"error": "no such picture"})
        journal.append("a", {"psnr": 20.5})
        assert not journal.is_done("b")
        assert journal.is_done("a")
        journal.append("b", {"psnr": None})
    with Journal.open(path, SETTINGS) as journal:
        assert list(journal.rows) == ["b", "a"]
        assert journal.rows["b"] == {"id": "b", "psnr": None}
        assert journal.is_done("b")
        assert not journal.is_done("c")
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("torn", range(1, 12))
def test_a_torn_last_line_is_dropped_wherever_it_was_cut(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS) as journal:
        journal.append("a", {"psnr": 1.0})
        journal.append("b", {"psnr": 2.0})
    path.write_bytes(path.read_bytes()[:-torn])
    with Journal.open(path, SETTINGS) as journal:
        assert list(journal.rows) == ["a"]
        journal.append("b", {"psnr": 3.0})
    with Journal.open(path, SETTINGS) as journal:
        assert journal.rows["b"]["psnr"] == 3.0


def test_a_torn_header_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"journal": 1, "sett')
    with Journal.open(path, SETTINGS) as journal:
        assert journal.rows == {}
    assert json.loads(path.read_text())["settings"]["steps"] == 20


def test_other_settings_are_refused_by_name_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS) as journal:
        journal.append("a", {"psnr": 1.0})
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"steps: 20 -> 50.*--force"):
        Journal.open(path, {**SETTINGS, "steps": 50})
    assert path.read_bytes() == before
    with Journal.open(path, {**SETTINGS, "steps": 50}, force=True) as journal:
        assert journal.rows == {}


@pytest.mark.parametrize("line", ["{", "[1]", '{"psnr": 1}'])
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS) as journal:
        journal.append("a", {"psnr": 1.0})
    path.write_text(path.read_text() + line + '\n{"id": "b"}\n')
    with pytest.raises(InputError, match="line 3"):
        Journal.open(path, SETTINGS)


def test_a_file_that_is_no_journal_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text('{"shopping": ["milk"]}\n')
    with pytest.raises(InputError, match="not a file of results"):
        Journal.open(path, SETTINGS)
    assert path.read_text() == '{"shopping": ["milk"]}\n'


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS) as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.append("a", {"psnr": float("inf")})
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal.open(path, SETTINGS), pytest.raises(OutputError, match="another run"):
        Journal.open(path, SETTINGS)
    Journal.open(path, SETTINGS).close()


def test_differences_name_nested_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.c: 2 -> 3"]
    assert differences({"a": [1]}, {}) == ["a: [1] -> null"]
    assert differences({"a": 1}, {"a": 1}) == []
