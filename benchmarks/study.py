"""The studies behind docs/benchmark.md: defaults and peers on test; trade-offs, ablations and masks on dev.

    python -m benchmarks.study shipped peers tradeoff ablations masks --out FOLDER [--workers 2] [--limit N]
    python -m benchmarks.study --publish FOLDER     # writes the tables and plots of docs/benchmark.md

Each study is one resumable run of `wordbrush.evaluation.runner` with its own report under FOLDER/NAME. Tuning looks at
dev only; test is for reporting.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wordbrush.evaluation.items import KINDS, Split, Variant
from wordbrush.evaluation.plan import PANELS, RunPlan
from wordbrush.settings import DEFAULT_PRESET, Settings

HERE: Final = Path(__file__).parent
GRID: Final = 25
"""Steps of the full grid in trade-offs and ablations: the default, half of the paper's."""
METHODS: Final = (
    "sdedit", "encode_decode", "mask_without_encode", "blend_x0", "ilvr", "diffedit", "oracle_mask"
)  # fmt: skip
RATIOS: Final = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0)

MASK_SWITCHES: Final[Mapping[str, tuple[Any, ...]]] = {
    "threshold": (0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75),
    "edges": ("cells", "smooth", "guided", "regions"),
    "strength": ((0.5,), (0.6,), (0.7,), (0.8,), (0.5, 0.7, 0.9), (0.6, 0.75, 0.9), (0.5, 0.6, 0.7, 0.8, 0.9)),
    "maps": (1, 2, 4, 10, 20),
    "rescale": ("percentile", "iqr", "minmax"),
    "sign": ("absolute", "signed"),
    "norm": ("mean", "l2"),
    "antithetic": (False, True),
}
"""Switches that change the mask; these are also measured without repainting, on more scenes."""

PAINT_SWITCHES: Final[Mapping[str, tuple[Any, ...]]] = {
    "guidance": (1.0, 2.0, 3.0, 4.0, 5.0, 7.5),
    "steps": (5, 10, 16, 25, 50),
    "solver": ("ddim", "dpm2m"),
    "inversion_text": ("empty", "reference"),
    "inversion_guidance": (1.0, 4.0),
    "spacing": ("model", "even"),
    "inversion_stride": (1, 2, 4),
    "guidance_low": (0.0, 0.25, 0.35, 0.5),
    "guidance_high": (0.7, 1.0),
    "guidance_every": (1, 2, 3),
}
"""Switches that change the painting."""


@dataclass(frozen=True)
class Study:
    """One run: its variants, its split, and how many items of each kind."""

    variants: Callable[[], Iterable[Variant]]
    split: Split
    limit: int | None
    share: bool = True
    dtype: str | None = None
    measure_memory: bool = False


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def varied(switches: Mapping[str, tuple[Any, ...]], method: str, base: Settings) -> list[Variant]:
    """Return one variant for each value of each switch, all else as in `base`."""
    variants = []
    for name, values in switches.items():
        for value in values:
            tags = {"vary": name, "value": _word(value) if isinstance(value, bool | tuple) else value, "line": method}
            changes = {name: value} | ({"threshold": None} if name == "rule" else {})
            variants.append(Variant(f"{method} {name}={_word(value)}", method, base.changed(**changes), tags=tags))
    return variants


def shipped() -> list[Variant]:
    """Return the default and the oracle's mask under the same settings."""
    keep = {PANELS: 1}
    return [
        Variant(DEFAULT_PRESET, preset=DEFAULT_PRESET, tags=keep),
        Variant("oracle_mask", "oracle_mask", preset=DEFAULT_PRESET),
    ]


PEERS: Final = (
    "diffusers_diffedit",
    "diffusers_diffedit_paper",
    "leditspp",
    "diffusers_img2img_tuned",
    "diffusers_inpaint_our_mask_pasted",
)
"""One setting of each peer: the table in `wordbrush.evaluation.peers` has them all."""


def peers() -> list[Variant]:
    """Return the default, fast and paper presets, and all peers."""
    keep = {PANELS: 1}
    ours = [Variant(name, preset=name, tags=keep) for name in (DEFAULT_PRESET, "fast", "paper")]
    return [*ours, *(Variant(name, name, Settings(), tags=keep) for name in PEERS)]


