"""One edit at a time, without a ledger: in loops, over columns, in other processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wordbrush as wb
from tests.support import toy
from tests.support.batches import QUICK, results, write_pictures
from wordbrush.errors import SettingsError


@pytest.fixture(scope="module")
def editor() -> wb.Editor:
    return toy.editor(16)


def test_a_loop_is_a_batch(tmp_path: Path, editor: wb.Editor) -> None:
    rows = [{"picture": str(path), "seed": 3} for path in write_pictures(tmp_path / "in", 2)]
    wb.batch(rows, tmp_path / "batch", **QUICK, model=editor)
    edit = wb.EditItem(tmp_path / "loop", **QUICK, model=editor)
    told = [edit(row) for row in rows]
    assert results(tmp_path / "loop") == results(tmp_path / "batch")
    assert [one["state"] for one in told] == ["done", "done"]
    assert all((tmp_path / "loop" / one["output"]).is_file() and one["error"] == "" for one in told)
    calls = editor.driver.calls
    assert edit(rows[0])["sha256"] == told[0]["sha256"]
    assert editor.driver.calls == calls  # the result is there


def test_columns_come_back_as_columns(tmp_path: Path, editor: wb.Editor) -> None:
    paths = write_pictures(tmp_path / "in", 2)
    image = Image.open(paths[0])
    image.load()
    data = paths[1].read_bytes()
    pictures: list[Any] = [str(paths[0]), data, image, {"bytes": data, "path": "x/b.png"}, "none.png", str(paths[0])]
    edit = wb.EditItem(tmp_path / "out", **{**QUICK, "to": "{word} left"}, model=editor)
    told = edit({"picture": pictures, "word": np.array(["dark"] * 6), "seed": np.arange(6) % 5})
    assert told["state"] == ["done"] * 4 + ["failed", "done"]
    assert told["error_type"][4] == "PictureError"
    assert told["output"][5] == told["output"][0]  # the same item
    assert len(results(tmp_path / "out")) == 8
    assert wb.read_provenance(tmp_path / "out" / told["output"][0]).query == "dark left"
    for kind in ("seconds", "evaluations"):
        assert all(isinstance(value, int | float) for value in told[kind])
    assert edit({"picture": str(paths[0])})["error"].startswith("row 7: '{word} left' needs a column word")
    assert "make several items" in edit({"picture": str(paths[0]), "word": "a", "seed": "1-2"})["error"]


def test_a_file_of_somebody_else_stays(tmp_path: Path, editor: wb.Editor) -> None:
    (path,) = write_pictures(tmp_path / "in", 1)
    (tmp_path / "mine.png").write_bytes(b"not yours")
    told = wb.EditItem(tmp_path, **QUICK, model=editor, output="mine")({"picture": str(path)})
    assert (told["state"], told["error_type"]) == ("failed", "OutputError")
    assert (tmp_path / "mine.png").read_bytes() == b"not yours"


def test_it_travels_without_its_model(tmp_path: Path) -> None:
    edit = wb.EditItem(tmp_path, to="a zebra", model="pocket", seed=2)
    data = pickle.dumps(edit)
    assert len(data) < 5_000
    assert pickle.loads(data).batch == edit.batch  # noqa: S301 - our own
    for several in ({"seed": "1-2"}, {"grid": {"ratio": [0.5, 0.7]}}):
        with pytest.raises(SettingsError, match="make several items of a row"):
            wb.EditItem(tmp_path, to="a zebra", **several)


def test_datasets_map_and_a_plain_loop_do_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = [{"picture": str(path), "breed": "duck"} for path in write_pictures(tmp_path / "pictures", 2, (64, 64))]
    rows.append({"picture": str(tmp_path / "none.png"), "breed": "duck"})
    told = dict[str, list[dict[str, Any]]]()
    for name in ("loop", "map", "pickled"):
        edit = wb.EditItem(tmp_path / name, to="a {breed} on grass", steps=2, maps=1, strength=(0.5,))
        if name == "map":
            made = datasets.Dataset.from_list(rows).map(edit, load_from_cache_file=False)
            told[name] = [{**row} for row in made]
        else:
            edit = pickle.loads(pickle.dumps(edit))  # noqa: S301
            told[name] = [{**row, **edit(row)} for row in rows]
    assert [row["state"] for row in told["map"]] == ["done", "done", "failed"]
    for name in ("map", "pickled"):
        assert [{**row, "seconds": 0} for row in told[name]] == [{**row, "seconds": 0} for row in told["loop"]]
    assert results(tmp_path / "map") == results(tmp_path / "loop")
