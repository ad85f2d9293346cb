"""The benchmark of speed, whole, on tiny networks: every row is there, and its counts are those of the pipelines."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import derived
from benchmarks.speed.edits import YARDSTICK
from benchmarks.speed.measure import Budget, Counter, Side, counted, machine, ratios, take_turns
from benchmarks.speed.page import tables
from tests.support import tiny
from wordbrush.evaluation.flops import count_tflop

BLOCKS = ("machine", "edits", "stages", "forwards")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("speed")
    tiny.write_folder(folder / "model", "sd1")
    config = folder / "model" / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": 8}), encoding="utf-8")  # 16 pixels
    page = folder / "page.md"
    page.write_text("".join(f"<!-- table speed-{name} -->\n<!-- end -->\n" for name in BLOCKS), encoding="utf-8")
    engines = ["--engine", "torch, channels last", "ONNX Runtime"]
    words = ["--model", str(folder / "model"), "--quick", "--clock", "cpu", "--budget", "60", *engines]
    speed.main([*words, "--json", str(folder / "speed.json"), "--publish", str(page)])
    figures: dict[str, Any] = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    return {**figures, "page": page.read_text(encoding="utf-8"), "plot": (folder / "images" / "speed.svg").read_text()}


@pytest.mark.slow
def test_sides_have_the_counts_that_are_known(result: dict[str, Any]) -> None:
    edits = {row["name"]: row for row in result["edits"]}
    base, ours, second = edits[YARDSTICK], edits["wordbrush, balanced"], edits["wordbrush, second edit, other text"]
    assert (base["evaluations"], base["calls"], base["encodes"], base["decodes"]) == (200, 81, 11, 1)
    assert (ours["encodes"], ours["decodes"], second["encodes"]) == (1, 1, 0)
    assert ours["evaluations"] - second["evaluations"] == 5 + 2  # the inversion and the reference's half are known
    assert base["ratio"] == [1, 1, 1]
    assert all(0 < row["tflop"] < base["tflop"] and row["seconds"] > 0 for row in edits.values() if row is not base)
    assert set(ours["stages"]) >= {"contrast", "invert", "decode"}


@pytest.mark.slow
def test_engines_answer_alike_or_say_why_not(result: dict[str, Any]) -> None:
    rows = {(row["part"], row["engine"]): row for row in result["forwards"]}
    assert {part for part, _ in rows} == {"UNet", "encoder", "decoder"}
    for part in ("UNet", "encoder", "decoder"):
        assert rows[part, "torch"]["ratio"] == [1, 1, 1]
        assert rows[part, "torch, channels last"]["error"] < 1e-4
        told = rows[part, "ONNX Runtime"]
        assert told.get("status", "").startswith("not installed") or told["error"] < 1e-3


@pytest.mark.slow
def test_the_page_is_filled_and_the_plot_is_whole(result: dict[str, Any]) -> None:
    assert result["page"].count("| " + YARDSTICK + " |") == 1
    assert "GFLOP/s" in result["page"]
    assert result["plot"].rstrip().endswith("</svg>")


@pytest.mark.slow
def test_the_shape_of_sd15_is_derived_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    thin = derived.loaded(0.125, 64)
    monkeypatch.setattr(derived, "loaded", lambda *_: thin)
    flags = speed.parsed(["--quick", "--rounds", "1", "--engine", "torch"])
    found = speed.sd15_figures(flags, 100.0, time.process_time, Budget(60.0))
    passes = {row["part"]: row["seconds"] for row in found["forwards"]}
    rows = {row["name"]: row for row in found["derived"]}
    base, ours = rows[YARDSTICK], rows["wordbrush, balanced"]
    assert base["seconds"] == pytest.approx(200 * passes["UNet"] + 11 * passes["encoder"] + passes["decoder"])
    assert ours["ratio"][0] == ours["seconds"] / base["seconds"] < 0.5
    check = found["check"]
    assert check["derived"] == pytest.approx(
        check["evaluations"] * passes["UNet"] + check["encodes"] * passes["encoder"] + passes["decoder"]
    )
    assert (check["encodes"], check["decodes"]) == (1, 1)
    assert check["seconds"] > 0
    told = tables({"sd15": found, "edits": [], "forwards": [], "machine": machine(), "gemm": 100.0, "run": vars(flags)})
    assert f"| {YARDSTICK} |" in told["speed-derived"]
    assert "foretell" in told["speed-check"]


def test_sides_take_turns_until_the_budget_is_spent() -> None:
    order, now = [], iter(range(1000))
    sides = [Side(name, lambda name=name: lambda: order.append(name)) for name in "ABC"]  # type: ignore[misc]
    assert take_turns(sides, 2, lambda: float(next(now)), Budget(1.0)) == 2
    assert "".join(order) == "ABCCBA" * 2
    assert sides[1].rounds == [1.0, 1.0]
    assert ratios(sides[1], sides[0]) == (1.0, 1.0, 1.0)
    assert take_turns(sides, 5, lambda: float(next(now)), Budget(0.0)) == 1  # one at least


def test_a_side_that_fails_is_told_and_left_out() -> None:
    def broken() -> None:
        raise ValueError("its shapes\ndo not fit")

    side = Side("broken", lambda: broken)
    counted(side, Counter())
    assert side.facts["status"] == "failed: ValueError: its shapes do not fit"
    assert take_turns([side], 3, lambda: 0.0, Budget(1.0)) == 0
    assert count_tflop(lambda: torch.mm(torch.ones(10, 10), torch.ones(10, 10))) == pytest.approx(2e-9)