def tradeoff() -> list[Variant]:
    """Return every baseline at every ratio."""
    variants = [Variant("copy", "copy"), Variant("retrieve", "retrieve")]
    for method in METHODS:
        for ratio in RATIOS:
            tags = {"curve": method, "ratio": ratio}
            variants.append(Variant(f"{method} r={ratio:g}", method, Settings(steps=GRID, ratio=ratio), tags=tags))
    return variants


def phrasings(method: str) -> list[Variant]:
    """Return the default under the three ways of putting the texts."""
    base = Settings(steps=GRID)
    return [
        Variant(f"{method} texts={name}", method, base, name, tags={"vary": "texts", "value": name, "line": method})
        for name in ("captions", "phrases", "empty")
    ]


def ablations() -> list[Variant]:
    """Return the switches of the painting, one at a time, and the thresholds with the painting that follows."""
    base = Settings(steps=GRID)
    cut = {"threshold": MASK_SWITCHES["threshold"], "edges": MASK_SWITCHES["edges"]}
    return [*varied({**cut, **PAINT_SWITCHES}, "diffedit", base), *phrasings("diffedit")]


def masks() -> list[Variant]:
    """Return the switches of the mask, one at a time."""
    return [*varied(MASK_SWITCHES, "mask", Settings()), *phrasings("mask")]


STUDIES: Final[Mapping[str, Study]] = {
    "shipped": Study(shipped, "test", None),
    "peers": Study(peers, "test", 10, share=False, measure_memory=True),
    "tradeoff": Study(tradeoff, "dev", 10, dtype="bfloat16"),
    "ablations": Study(ablations, "dev", 10, dtype="bfloat16"),
    "masks": Study(masks, "dev", 20),
}


def run_study(name: str, out: Path, *, workers: int, limit: int | None, force: bool) -> None:
    """Run the missing rows of one study, and write its report."""
    from wordbrush.evaluation.report import summary_table, write_report
    from wordbrush.evaluation.run_plots import plots_of
    from wordbrush.evaluation.runner import Progress
    from wordbrush.evaluation.summary import summarise
    from wordbrush.evaluation.truth_run import run_truth
    from wordbrush.files import write_atomic

    study = STUDIES[name]
    plan = RunPlan(
        variants=tuple(study.variants()),
        bench=HERE / "truth",
        judge=HERE / "truth" / "judge",
        load={"dtype": study.dtype} if study.dtype else {},
        split=study.split,
        kinds=KINDS,
        limit=limit or study.limit,
        workers=workers,
        share=study.share,
        measure_memory=study.measure_memory,
    )
    begin = time.monotonic()

    def tell(progress: Progress) -> None:
        if progress.done % 50 == 0 or progress.done == progress.total:
            took = time.monotonic() - begin
            print(f"{name}: {progress.done}/{progress.total}, {progress.failed} failed, {took:.0f} s", file=sys.stderr)

    rows = run_truth(plan, out / name, tell, force=force)
    result = write_report(rows, out / name, command=f"python -m benchmarks.study {name}")
    (out / name / "plots").mkdir(exist_ok=True)
    for number, (title, svg) in enumerate(plots_of(rows, summarise(rows))):
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        write_atomic(out / name / "plots" / f"{number:02d}-{slug}.svg", svg.encode(), force=True)
    print(summary_table(rows, result))


def main() -> None:
    """Run the named studies, or publish what was run."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    line.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="which studies to run")
    line.add_argument("--out", type=Path, default=Path("study"), help="folder of the runs")
    line.add_argument("--workers", type=int, default=2)
    line.add_argument("--limit", type=int, default=None, help="items a kind, instead of the study's own number")
    line.add_argument("--force", action="store_true", help="start anew")
    line.add_argument("--publish", type=Path, default=None, help="write tables and plots of the runs in this folder")
    args = line.parse_args()
    for name in args.studies:
        run_study(name, args.out, workers=args.workers, limit=args.limit, force=args.force)
    if args.publish is not None:
        from benchmarks.publish import publish

        publish(args.publish)


if __name__ == "__main__":
    main()
