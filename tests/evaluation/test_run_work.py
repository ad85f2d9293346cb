"""The one runner on work that needs no model: ids, resuming, errors, files that vanished, several processes."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support import toy
from wordbrush.editor import Editor
from wordbrush.errors import InputError, OutputError, SettingsError
from wordbrush.evaluation.journal import Journal
from wordbrush.evaluation.runner import Progress, run_work
from wordbrush.evaluation.work import Line, Make, Work, settled


@dataclass(frozen=True)
class Number:
    """An item."""

    id: str
    value: int


@dataclass(frozen=True)
class Arithmetic(Work):
    """Doubles and halves; what it is told to fail at is in `odd`."""

    folder: Path
    odd: str = "error"
    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError, SettingsError)

    @property
    def variants(self) -> tuple[str, ...]:
        return ("double", "half")

    def open(self, editor: Editor | None = None) -> Make:
        if self.odd == "no start":
            raise InputError("nothing to start with")
        return self.made

    def made(self, item: Number, variant: str) -> Line:
        if variant == "double":
            (self.folder / item.id).write_text(str(item.value))
            return {"value": 2 * item.value, "process": os.getpid()}
        if item.value % 2 and self.odd == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if item.value % 2:
            raise {"error": ValueError("not\neven"), "settings": SettingsError("no halves")}[self.odd]
        return {"value": item.value // 2, "process": os.getpid()}

    def facts(self, item: Number, variant: str) -> Line:
        return {"of": item.value, "value": None}

    def is_whole(self, row: Line) -> bool:
        return (self.folder / str(row["id"]).split()[0]).is_file()


ITEMS = [Number(str(value), value) for value in (2, 3, 4)]


def run(work: Arithmetic, workers: int = 1) -> tuple[dict[str, Line], list[Progress]]:
    """Run on the journal of the folder; return its rows and what was told on the way."""
    seen: list[Progress] = []
    with Journal.open(work.folder / "rows.jsonl", {}) as journal:
        run_work(work, ITEMS, journal, toy.editor(16), workers=workers, threads=1, on_progress=seen.append)
        return journal.rows, seen


def test_every_item_meets_every_variant_and_an_error_costs_its_row(tmp_path: Path) -> None:
    rows, seen = run(Arithmetic(tmp_path))
    assert {name: row["value"] for name, row in rows.items()} == {
        "2 double": 4, "2 half": 1, "3 double": 6, "3 half": None, "4 double": 8, "4 half": 2,
    }  # fmt: skip
    assert list(rows) == [f"{item.id} {variant}" for item in ITEMS for variant in ("double", "half")]
    assert rows["3 half"] == {"id": "3 half", "of": 3, "value": None, "error": "ValueError: not even"}
    assert [(p.done, p.failed) for p in seen] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]


def test_only_what_failed_or_lost_its_files_is_made_again(tmp_path: Path) -> None:
    run(Arithmetic(tmp_path))
    assert run(Arithmetic(tmp_path))[1] == [Progress(5, 6, 5, 0), Progress(6, 6, 5, 1)]
    (tmp_path / "4").unlink()
    assert [p.done for p in run(Arithmetic(tmp_path))[1]] == [3, 4, 5, 6]
    assert (tmp_path / "4").is_file()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_that_concerns_all_items_ends_the_run(tmp_path: Path, workers: int) -> None:
    with pytest.raises(SettingsError, match="no halves"):
        run(Arithmetic(tmp_path, "settings"), workers)
    with Journal.open(tmp_path / "rows.jsonl", {}) as journal:
        assert journal.is_done("3 double")
        assert "3 half" not in journal.rows


@pytest.mark.slow
def test_several_processes_make_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = run(Arithmetic(tmp_path / "one"))[0], run(Arithmetic(tmp_path / "two"), 2)[0]
    processes = {row.pop("process") for rows in (one, two) for row in rows.values() if "process" in row}
    assert two == one
    assert len(processes) >= 2
    assert os.getpid() in processes


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_a_process_that_dies_costs_the_rows_it_owed(tmp_path: Path) -> None:
    rows, _ = run(Arithmetic(tmp_path, "death"), 2)
    assert [name for name, row in rows.items() if "error" in row] == ["3 half"]
    assert rows["3 half"]["of"] == 3
    assert "exit code -9" in rows["3 half"]["error"]


@pytest.mark.slow
def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a worker cannot start: nothing to start with"):
        run(Arithmetic(tmp_path, "no start"), 2)


def test_our_own_errors_are_sentences_and_others_have_their_name() -> None:
    assert settled(InputError("no such\n picture")) == "no such picture"
    assert settled(KeyError("x")) == "KeyError: 'x'"
    assert len(settled(ValueError("y" * 5000))) == 1000
