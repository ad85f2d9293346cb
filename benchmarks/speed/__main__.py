"""Measure, print the tables, write them down.

    python -m benchmarks.speed [--model FOLDER] [--rounds 5] [--budget MINUTES] [--clock wall|cpu] [--quick]
                               [--engine NAME ...] [--json FILE] [--publish PAGE]
    python -m benchmarks.speed --read FILE --publish PAGE

First the pocket model, or that of --model: whole edits, second edits and masks, then single passes. Then, unless
--quick, the same in the shape of SD1.5 at 512 pixels, random weights: single passes, whole edits derived from them, and
one whole edit of few steps as a check. After the first, no round is begun that would not end within --budget minutes.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from benchmarks.speed import derived
from benchmarks.speed.edits import YARDSTICK, edit_sides, sample
from benchmarks.speed.forwards import ENGINES, engine_rows, parts_of
from benchmarks.speed.measure import (
    CLOCKS,
    Budget,
    Clock,
    Counter,
    Side,
    counted,
    gemm_bound,
    machine,
    ratios,
    take_turns,
)
from benchmarks.speed.page import publish, stage_medians, tables
from wordbrush import Editor
from wordbrush.evaluation.flops import tflop, total
from wordbrush.evaluation.peers.pipelines import pipelines_of
from wordbrush.files import write_atomic

Flags = argparse.Namespace
_TOLD = ("rounds", "clock", "quick")


def edit_rows(editor: Editor, flags: Flags, gemm: float, clock: Clock, budget: Budget) -> list[dict[str, Any]]:
    """Count, then time the sides of edits; return a row a side."""
    side, pipelines, counter = editor.model.resolution, pipelines_of(editor), Counter()
    sides = edit_sides(editor, sample(side), quick=flags.quick)
    with counter.watching(pipelines.unet, pipelines.vae, pipelines.text_encoder):
        for one in sides:
            counted(one, counter, operations=not flags.quick, memory=not flags.quick)
    if flags.quick:  # operations from the passes, not from the run itself
        costs, names = tflop(editor, (side, side)), ("evaluations", "encodes", "decodes", "texts")
        for one in sides:
            one.facts["tflop"] = total(costs, *(one.facts.get(name, 0) for name in names))
    take_turns(sides, flags.rounds, clock, budget)
    base = next(one for one in sides if one.name == YARDSTICK)
    return [_row(one, base, gemm) for one in sides]


def _row(side: Side, base: Side, gemm: float) -> dict[str, Any]:
    row: dict[str, Any] = {"name": side.name, **side.facts, "rounds": side.rounds}
    if side.rounds:
        seconds = sorted(side.rounds)[len(side.rounds) // 2]
        share = side.facts["tflop"] * 1e3 / seconds / gemm
        row |= {"seconds": seconds, "ratio": ratios(side, base), "share": share}
    return row | {"stages": stage_medians(side.stages)}


def forward_rows(editor: Editor, flags: Flags, gemm: float, clock: Clock, budget: Budget) -> list[dict[str, Any]]:
    """Return a row for each part and engine."""
    rows = [
        row
        for part in parts_of(editor)
        for row in engine_rows(part, flags.engine, flags.rounds, clock, budget)
    ]
    work = {row["part"]: row["tflop"] for row in rows if "tflop" in row}
    for row in rows:
        if row.get("seconds"):
            row["tflop"] = work[row["part"]]
            row["share"] = row["tflop"] * 1e3 / row["seconds"] / gemm
    return rows


def sd15_figures(flags: Flags, gemm: float, clock: Clock, budget: Budget) -> dict[str, Any]:
    """Return the figures in the shape of SD1.5 at 512 pixels."""
    editor = derived.loaded()
    forwards = forward_rows(editor, flags, gemm, clock, budget)
    passes = {row["part"]: row for row in forwards if row["engine"] == "torch" and row.get("seconds")}
    if len(passes) < len({row["part"] for row in forwards}):
        return {"forwards": forwards, "derived": [], "check": None}
    rows = derived.derived_rows(passes, gemm, quick=flags.quick)
    found: dict[str, Any] = {"forwards": forwards, "derived": rows, "check": None}
    if budget.allows(derived.expected_seconds(forwards)):
        found["check"] = derived.check(editor, passes, clock)
    return found


def measure(flags: Flags) -> dict[str, Any]:
    """Run everything there is time for, and return the figures."""
    warnings.simplefilter("ignore")
    budget, clock = Budget(flags.budget), CLOCKS[flags.clock]
    where, gemm = machine(), gemm_bound(clock)
    editor = Editor.from_pretrained(flags.model, dtype="float32", device="cpu")
    result: dict[str, Any] = {
        "schema": 2,
        "machine": where,
        "gemm": gemm,
        "run": {"model": editor.model.identity.name, **{name: getattr(flags, name) for name in _TOLD}},
        "edits": edit_rows(editor, flags, gemm, clock, budget),
        "forwards": forward_rows(editor, flags, gemm, clock, budget),
    }
    if not flags.quick:
        result["sd15"] = sd15_figures(flags, gemm, clock, budget)
    return result


def parsed(words: list[str] | None = None) -> Flags:
    """Read the flags."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description="speed of wordbrush against diffusers")
    parser.add_argument("--model", default="pocket", help="pocket, or a folder of the Stable Diffusion build")
    parser.add_argument("--rounds", type=int, help="each is there and back (A B C C B A); 5, with --quick 1")
    parser.add_argument("--budget", type=float, help="minutes; 90, with --quick 2")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on a busy machine, with one thread; wall")
    parser.add_argument("--quick", action="store_true", help="few sides, one round, nothing of SD1.5")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, help="by default all, with --quick the two of torch")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--read", type=Path, help="measure nothing: take the figures from here")
    parser.add_argument("--publish", type=Path, help="fill the tables of this page, and write the plot beside it")
    flags = parser.parse_args(words)
    flags.rounds = flags.rounds or (1 if flags.quick else 5)
    flags.budget = flags.budget or (2.0 if flags.quick else 90.0)
    engines = flags.engine or list(ENGINES)[: 2 if flags.quick else None]
    flags.engine = list(dict.fromkeys(["torch", *engines]))
    return flags


def main(words: list[str] | None = None) -> None:
    """Read the flags, measure, print, write."""
    flags = parsed(words)
    result = measure(flags) if flags.read is None else json.loads(flags.read.read_text(encoding="utf-8"))
    for table in tables(result).values():
        print(table, end="\n\n")
    if flags.json is not None:
        write_atomic(flags.json, (json.dumps(result, indent=1) + "\n").encode(), force=True)
    if flags.publish is not None:
        publish(result, flags.publish)


if __name__ == "__main__":
    main()
