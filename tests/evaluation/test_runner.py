"""Runs on the truth bench: resumed after a kill, never mixed with another plan, the same with any number of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.support.batches import ledger_rows
from tests.support.bench import BENCH, plain, quick_plan, write_judge, write_model
from wordbrush.batch import ledger_file
from wordbrush.batch.ledger_file import LEDGER
from wordbrush.batch.runner import Progress
from wordbrush.errors import InputError, ModelError, OutputError, SettingsError
from wordbrush.evaluation.examples import choose, example_path, read_example
from wordbrush.evaluation.items import MethodRequest, Outcome
from wordbrush.evaluation.methods import METHODS
from wordbrush.evaluation.plan import Row, RunPlan
from wordbrush.evaluation.truth import load_truth
from wordbrush.evaluation.truth_run import run_truth
from wordbrush.evaluation.variants import build_variants

TIMED = ("seconds", "peak_memory")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model and a small judge, which knows nothing."""
    base = tmp_path_factory.mktemp("run")
    return write_model(base / "model"), write_judge(base / "judge")


@pytest.fixture
def plan(folders: tuple[Path, Path]) -> RunPlan:
    return quick_plan(*folders)


def untimed(rows: tuple[Row, ...]) -> list[Any]:
    return [(r.item, r.variant, r.error, {k: v for k, v in r.metrics.items() if k not in TIMED}) for r in rows]


def test_rows_come_by_item_and_variant_and_are_on_the_disk(plan: RunPlan, tmp_path: Path) -> None:
    seen: list[Progress] = []
    rows = run_truth(plan, tmp_path, seen.append)
    assert [(r.item, r.variant) for r in rows.rows] == [
        (f"dev/object/00{i}", name) for i in range(2) for name in ("copy", "retrieve", "diffedit")
    ]
    assert [(p.done, p.total, p.resumed, p.failed) for p in seen] == [(i, 6, 0, 0) for i in range(7)]
    written = ledger_rows(tmp_path)
    assert [(w["item"], w["result"]["metrics"]) for w in written] == [
        ({"item": r.item, "variant": r.variant}, r.metrics) for r in rows.rows
    ]
    assert [w["evaluations"] for w in written] == [r.metrics["evaluations"] for r in rows.rows]
    copy, retrieved, edited = (r.metrics for r in rows.rows[:3])
    assert (copy["untouched"], copy["background_psnr"]) == (True, None)
    assert edited["outside_changed"] == 0.0
    assert retrieved["distance_to_input"] == pytest.approx(distance("dev/object/000"))
    # Two maps at two strengths under two texts; all four levels (ratio .9) up two by two, and down with guidance in
    # two of the three that are noisier than position .25.
    assert edited["evaluations"] == 2 * 2 * 2 + 2 + 4 + 2
    assert 0 < float(edited["tflop"] or 0) < 1
    assert float(edited["seconds"] or 0) > 0
    assert 0 < float(edited["mask_area"] or 0) < 1
    assert edited["peak_memory"] is edited["lpips"] is None


def outcomes(out: Path) -> list[tuple[str, float, dict[str, Any]]]:
    return [(row["key"], row["seconds"], row["result"]) for row in ledger_rows(out) if row["state"] == "done"]


def distance(name: str) -> float:
    item = next(i for i in load_truth(BENCH, "dev", ["object"], 1) if i.id == name)
    return float(np.sqrt(np.mean((item.picture.astype(float) - item.retrieved) ** 2)) / 255)


def test_a_second_run_has_nothing_to_do_and_says_the_same(plan: RunPlan, tmp_path: Path) -> None:
    plan = replace(plan, variants=plain("copy", "retrieve"))
    first, before = run_truth(plan, tmp_path), outcomes(tmp_path)
    seen: list[Progress] = []
    again = run_truth(plan, tmp_path, seen.append)
    assert again.rows == first.rows
    assert outcomes(tmp_path) == before
    assert seen == [Progress(4, 4, 4, 0)]


def test_some_variants_may_run_first_and_the_others_later(plan: RunPlan, tmp_path: Path) -> None:
    plan = replace(plan, variants=plain("copy", "retrieve", "mask"))
    first = run_truth(replace(plan, only=("retrieve",)), tmp_path)
    assert [(r.item, r.variant) for r in first.rows] == [(f"dev/object/00{i}", "retrieve") for i in range(2)]
    assert [v.name for v in first.plan.variants] == ["retrieve"]
    seen: list[Progress] = []
    whole = run_truth(plan, tmp_path, seen.append)
    assert seen[0] == Progress(2, 6, 2, 0)
    assert [v.name for v in whole.plan.variants] == ["copy", "retrieve", "mask"]
    assert [r for r in whole.rows if r.variant == "retrieve"] == list(first.rows)
    again = run_truth(replace(plan, only=("copy",)), tmp_path)
    assert again.rows == whole.rows
    with pytest.raises(SettingsError, match=r"'none'.*copy, retrieve, mask"):
        replace(plan, only=("none",))


