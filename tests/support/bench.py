"""What the tests of benchmark runs share: the bench, a judge of random weights, a quick model, quick plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.support import tiny
from wordbrush.evaluation.items import Variant
from wordbrush.evaluation.judge import Judge, JudgeConfig, JudgeNetwork
from wordbrush.evaluation.plan import RunPlan
from wordbrush.evaluation.variants import build_variants
from wordbrush.files import write_atomic

BENCH = Path(__file__).parents[2] / "benchmarks" / "truth"
QUICK = {"steps": 4, "maps": 2, "threshold": 0.4}


def write_judge(folder: Path) -> Path:
    """Write a judge with the vocabulary of the real one, small and of random weights: quick, and it knows nothing."""
    real = Judge.load(BENCH / "judge").config
    config = JudgeConfig(real.nouns, real.coloured, real.colours, real.grounds, size=32, widths=(8, 8), hidden=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = JudgeNetwork(config)
    folder.mkdir(parents=True)
    write_atomic(folder / "config.json", json.dumps(config.to_json()).encode())
    save_file(network.state_dict(), str(folder / "judge.safetensors"))
    return folder


def write_model(folder: Path) -> Path:
    """Write a tiny model."""
    tiny.write_folder(folder, "sd1")
    return folder


def quick_plan(model: Path, judge: Path, **changes: Any) -> RunPlan:
    """Return a plan of one kind, two items and three variants, quick on a tiny model."""
    variants = build_variants(methods=["copy", "retrieve", "diffedit"], switches=dict(QUICK))
    plan = RunPlan(variants, BENCH, judge, model=str(model), kinds=("object",), limit=2)
    return replace(plan, **changes)


def plain(*methods: str, **tags: Any) -> tuple[Variant, ...]:
    """Return variants of methods that run no network, with tags."""
    return tuple(Variant(name, name, tags=tags) for name in methods)
