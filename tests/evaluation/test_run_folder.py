"""The folder of an evaluation: rows resumed, never mixed with other settings, and those of old files taken over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wordbrush.batch.ledger import Ledger
from wordbrush.batch.runner import Progress
from wordbrush.batch.work import ItemWork
from wordbrush.editor import Editor
from wordbrush.errors import InputError, OutputError, SettingsError
from wordbrush.evaluation.run_folder import differences, earlier_rows, entry_of, open_run

FACTS = {"steps": 20, "metrics": ("psnr", "ssim")}
OLD = "rows.jsonl"


@dataclass(frozen=True)
class Arithmetic(ItemWork):
    """Doubles and halves; `odd` says what becomes of half of an odd number."""

    folder: Path
    odd: str = "error"
    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError, SettingsError)

    def start(self, editor: Editor | None) -> Callable[[Any], Mapping[str, Any]]:
        return self.made

    def made(self, item: Mapping[str, Any]) -> dict[str, Any]:
        value = item["value"]
        if item["what"] == "double":
            (self.folder / f"{value}").write_text("a file of this row")
            return {"value": 2 * value, "output": f"{value}", "evaluations": 3}
        if value % 2 and self.odd == "infinite":
            return {"value": float("inf")}
        if value % 2:
            raise {"error": ValueError("not\neven"), "settings": SettingsError("no halves")}[self.odd]
        return {"value": value // 2}


def run(work: Arithmetic, *values: int, force: bool = False) -> tuple[dict[str, dict[str, Any]], list[Progress]]:
    """Run in the folder; return all rows and what was told on the way."""
    seen: list[Progress] = []
    pairs = [(value, what) for value in values or (2, 3, 4) for what in ("double", "half")]
    with open_run(work.folder, FACTS, OLD, force=force) as opened:
        opened.run(
            work,
            (entry_of(f"{v} {w}", n, {"value": v, "what": w}, f"{v}") for n, (v, w) in enumerate(pairs)),
            on_progress=seen.append,
        )
        return opened.rows(), seen


def values(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: row["value"] if row["state"] == "done" else row["error"] for name, row in rows.items()}


def test_an_error_costs_its_row_and_what_failed_or_lost_its_files_is_made_again(tmp_path: Path) -> None:
    rows, seen = run(Arithmetic(tmp_path))
    assert list(values(rows).items()) == [
        ("2 double", 4), ("2 half", 1), ("3 double", 6), ("3 half", "ValueError: not even"), ("4 double", 8),
        ("4 half", 2),
    ]  # fmt: skip
    assert (rows["3 half"]["error_type"], rows["3 half"]["what"]) == ("ValueError", "half")
    assert (rows["3 double"]["evaluations"], rows["3 double"]["output"]) == (3, "3")
    assert [(p.done, p.failed) for p in seen] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]
    again = run(Arithmetic(tmp_path, "infinite"))
    assert [(p.done, p.total, p.resumed, p.failed) for p in again[1]] == [(5, 6, 5, 0), (6, 6, 5, 1)]
    assert "JSON compliant" in again[0]["3 half"]["error"]
    (tmp_path / "4").unlink()
    assert [p.done for p in run(Arithmetic(tmp_path), 2, 4)[1]] == [3, 4]
    assert (tmp_path / "4").is_file()
    assert len(run(Arithmetic(tmp_path), 6)[0]) == 8  # with those that only earlier runs asked for
    assert list(run(Arithmetic(tmp_path), 8, force=True)[0]) == ["8 double", "8 half"]


def test_an_error_that_concerns_all_items_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no halves"):
        run(Arithmetic(tmp_path, "settings"))
    with open_run(tmp_path, FACTS, OLD) as opened:
        assert list(opened.rows()) == ["2 double", "2 half", "3 double"]


def test_other_settings_are_refused_by_name_unless_forced(tmp_path: Path) -> None:
    before = run(Arithmetic(tmp_path))[0]
    with pytest.raises(OutputError, match=r"steps: 20 -> 50.*--force"), open_run(tmp_path, {**FACTS, "steps": 50}, OLD):
        pass
    with open_run(tmp_path, FACTS, OLD) as opened:
        assert opened.rows() == before
        with pytest.raises(OutputError, match="another batch is writing"), open_run(tmp_path, FACTS, OLD):
            pass
    with open_run(tmp_path, {**FACTS, "steps": 50}, OLD, force=True) as opened:
        assert opened.rows() == {}
    with pytest.raises(ValueError, match="JSON compliant"), open_run(tmp_path, {"x": float("nan")}, OLD):
        pass


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_a_batch_is_left_alone(tmp_path: Path, *, force: bool) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.begin({"source": "pictures"}, "0")
    with pytest.raises(InputError, match="a batch was run"), open_run(tmp_path, FACTS, OLD, force=force):
        pass


def test_differences_name_nested_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.c: 2 -> 3"]
    assert differences({"a": [1]}, {}) == ["a: [1] -> null"]
    assert differences({"a": 1}, {"a": 1}) == []


def write_old(folder: Path, *rows: Mapping[str, Any], end: str = "\n") -> Path:
    """Write a file of results as earlier versions did."""
    lines = [{"journal": 1, "settings": {"steps": 20, "metrics": ["psnr", "ssim"]}}, *rows]
    (folder / OLD).write_text("\n".join(map(json.dumps, lines)) + end)
    return folder / OLD


def test_what_is_done_in_an_old_file_is_entered_once(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("a file of this row")
    old = {"value": -4, "seconds": 1.5, "edited": "3"}
    path = write_old(tmp_path, {"id": "3 double", **old}, {"id": "3 half", "error": "no"}, {"id": "9 half", "value": 4})
    rows, seen = run(Arithmetic(tmp_path))
    assert values(rows)["3 double"] == -4
    assert (rows["3 double"]["seconds"], rows["3 double"]["output"], rows["9 half"]["value"]) == (1.5, "3", 4)
    assert rows["3 half"]["error"] == "ValueError: not even"
    assert seen[0] == Progress(1, 6, 1, 0)
    path.write_text("from here on nobody reads it\n")
    assert run(Arithmetic(tmp_path))[0].keys() == rows.keys()
    assert run(Arithmetic(tmp_path), 3, force=True)[0]["3 double"]["value"] == 6
    assert not path.exists()


def test_an_old_file_is_entered_again_where_that_was_interrupted(tmp_path: Path) -> None:
    write_old(tmp_path, {"id": "8 half", "value": -4}, {"id": "9 half", "value": -5})
    with Ledger.open(tmp_path) as ledger:
        ledger.begin({"facts": {"steps": 20, "metrics": ["psnr", "ssim"]}, "from": OLD}, "0")
        ledger.add([entry_of("8 half", 1, {})])
    with open_run(tmp_path, FACTS, OLD) as opened:
        assert values(opened.rows()) == {"8 half": -4, "9 half": -5}


@pytest.mark.parametrize("torn", range(1, 12))
def test_a_torn_last_line_of_an_old_file_is_dropped_wherever_it_was_cut(tmp_path: Path, torn: int) -> None:
    path = write_old(tmp_path, {"id": "a", "psnr": 1.0}, {"id": "b", "error": "no"}, {"id": "b", "psnr": 2.0})
    assert earlier_rows(path, {"steps": 20, "metrics": ["psnr", "ssim"]})["b"] == {"psnr": 2.0}
    path.write_bytes(path.read_bytes()[:-torn])
    found = earlier_rows(path, {"steps": 20, "metrics": ["psnr", "ssim"]})
    assert found == {"a": {"psnr": 1.0}, "b": {"error": "no"}}
    path.write_bytes(b'{"journal": 1, "sett')
    assert earlier_rows(path, {}) == earlier_rows(tmp_path / "none", {}) == {}


def test_an_old_file_of_other_settings_or_with_broken_lines_is_refused(tmp_path: Path) -> None:
    path = write_old(tmp_path, {"id": "a"})
    with pytest.raises(OutputError, match=r"rows.jsonl.*steps: 20 -> 50.*--force"):
        earlier_rows(path, {**FACTS, "steps": 50, "metrics": ["psnr", "ssim"]})
    for line in ("{", "[1]", '{"psnr": 1}'):
        write_old(tmp_path, {"id": "a"}, end=f'\n{line}\n{{"id": "b"}}\n')
        with pytest.raises(InputError, match="line 3"):
            run(Arithmetic(tmp_path))
    path.write_text('{"shopping": ["milk"]}\n')
    with pytest.raises(InputError, match="not a file of results"):
        run(Arithmetic(tmp_path))
    assert path.read_text() == '{"shopping": ["milk"]}\n'
