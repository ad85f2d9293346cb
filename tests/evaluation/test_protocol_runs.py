"""Protocol runs: entries edited one by one, resumed, measured apart, and the commands from data to report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny
from tests.support.batches import ledger_rows
from tests.support.command import Command, Outcome, command_of
from tests.support.metric_networks import write_classifier, write_clip, write_lpips, write_vision
from tests.support.more_families import dit
from tests.support.protocols import pie_items, write_coco, write_imagenet, write_pie
from wordbrush.evaluation.protocols.running import seed_of

QUICK = ("--set", "steps=2", "--set", "maps=1", "--set", "resolution=32")


@pytest.fixture
def wordbrush(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capsysbinary)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("models") / "tiny", "sd1")


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny metric networks, all but Inception, which needs torchvision."""
    folder = tmp_path_factory.mktemp("networks")
    write_lpips(folder, "alex")
    write_lpips(folder, "squeeze")
    write_clip(folder / "clip")
    write_vision(folder / "features")
    write_vision(folder / "structure", "vit")
    scores = [0.0] * 10
    scores[3], scores[7] = 9.0, 5.0
    write_classifier(folder / "classifier", scores)
    return folder


def figure(result: Mapping[str, Any], metric: str, table: str = "all", row: str = "all") -> dict[str, Any]:
    """Return one figure of a result."""
    (found,) = [
        figure
        for part in result["tables"]
        if (part["table"], part["row"]) == (table, row)
        for figure in part["figures"]
        if figure["metric"] == metric
    ]
    return dict(found)


@pytest.mark.slow
def test_pie_from_folder_to_report(wordbrush: Command, model: Path, networks: Path, tmp_path: Path) -> None:
    data, out = write_pie(tmp_path / "data"), tmp_path / "out"
    command = ("eval", "pie", "--data", data, "--out", out, "--model", model, *QUICK, "--networks", networks)
    done = wordbrush(*command, "--json", "-q")
    assert done.code == 0, done.err
    result = done.json
    assert result == json.loads((out / "result.json").read_text())
    assert result["entries"] == {"chosen": 3, "done": 3, "failed": 0}
    # The mask of the second picture fills it: its background is undefined, counted, and never NaN.
    for metric in ("pie_psnr", "pie_mse", "pie_ssim", "background_psnr", "pie_lpips_squeeze"):
        found = figure(result, metric)
        assert (found["n"], found["undefined"]) == (2, 1)
        assert np.isfinite(found["value"])
        assert figure(result, metric, "edit type", "9 change style")["value"] is None
    assert figure(result, "mask_iou")["n"] == 3
    assert figure(result, "local_mask_iou")["n"] == 2
    clip, lpips = figure(result, "clip_score_masked"), figure(result, "pie_lpips_squeeze")
    assert clip["backbone"].startswith("CLIP ViT")
    assert "shorter side to 32" in clip["resize"]
    assert lpips["backbone"] == "SqueezeNet 1.1"
    assert len(lpips["weights_sha256"]) == 64
    assert figure(result, "structure_distance")["value"] >= 0
    rows = ledger_rows(out)
    assert [row["key"] for row in rows] == list(pie_items())
    assert all((out / row["output"]).is_file() and (out / row["result"]["mask"]).is_file() for row in rows)
    page = (out / "report.html").read_text()
    assert "a red boat on a lake" in page
    assert "By edit type" in page
    assert "<script" not in page
    assert len((out / "rows.csv").read_text().splitlines()) == 4
    head, *lines = (out / "figures.csv").read_text().splitlines()
    assert head.startswith("table,row,metric,value,low,high,n,undefined,backbone,weights_sha256,resize")
    assert any(line.startswith("edit type,0 random,pie_psnr,") for line in lines)