def test_another_plan_is_refused_unless_forced(plan: RunPlan, tmp_path: Path) -> None:
    plan = replace(plan, variants=plain("copy", "retrieve"))
    run_truth(plan, tmp_path)
    before = outcomes(tmp_path)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"limit": 1}, r"bench\.items: 2 -> 1"),
        ({"split": "test"}, r'bench\.\w+: .* -> .*; bench\.split: "dev" -> "test"'),
        ({"variants": plain("copy")}, r"variants: "),
        ({"share": True}, r"share: false -> true"),
        ({"threads": 2}, r"threads: null -> 2"),
        ({"judge": BENCH / "judge"}, r"judge: "),
        ({"seed": 1}, r"seed: 0 -> 1"),
    ]
    for change, told in changes:
        with pytest.raises(OutputError, match=told + r".*--force"):
            run_truth(replace(plan, **change), tmp_path)
    assert outcomes(tmp_path) == before
    assert len(run_truth(replace(plan, seed=1), tmp_path, force=True).rows) == 4


def test_another_model_is_refused(plan: RunPlan, tmp_path: Path) -> None:
    plan = replace(plan, variants=plain("copy"))
    run_truth(plan, tmp_path / "out")
    with pytest.raises(OutputError, match=r"model\.name.*model\.parametrisation.*model\.sha256"):
        run_truth(replace(plan, model="pocket"), tmp_path / "out")


@pytest.mark.slow
def test_two_workers_find_what_one_finds(plan: RunPlan, tmp_path: Path) -> None:
    plan, threads = replace(plan, limit=3), torch.get_num_threads()
    one = run_truth(plan, tmp_path / "one")
    two = run_truth(replace(plan, workers=2), tmp_path / "two")
    assert untimed(two.rows) == untimed(one.rows)
    assert not two.failed
    pictures = [sorted((tmp_path / name / "pictures").rglob("*.png")) for name in ("one", "two")]
    assert len(pictures[0]) == 9
    assert [p.read_bytes() for p in pictures[0]] == [p.read_bytes() for p in pictures[1]]
    assert torch.get_num_threads() == threads
    # The number of workers decides nothing, so a run may go on with another.
    seen: list[Progress] = []
    run_truth(plan, tmp_path / "two", seen.append)
    assert seen == [Progress(9, 9, 9, 0)]


