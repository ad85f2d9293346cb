"""Whole edits in the shape of SD1.5 at 512 pixels: derived, as one by diffusers takes a quarter of an hour on a CPU.

The passes of each side are counted on a thin network of the same shape, scheduler and settings. The time of a side is
those passes times the seconds of one pass of the full size. One whole edit of few steps is run to check the sum.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.shapes import sd15
from benchmarks.speed.edits import QUERY, REFERENCE, YARDSTICK, edit_sides, sample
from benchmarks.speed.measure import Clock, Counter, counted
from wordbrush import Editor
from wordbrush.evaluation.peers.pipelines import pipelines_of
from wordbrush.models.checkpoint.quiet import quiet

__all__ = ["SIDE", "check", "derived_rows", "expected_seconds", "loaded"]

SIDE = 512
_THIN, _THIN_SIDE = 0.125, 64
_FEW: Mapping[str, Any] = {"steps": 4, "maps": 1, "strength": (0.5,)}


def loaded(width: float = 1.0, side: int = SIDE) -> Editor:
    """Return an editor of random weights in the shape of SD1.5 for pictures of `side` pixels, `width` times as wide."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        return Editor.from_pretrained(sd15(width, side))


def derived_rows(passes: Mapping[str, Mapping[str, Any]], gemm: float, *, quick: bool = False) -> list[dict[str, Any]]:
    """Return a row a side, from the figures of one pass by part: `seconds` and `tflop`.

    Args:
        passes: by part, "UNet", "encoder" and "decoder"; times of torch as it is.
        gemm: GFLOP/s of a matrix product.
        quick: only the sides of a quick run.
    """
    editor, counter = loaded(_THIN, _THIN_SIDE), Counter()
    pipelines, rows = pipelines_of(editor), []
    with counter.watching(pipelines.unet, pipelines.vae, pipelines.text_encoder):
        for side in edit_sides(editor, sample(_THIN_SIDE), quick=quick):
            counted(side, counter, operations=False, memory=False)
            rows.append({"name": side.name, **_of_passes(side.facts, passes)})
    base = next((row["seconds"] for row in rows if row["name"] == YARDSTICK and "seconds" in row), None)
    for row in rows:
        if "seconds" in row:
            row["share"] = row["tflop"] * 1e3 / row["seconds"] / gemm
            if base is not None:
                row["ratio"] = (row["seconds"] / base,) * 3
    return rows


def _of_passes(facts: Mapping[str, Any], passes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of a side with what they take."""
    if "status" in facts:
        return {"status": facts["status"]}
    kept = {name: facts[name] for name in ("evaluations", "calls", "encodes", "decodes", "texts")}
    times = {"UNet": kept["evaluations"], "encoder": kept["encodes"], "decoder": kept["decodes"]}
    sums = {
        figure: sum(count * passes[part][figure] for part, count in times.items()) for figure in ("seconds", "tflop")
    }
    return {**kept, **sums}


def check(editor: Editor, passes: Mapping[str, Mapping[str, Any]], clock: Clock) -> dict[str, Any]:
    """Run one whole edit of few steps, and return what it took beside what its passes foretell."""
    pipelines, counter = pipelines_of(editor), Counter()
    with counter.watching(pipelines.unet, pipelines.vae, pipelines.text_encoder):
        begin, wall = clock(), time.perf_counter()
        editor.edit(sample(editor.model.resolution), QUERY, REFERENCE, **_FEW)
        seconds, wall = clock() - begin, time.perf_counter() - wall
    foretold = _of_passes(vars(counter), passes)
    return {**foretold, "derived": foretold["seconds"], "seconds": seconds, "wall": wall}


def expected_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return about how long `check` takes, from the rows of the single passes."""
    seconds = {row["part"]: row.get("seconds") or 0.0 for row in rows if row["engine"] == "torch"}
    return 12 * seconds["UNet"] + seconds["encoder"] + seconds["decoder"]