@pytest.mark.slow
def test_a_run_is_resumed_extended_and_never_mixed(
    wordbrush: Command, model: Path, networks: Path, tmp_path: Path
) -> None:
    data, out = write_pie(tmp_path / "data"), tmp_path / "out"
    command = ("eval", "pie", "--data", data, "--out", out, "--model", model, *QUICK)
    assert wordbrush(*command, "--limit", "2", "-q").code == 0
    first, second = ledger_rows(out)
    assert second["item"]["seed"] == seed_of(0, second["key"])
    stamp = (out / first["output"]).stat().st_mtime_ns
    (out / second["output"]).unlink()
    third = wordbrush(*command, "--network", f"clip={networks / 'clip'}", "-q", "--json")
    assert third.code == 0
    again = {row["key"]: row for row in ledger_rows(out)}
    assert (again[first["key"]]["attempts"], again[second["key"]]["attempts"]) == (1, 2)
    assert (out / first["output"]).stat().st_mtime_ns == stamp
    # The same seed gives the same picture again.
    assert again[second["key"]]["sha256"] == second["sha256"]
    # Networks that were not there at first are measured without editing again.
    assert figure(third.json, "clip_score")["n"] == 3
    assert wordbrush(*command, "-q").code == 0
    edited = ledger_rows(out)
    assert [row["attempts"] for row in edited] == [1, 2, 1]
    refused = wordbrush(*command, "--set", "ratio=0.5", "-q")
    refused.failed(3, "other settings", "settings.ratio: 0.88 -> 0.5", "--force")
    assert ledger_rows(out) == edited
    assert wordbrush(*command, "--set", "ratio=0.5", "--limit", "1", "--force", "-q").code == 0
    assert len(ledger_rows(out)) == 1


def test_one_entry_that_fails_is_recorded_and_tried_again(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    data, out = write_pie(tmp_path / "data"), tmp_path / "out"
    paths = [data / "annotation_images" / item["image_path"] for item in pie_items().values()]
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][:200])
    paths[1].unlink()
    command = ("eval", "pie", "--data", data, "--out", out, "--model", model, *QUICK, "-q", "--json")
    done = wordbrush(*command)
    assert done.code == 6
    assert done.json["entries"] == {"chosen": 3, "done": 1, "failed": 2}
    failed = {item["id"]: item["error"] for item in done.json["failed"]}
    assert str(paths[0]) in failed["000000000000"]
    assert "there is no file" in failed["911000000001"]
    for line in done.err.splitlines():
        assert line.startswith("warning: ")
    for path, data_of in zip(paths, whole, strict=True):
        path.write_bytes(data_of)
    again = wordbrush(*command)
    assert (again.code, again.json["entries"]["done"]) == (0, 3)