def test_an_item_that_fails_is_a_row_with_its_error_and_is_tried_again(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = load_truth(BENCH, "dev", ["object"], 2)[1]

    def picky(editor: Any, session: Any, request: MethodRequest, settings: Any) -> Outcome:
        if np.array_equal(request.picture, broken.picture):
            raise RuntimeError("not this\none")
        return Outcome(request.picture, 0)

    monkeypatch.setitem(METHODS, "picky", picky)
    plan = replace(plan, variants=plain("picky", "copy"))
    rows = run_truth(plan, tmp_path)
    assert [(r.item, r.variant, r.error) for r in rows.failed] == [(broken.id, "picky", "RuntimeError: not this one")]
    assert rows.failed[0].metrics == {}
    monkeypatch.setitem(METHODS, "picky", METHODS["copy"])
    seen: list[Progress] = []
    again = run_truth(plan, tmp_path, seen.append)
    assert not again.failed
    assert [p.done for p in seen] == [3, 4]


def test_shared_work_changes_no_result_and_has_no_seconds(plan: RunPlan, tmp_path: Path) -> None:
    varied = build_variants(
        methods=["diffedit", "mask_without_encode"],
        switches={"steps": 4, "maps": 1, "threshold": 0.4},
        varied={"ratio": (0.5, 0.75)},
    )
    plan = replace(plan, variants=varied, limit=1)
    alone, shared = run_truth(plan, tmp_path / "alone"), run_truth(replace(plan, share=True), tmp_path / "shared")
    assert untimed(alone.rows) == untimed(shared.rows)
    assert all(float(row.metrics["seconds"] or 0) > 0 for row in alone.rows)
    assert all(row.metrics["seconds"] is None for row in shared.rows)


def test_memory_is_measured_where_it_is_asked_for(plan: RunPlan, tmp_path: Path) -> None:
    plan = replace(plan, variants=plan.variants[2:], limit=1, measure_memory=True)
    (row,) = run_truth(plan, tmp_path).rows
    assert 0 <= float(row.metrics["peak_memory"] if row.metrics["peak_memory"] is not None else -1) < 2000


def test_examples_are_kept_where_a_variant_says_so(plan: RunPlan, tmp_path: Path) -> None:
    kept = replace(plan.variants[2], name="keeps/../a picture")
    plan = replace(plan, variants=(kept, replace(plan.variants[2], name="does not", tags={})), limit=1)
    run_truth(plan, tmp_path)
    (path,) = (tmp_path / "pictures").rglob("*.png")
    assert path == example_path(tmp_path, kept.name, "dev/object/000")
    example = read_example(tmp_path, kept.name, "dev/object/000")
    assert example is not None
    item = load_truth(BENCH, "dev", ["object"], 1)[0]
    assert example.result.shape == item.picture.shape
    assert np.array_equal(example.result[example.mask == 0], item.picture[example.mask == 0])
    assert example.contrast.max() == 1.0
    assert read_example(tmp_path, "does not", "dev/object/000") is None


def test_a_folder_that_cannot_be_locked_is_told(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise OSError("no locks here")

    monkeypatch.setattr(ledger_file, "lock_descriptor", refuse)
    (note,) = run_truth(replace(plan, variants=plain("copy"), limit=1), tmp_path).notes
    assert "cannot lock files" in note


def test_best_median_and_worst_are_chosen_by_a_metric() -> None:
    rows = [Row(f"i{n}", "object", "v", {"m": value}) for n, value in enumerate([3.0, None, 1.0, 9.0, 4.0, 2.0])]
    assert [(rank, row.item) for rank, row in choose(rows, "m")] == [("best", "i3"), ("median", "i0"), ("worst", "i2")]
    assert [rank for rank, _ in choose(rows[:3], "m")] == ["best", "worst"]
    assert choose(rows, "nothing") == []


def test_what_cannot_run_is_told_before_anything_runs(plan: RunPlan, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown method 'magic': known are copy.*peers.*leditspp"):
        run_truth(replace(plan, variants=plain("copy", "magic")), tmp_path / "out")
    with pytest.raises(SettingsError, match="'copy' is there twice"):
        replace(plan, variants=plain("copy", "copy"))
    with pytest.raises(InputError, match=str(tmp_path / "none")):
        run_truth(replace(plan, bench=tmp_path / "none"), tmp_path / "out")
    with pytest.raises(ModelError, match="none"):
        run_truth(replace(plan, model=str(tmp_path / "none")), tmp_path / "out")
    with pytest.raises(ModelError, match=r"--lpips.*none"):
        run_truth(replace(plan, lpips=tmp_path / "none"), tmp_path / "out")
    assert not (tmp_path / "out" / LEDGER).exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        run_truth(plan, tmp_path / "file" / "out")


def heed_control_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["kill", "ctrl-c"])
def test_a_run_that_was_stopped_goes_on(
    folders: tuple[Path, Path], tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    words = [
        *("eval", "truth", "--model", str(folders[0]), "--judge", str(folders[1]), "--bench", str(BENCH)),
        *("--kind", "object", "--limit", "5", "--set", "steps=16", "--set", "maps=2", "--set", "threshold=0.4"),
    ]
    command = [sys.executable, "-m", "wordbrush", *words, "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_control_c,
    ) as child:
        while child.poll() is None and not rows_on_disk(tmp_path / "out"):
            time.sleep(0.01)
        family = psutil.Process(child.pid).children(recursive=True)
        if sign == signal.SIGINT:
            os.killpg(child.pid, sign)  # as a terminal does: the workers hear it too
        else:
            os.kill(child.pid, sign)
        _, errors = child.communicate(timeout=300)
    assert child.returncode == code, errors
    assert not psutil.wait_procs(family, timeout=60)[1], "a worker outlived its run"
    if sign == signal.SIGINT:
        assert errors.decode().splitlines()[-1] == "wordbrush: stopped"
        assert "Traceback" not in errors.decode()
    before = outcomes(tmp_path / "out")
    assert 1 <= len(before) < 5, "stopped too late to tell anything"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len(before)} were there" in done.stderr
    after = outcomes(tmp_path / "out")
    assert all(row in after for row in before)
    assert [row["item"]["item"] for row in ledger_rows(tmp_path / "out")] == [f"dev/object/00{i}" for i in range(5)]
    assert (tmp_path / "out" / "report.html").is_file()


def rows_on_disk(out: Path) -> int:
    try:
        return len(outcomes(out))
    except (InputError, OutputError):  # it is just being made
        return 0
