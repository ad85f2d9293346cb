"""A batch from its source to its files: what is run, what is not run again, and what becomes of what fails."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import shutil
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

import wordbrush as wb
from tests.support import toy
from tests.support.batches import QUICK, ledger_rows, results, write_pictures
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.runner import BatchSummary, Progress
from wordbrush.editor import Editor
from wordbrush.errors import InputError, OutputError, SettingsError
from wordbrush.region.mask import Mask


@pytest.fixture(scope="module")
def editor() -> Editor:
    return toy.editor(16)


def run(source: Any, out: Path, editor: Editor, **keywords: Any) -> BatchSummary:
    return wb.batch(source, out, **{**QUICK, "model": editor, **keywords})


def state(summary: BatchSummary) -> tuple[int, int, int, int]:
    return summary.total, summary.done, summary.failed, summary.resumed


def test_a_folder_is_edited_and_not_edited_again(tmp_path: Path, editor: Editor) -> None:
    paths, told = write_pictures(tmp_path / "in", 3), list[Progress]()
    summary = run(tmp_path / "in", tmp_path / "out", editor, seed="1-2", on_progress=told.append)
    assert state(summary) == (6, 6, 0, 0)
    assert summary.exit_code == 0
    assert [(p.done, p.total) for p in told] == [(n, 6) for n in range(7)]
    rows = ledger_rows(tmp_path / "out")
    files = results(tmp_path / "out")
    assert len(files) == 12
    for row in rows:
        assert row["state"] == "done"
        assert f"masks/{row['name']}.png" == row["result"]["mask"] in files
        record = wb.read_provenance(tmp_path / "out" / row["output"])
        assert (record.query, record.seed) == (QUICK["to"], row["item"]["seed"])
        assert record.input["name"] == paths[row["line"] - 1].name
        alone = editor.edit(row["item"]["picture"], row["item"]["query"], row["item"]["reference"], seed=record.seed,
                            settings=wb.Settings(**row["item"]["settings"]), preset="balanced")  # fmt: skip
        alone.save(tmp_path / "alone.png", force=True)
        assert (tmp_path / "alone.png").read_bytes() == files[row["output"]]
    # Both seeds of a picture share its latent and its path.
    assert [row["result"]["reused"] for row in rows[:2]] == [[], ["latent", "trajectory"]]
    calls = editor.driver.calls
    again = run(tmp_path / "in", tmp_path / "out", editor, seed="1-2")
    assert state(again) == (6, 6, 0, 6)
    assert editor.driver.calls == calls
    assert results(tmp_path / "out") == files


def test_only_what_is_new_or_gone_or_changed_is_done(tmp_path: Path, editor: Editor) -> None:
    paths = write_pictures(tmp_path / "in", 4)
    run(tmp_path / "in", tmp_path / "out", editor)
    rows, before = ledger_rows(tmp_path / "out"), results(tmp_path / "out")
    (tmp_path / "out" / rows[0]["output"]).unlink()
    (tmp_path / "out" / rows[1]["output"]).write_bytes(b"torn")
    os.utime(paths[2], ns=(1, 1))  # touched, not changed
    shutil.copy(paths[0], paths[3])
    summary = run(tmp_path / "in", tmp_path / "out", editor)
    assert state(summary) == (4, 4, 0, 1)
    after = results(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert [row["attempts"] for row in ledger_rows(tmp_path / "out")] == [1, 2, 2, 1, 1]  # the older run's first
    changed = run(tmp_path / "in", tmp_path / "out", editor, ratio=0.5)
    assert state(changed) == (4, 4, 0, 0)
    assert len(results(tmp_path / "out")) == len(after) + 8
    assert state(run(tmp_path / "in", tmp_path / "out", editor)) == (4, 4, 0, 4)
    # Without its ledger a batch takes over the results that are there, but that of other bytes.
    (tmp_path / "out" / "ledger.sqlite").unlink()
    assert state(run(tmp_path / "in", tmp_path / "out", editor)) == (4, 4, 0, 0)
    told = [row["result"].get("adopted", False) for row in ledger_rows(tmp_path / "out")]
    assert told == [True, True, True, False]


def test_rows_that_fail_leave_the_others(tmp_path: Path, editor: Editor) -> None:
    paths = [str(path) for path in write_pictures(tmp_path / "in", 2)]
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    rows = [
        {"picture": paths[0], "treshold": 0.5},
        {"picture": str(tmp_path / "in" / "bad.png")},
        {"picture": str(tmp_path / "in" / "none.png")},
        {"picture": paths[0], "ratio": 7},
        {"picture": paths[0], "steps": 3, "ratio": 0.1},  # less than half a step: known once the model is
        {"picture": paths[1], "mask": paths[1]},  # the picture itself is no mask
        {"picture": paths[0]},
        {"picture": paths[1]},
    ]
    summary = run(rows, tmp_path / "out", editor)
    assert state(summary) == (7, 2, 5, 0)
    assert (summary.exit_code, summary.twice) == (6, 1)
    assert any("treshold" in note and "threshold" in note for note in summary.notes)
    assert any("done once" in note for note in summary.notes)
    assert {(e.kind, e.count) for e in summary.errors} == {("PictureError", 2), ("SettingsError", 2), ("MaskError", 1)}
    failed = [row for row in ledger_rows(tmp_path / "out") if row["state"] == "failed"]
    assert all("\n" not in row["error"] for row in failed)
    assert failed[2]["error"].startswith("row 4: ratio")
    shutil.copy(paths[0], tmp_path / "in" / "none.png")
    assert state(run(rows, tmp_path / "out", editor)) == (7, 2, 5, 2)
    assert state(run(rows, tmp_path / "out", editor, retry_failed=True)) == (7, 3, 4, 2)


def test_names_are_the_rows_own_and_never_shared(tmp_path: Path, editor: Editor) -> None:
    paths = [str(path) for path in write_pictures(tmp_path / "in", 4)]
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.png").write_bytes(b"not yours")
    names = ["../zebra.png", "Zebra", "mine", "zebra.webp"]
    rows = [{"picture": path, "output": name} for path, name in zip(paths, ["..zebra", *names[1:]], strict=True)]
    summary = run(rows, out, editor)
    assert state(summary) == (4, 4, 0, 0)
    found = [row["output"] for row in ledger_rows(out)]
    keys = [row["key"] for row in ledger_rows(out)]
    assert found == ["zebra.png", f"Zebra-{keys[1][:12]}.png", f"mine-{keys[2][:12]}.png", f"zebra-{keys[3][:12]}.webp"]
    assert (out / "mine.png").read_bytes() == b"not yours"
    assert sum("is taken" in note for note in summary.notes) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_shuffled_rows_and_several_runs_give_the_same_files(tmp_path: Path, editor: Editor) -> None:
    paths = write_pictures(tmp_path / "in", 4) + write_pictures(tmp_path / "wide", 2, (32, 16))
    rows = [{"picture": str(path), "seed": seed, "query": query} for path in paths for seed in (0, 1)
            for query in ("dark left", "dark left, light right")]  # fmt: skip
    assert run(rows, tmp_path / "one", editor).done == 24
    random.Random(0).shuffle(rows)  # noqa: S311
    for number in range(3):
        summary = run(rows, tmp_path / "other", editor, limit=(7, 10, None)[number])
        assert summary.waiting == (17, 7, 0)[number]
    assert results(tmp_path / "one") == results(tmp_path / "other")
    # Joined calls, as on a GPU: the same pictures to a rounding, fewer calls.
    joined = toy.editor(16, join=True, batch_limit=8)
    calls = editor.driver.calls
    run(rows, tmp_path / "joined", joined)
    assert joined.driver.calls < calls / 3
    one, same = results(tmp_path / "one"), results(tmp_path / "joined")
    assert one.keys() == same.keys()
    far = [name for name in one if not name.startswith("masks") and one[name] != same[name]]
    assert len(far) <= 2, far


def test_masks_records_and_formats(tmp_path: Path, editor: Editor) -> None:
    (path,) = write_pictures(tmp_path / "in", 1)
    Mask.from_box((16, 16), (4, 4, 12, 12)).save(tmp_path / "in" / "m.png")
    rows = [{"picture": "in/p000.png", "mask": "in/m.png", "output": name} for name in ("a.png", "b.jpg", "c.webp")]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    assert state(run(tmp_path / "m.jsonl", out, editor, masks=False, include_prompt=False)) == (3, 3, 0, 0)
    assert set(results(out)) == {"a.png", "b.jpg", "c.webp"}
    assert wb.read_provenance(out / "a.png").withheld
    with Image.open(out / "a.png") as image, Image.open(path) as before:
        assert image.getpixel((0, 0)) == before.getpixel((0, 0)) != image.getpixel((8, 8))
    inputs = ledger_rows(out)[0]["inputs"]
    assert [told["kind"] for told in inputs] == ["picture", "mask"]
    assert len(inputs[1]["sha256"]) == 64
    Mask.from_box((16, 16), (4, 4, 12, 13)).save(tmp_path / "in" / "m.png", force=True)
    assert state(run(tmp_path / "m.jsonl", out, editor, masks=False, include_prompt=False)) == (3, 3, 0, 0)
    assert len(results(out)) == 6
    alpha = Image.new("RGBA", (16, 16), (60, 60, 60, 128))
    alpha.save(tmp_path / "in" / "clear.png")
    summary = run([{"picture": str(tmp_path / "in" / "clear.png"), "output": "x.jpg"}], out, editor)
    assert [error.kind for error in summary.errors] == ["OutputError"]


def test_pictures_and_masks_at_urls(tmp_path: Path, editor: Editor) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory, (path,) = fsspec.filesystem("memory"), write_pictures(tmp_path, 1)
    memory.pipe("/remote/p.png", path.read_bytes())
    Mask.full((16, 16)).save(tmp_path / "m.png")
    memory.pipe("/remote/m.png", (tmp_path / "m.png").read_bytes())
    memory.pipe("/remote/m.csv", b"picture,mask\np.png,m.png\nnone.png,\n")
    summary = run("memory://remote/m.csv", tmp_path / "out", editor)
    assert state(summary) == (2, 1, 1, 0)
    assert "there is no picture memory://remote/none.png" in summary.errors[0].example
    (row, _) = ledger_rows(tmp_path / "out")
    assert wb.read_provenance(tmp_path / "out" / row["output"]).input["name"] == "p.png"


def test_the_second_engine_on_a_folder_says_so(tmp_path: Path, editor: Editor) -> None:
    write_pictures(tmp_path / "in", 1)
    with Ledger.open(tmp_path / "out"), pytest.raises(OutputError, match="another batch is writing here"):
        run(tmp_path / "in", tmp_path / "out", editor)
    assert run(tmp_path / "in", tmp_path / "out", editor).done == 1


def test_files_that_are_no_ledger(tmp_path: Path, editor: Editor) -> None:
    write_pictures(tmp_path / "in", 1)
    for number, wrong in enumerate((b"not a database at all" * 100, b"other")):
        out = tmp_path / f"out{number}"
        out.mkdir()
        if number:
            with sqlite3.connect(out / "ledger.sqlite") as base:
                base.execute("CREATE TABLE items (a)")
            base.close()
        else:
            (out / "ledger.sqlite").write_bytes(wrong)
        with pytest.raises(InputError, match="not a batch's ledger"):
            run(tmp_path / "in", out, editor)
    with Ledger.open(tmp_path / "new") as ledger:
        ledger._base.execute("PRAGMA user_version=9")
    with pytest.raises(InputError, match="newer wordbrush"):
        Ledger.open(tmp_path / "new")
    with pytest.raises(InputError, match="no batch was run"):
        Ledger.open(tmp_path / "in", read_only=True)


def test_arguments_that_cannot_be_meant(tmp_path: Path, editor: Editor) -> None:
    write_pictures(tmp_path / "in", 1)
    for wrong, part in (
        ({"engine": "slow"}, "engine"),
        ({"workers": 0}, "workers"),
        ({"limit": -1}, "limit"),
        ({"seed": "x"}, "seed"),
        ({"seed": []}, "seed"),
        ({"ratio": 3}, "ratio"),
        ({"grid": {"ratio": [0.5, 3]}}, "ratio"),
        ({"grid": {"rtio": [0.5]}}, "rtio"),
        ({"format": ".gif"}, "format"),
        ({"preset": "none"}, "preset"),
    ):
        with pytest.raises(SettingsError, match=part):
            run(tmp_path / "in", tmp_path / "out", editor, **wrong)
    assert not (tmp_path / "out").exists()


def held_by(process: psutil.Process) -> int:
    """Return the bytes that a process holds, without those that it has freed and the C library has kept."""
    with contextlib.suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)
    return int(process.memory_info().rss)


def most_held(folder: Path, counts: tuple[int, ...]) -> list[int]:
    """Return the most bytes that this process holds in runs of 200 rows out of so many, one after the other."""
    (path,) = write_pictures(folder, 1)
    Mask.empty((16, 16)).save(folder / "m.png")  # nothing to edit: no network runs, everything else does
    manifest, process, held, painter = folder / "m.jsonl", psutil.Process(), list[int](), toy.editor(16)
    for count in counts:
        row = {"picture": path.name, "mask": "m.png", "note": "x" * 500}
        manifest.write_text("".join(json.dumps({**row, "seed": seed}) + "\n" for seed in range(count)))
        at = list[int]()
        summary = run(
            manifest,
            folder / f"out{count}",
            painter,
            limit=200,
            on_progress=lambda _, at=at: at.append(held_by(process)),
        )
        assert (summary.total, summary.done, summary.waiting) == (count, 200, count - 200)
        held.append(max(at))
    return held


@pytest.mark.slow
def test_ten_thousand_rows_keep_memory_flat(tmp_path: Path) -> None:
    # In a process of its own: the tests' own holds gigabytes, and lets go of them whenever it likes.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        few, many = alone.submit(most_held, tmp_path, (200, 10_000)).result()
    # The rows alone, with their settings, are more than 20 MB.
    assert many - few < 12_000_000, (few, many)