@pytest.mark.slow
def test_two_processes_edit_as_one_does(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    data = write_pie(tmp_path / "data")
    for out, workers in (("one", "1"), ("two", "2")):
        command = ("eval", "pie", "--data", data, "--out", tmp_path / out, "--model", model, *QUICK, "-q")
        assert wordbrush(*command, "--workers", workers).code == 0
    one, two = ([{**r, "seconds": 0, "mtime_ns": 0} for r in ledger_rows(tmp_path / out)] for out in ("one", "two"))
    assert two == one


def test_a_picture_of_another_size_than_its_mask_fails_alone(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    data = write_pie(tmp_path / "data", size=(500, 512))
    done = wordbrush("eval", "pie", "--data", data, "--out", tmp_path / "o", "--model", model, *QUICK, "-q", "--json")
    assert done.code == 6
    assert "500x512 pixels, its mask is for 512x512" in done.json["failed"][0]["error"]
    assert figure(done.json, "pie_psnr")["skipped"]


@pytest.mark.slow
def test_imagenet_and_coco(wordbrush: Command, model: Path, networks: Path, tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path / "imagenet", flat=True)
    shared: Sequence[Any] = ("--model", model, *QUICK, "--networks", networks, "-q", "--json")
    done = wordbrush("eval", "imagenet", "--data", val, "--queries", queries, "--out", tmp_path / "i", *shared)
    assert done.code == 0, done.err
    # Class 3 scores highest but is nobody's target; of 2, 5 and 7 the classifier names 7: right for one of two edits.
    assert figure(done.json, "accuracy")["value"] == 0.5
    assert figure(done.json, "wrongly_edited")["value"] == 0.5
    assert figure(done.json, "lpips_alex_x100")["resize"].startswith("shorter side to 256")
    assert "centre crop 32x32" in figure(done.json, "accuracy")["preprocessing"]
    assert "inception" in figure(done.json, "csfid")["skipped"]
    pictures, bison, captions = write_coco(tmp_path / "coco")
    words = ("eval", "coco", "--data", pictures, "--bison", bison, "--captions", captions, "--out", tmp_path / "c")
    done = wordbrush(*words, *shared)
    assert done.code == 0, done.err
    assert figure(done.json, "clip_score", "changed words", "at most 25%")["n"] == 1
    assert figure(done.json, "fid_inputs_features")["value"] > 0
    assert figure(done.json, "fid_real_features")["backbone"] != figure(done.json, "clip_score")["backbone"]
    assert figure(done.json, "fid_real")["skipped"]
    near = wordbrush(*words[:-1], tmp_path / "n", "--max-changed", "0.25", *shared)
    assert near.json["entries"]["chosen"] == 1
    assert "at least two pictures" in figure(near.json, "fid_inputs_features")["skipped"]


def test_imagenet_with_a_model_of_classes(wordbrush: Command, networks: Path, tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path / "imagenet", flat=True)
    dit().save_pretrained(tmp_path / "dit")
    command: Sequence[Any] = ("eval", "imagenet", "--data", val, "--queries", queries, "--model", tmp_path / "dit")
    by_number = ("--out", tmp_path / "out", "--networks", networks, "--template", "{id}", "--reference", "caption")
    done = wordbrush(*command, *QUICK, *by_number, "-q", "--json")
    assert done.code == 0, done.err
    assert [row["item"]["query"] for row in ledger_rows(tmp_path / "out")] == ["2", "7"]
    assert figure(done.json, "accuracy")["n"] == 2
    refused = wordbrush(*command, *QUICK, "--out", tmp_path / "texts", "-q")
    refused.failed(3, "entry 17", "'a photo of a marsh hopper' is none of the 1000 classes", "--template '{id}'")
    named = (tmp_path / "dit" / "model_index.json").read_text().replace("a red fox", "marsh hopper")
    (tmp_path / "dit" / "model_index.json").write_text(named)
    done = wordbrush(*command, *QUICK, "--out", tmp_path / "names", "--template", "{}", "--limit", "1", "-q", "--json")
    assert done.code == 0, done.err
    assert [row["item"]["query"] for row in ledger_rows(tmp_path / "names")] == ["marsh hopper"]


def test_prompts_on_the_pocket_without_any_data(wordbrush: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (
        "eval",
        "prompts",
        "--out",
        out,
        "--limit",
        "2",
        *QUICK[:4],
        "--generation-steps",
        "2",
        "--judge",
        tmp_path,
    )
    done = wordbrush(*command, "--json", "-q")
    assert done.code == 0, done.err
    assert done.json["entries"] == {"chosen": 2, "done": 2, "failed": 0}
    assert done.json["generation"] == {"steps": 2, "guidance": None, "seed": 0}
    assert [figure(done.json, "distance_to_input", "element", row)["n"] for row in ("object", "colour")] == [1, 1]
    assert "no weights were named" in figure(done.json, "clip_score")["skipped"]
    assert "no judge is here" in figure(done.json, "success")["skipped"]
    stamps = [path.stat().st_mtime_ns for path in sorted((out / "pictures").iterdir())]
    assert len(stamps) == 2
    lines = wordbrush(*command, "-q").text.splitlines()
    assert [path.stat().st_mtime_ns for path in sorted((out / "pictures").iterdir())] == stamps
    assert lines[0] == "2 of 2 entries"
    assert any(line.startswith("clip_score ") and "skipped: " in line for line in lines)


def test_a_dry_run_edits_nothing(wordbrush: Command, model: Path, networks: Path, tmp_path: Path) -> None:
    data, out = write_pie(tmp_path / "data"), tmp_path / "out"
    command = ("eval", "pie", "--data", data, "--out", out, "--model", model, *QUICK, "--networks", networks)
    plan = wordbrush(*command, "--dry-run", "--json").json
    assert (plan["entries"], plan["missing_pictures"]) == (3, 0)
    assert plan["evaluations_total"] == 3 * plan["evaluations_each"] > 0
    assert "pie_psnr" in plan["metrics"]
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--reference", "both"), 2, "--reference 'both'"),
        (("--set", "steps=many"), 2, "steps"),
        (("--method", "magic"), 2, "magic"),
        (("--method", "retrieve"), 2, "do not have"),
        (("--network", "clip"), 2, "KIND=SOURCE"),
        (("--network", "vgg=x"), 2, "KIND=SOURCE"),
        (("--preset", "none"), 2, "none"),
        (("--data", "nowhere"), 3, "mapping_file.json"),
    ],
)
def test_what_cannot_end_well_is_refused_in_one_line(
    wordbrush: Command, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    data = write_pie(tmp_path / "data")
    outcome: Outcome = wordbrush("eval", "pie", "--data", data, "--out", tmp_path / "out", *words)
    outcome.failed(code, told)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_any_of_the_pictures_is_refused(wordbrush: Command, model: Path, tmp_path: Path) -> None:
    _, queries = write_imagenet(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    words = ("--data", tmp_path / "empty", "--queries", queries, "--out", tmp_path / "out", "--model", model)
    wordbrush("eval", "imagenet", *words).failed(3, "none of the 2 pictures", "first entry: 17")
