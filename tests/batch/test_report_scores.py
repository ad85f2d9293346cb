"""Figures against known truths: numbers that can be checked by hand, each picture counting once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.batch_folder import SIDE, Drawn, flat, half, put, run_into
from wordbrush.batch.ledger import Ledger
from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.batch_report import batch_report
from wordbrush.evaluation.batch_scores import FIGURES, NOTE
from wordbrush.evaluation.intervals import interval_over


def halves(left: int, right: int) -> Any:
    """Return a picture with a left and a right half."""
    return np.where(half()[..., None] > 0, np.uint8(left), np.uint8(right)).repeat(3, axis=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of 100 with a truth of 200 on the left; results that reach it wholly, in part, and two seeds of one."""
    place = tmp_path_factory.mktemp("in")
    region = put(place / "region.png", (half() * 255).astype(np.uint8))
    truth = put(place / "truth.png", halves(200, 100))
    small = put(place / "small.png", flat(1, 8))
    inputs = [put(place / f"in{n}.png", flat(100)) for n in range(5)]
    known = {"truth": truth, "truth_mask": region, "query": "x"}
    quarter = half()
    quarter[SIDE // 2 :] = 0
    rows = [
        Drawn({"picture": inputs[0], "kind": "exact", **known}, halves(200, 100), half()),
        Drawn({"picture": inputs[1], "kind": "near", **known}, halves(190, 103), quarter),
        Drawn({"picture": inputs[2], "kind": "near", "seed": 1, **known}, halves(180, 100), np.ones_like(half())),
        Drawn({"picture": inputs[2], "kind": "near", "seed": 2, **known}, halves(200, 100), half()),
        Drawn({"picture": inputs[3], "kind": "mask only", "truth_mask": region, "query": "x"}, halves(0, 100)),
        Drawn({"picture": inputs[4], "truth": small, "query": "x"}, halves(0, 100), half()),
        Drawn({"picture": inputs[4], "query": "no truth"}, halves(0, 100), half()),
        Drawn({"picture": inputs[4], "query": "failed", "truth": truth}, error="it broke"),
    ]
    return run_into(tmp_path_factory.mktemp("out") / "b", rows)


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return batch_report(folder, by="kind").as_dict()


def test_figures_are_those_of_the_metrics_and_each_picture_counts_once(report: dict[str, Any]) -> None:
    found = report["figures"]["all"]
    assert set(found) == set(FIGURES) - {"lpips", "clip"}
    rms = [0.0, 10.0, (20.0 + 0.0) / 2]
    assert (found["inside_rms"]["n"], found["inside_rms"]["mean"]) == (3, pytest.approx(np.mean(rms)))
    assert (found["inside_rms"]["median"], found["inside_rms"]["most"]) == (10.0, 10.0)
    span = interval_over({"all": rms})
    assert span.low is not None
    assert span.low < 0  # which no rms can be
    assert [found["inside_rms"][end] for end in ("low", "high")] == pytest.approx([0, span.high])
    # Where there is no truth, the outside is compared with the input.
    assert (found["outside_rms"]["n"], found["outside_rms"]["most"]) == (4, 3.0)
    assert found["outside_changed"]["mean"] == pytest.approx((0 + 1 + 0 + 0) / 4)
    assert found["inside_psnr"]["most"] == metrics.PSNR_CAP
    assert found["mask_iou"]["mean"] == pytest.approx(np.mean([1.0, 0.5, (0.5 + 1) / 2]))
    assert found["mask_precision"]["least"] == pytest.approx(0.75)
    assert found["mask_recall"]["least"] == pytest.approx(0.5)
    assert all(figure["how"] in ("student", "equal", "unknown") for figure in found.values())


def test_groups_are_by_a_column_and_what_has_none_says_so(report: dict[str, Any], folder: Path) -> None:
    by = report["figures"]["by"]
    assert by["column"] == "kind"
    assert list(by["groups"]) == ["exact", "mask only", "near"]
    assert by["groups"]["exact"]["rms"] == {
        "n": 1, "mean": 0.0, "low": None, "high": None, "how": "unknown", "median": 0.0, "least": 0.0, "most": 0.0,
    }  # fmt: skip
    assert by["groups"]["near"]["rms"]["n"] == 2
    assert set(by["groups"]["mask only"]) == {"outside_psnr", "outside_rms", "outside_changed"}
    assert list(batch_report(folder, by="seed").as_dict()["figures"]["by"]["groups"]) == ["0", "1", "2"]
    with pytest.raises(SettingsError, match="no item has a column or a setting of this name"):
        batch_report(folder, by="knid")


def test_what_cannot_be_measured_is_told_and_what_failed_is_counted(report: dict[str, Any], folder: Path) -> None:
    (fault,) = report["figures"]["not_measured"]["first"]
    assert fault["error"] == f"truth is 8 x 8, the result {SIDE} x {SIDE}: not measured"
    assert report["items"] == {"waiting": 0, "running": 0, "done": 7, "failed": 1}
    (error,) = report["errors"]
    assert (error["type"], error["count"], error["example"]) == ("PictureError", 1, "it broke")
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_page_shows_the_tables_and_the_cards_their_figures(folder: Path) -> None:
    text = batch_report(folder, by="kind").page.read_text("utf-8")
    for part in ("Against the truth", "By kind", "Not measured: 1", "mask: IoU", "<dt>mask IoU</dt><dd>0.500</dd>"):
        assert part in text, part
    assert NOTE.partition("'")[0] in text
    assert f"<td>inside: rms (of 255)</td><td>3</td><td>{20 / 3:.1f}</td>" in text
    assert text.count("<dt>inside rms</dt>") == 4


def test_the_ledger_keeps_the_figures_unless_another_writes_it(folder: Path, report: dict[str, Any]) -> None:
    with Ledger.open(folder) as ledger:
        kept: dict[int, Any] = {row["number"]: (row["result"] or {}).get("scores") for row in ledger.rows()}
        assert kept[2]["inside_rms"] == 10.0
        assert kept[6] is kept[7] is kept[8] is None
        told = next(row["result"] for row in ledger.rows() if row["number"] == 1)
        assert {"mask", "warnings", "scores"} <= told.keys()
        (note,) = batch_report(folder).notes
    assert "another batch is writing here" in note
    assert batch_report(folder).notes == ()


def test_weights_that_are_not_there_are_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lpips: "):
        batch_report(folder, lpips=tmp_path)
    with pytest.raises(InputError, match="clip: "):
        batch_report(folder, clip=tmp_path)


def test_a_truth_beside_the_manifest_is_found_there(tmp_path: Path) -> None:
    from wordbrush.batch.items import Defaults, items_of
    from wordbrush.batch.manifest import ManifestRow

    values = {"picture": "a.png", "query": "x", "truth": "t.png", "truth_mask": "/m.png", "other": "o.png"}
    (item,) = items_of(ManifestRow(1, values), Defaults(), {}, str(tmp_path))
    assert item.data == {"truth": str(tmp_path / "t.png"), "truth_mask": "/m.png", "other": "o.png"}
