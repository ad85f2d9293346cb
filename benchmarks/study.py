"""The studies behind docs/benchmark.md: presets and peers on test; trade-offs, ablations and masks on dev.

    python -m benchmarks.study shipped peers --out FOLDER [--workers 2] [--only NAME] [--limit N]
    python -m benchmarks.study --publish FOLDER     # writes the tables and plots of docs/benchmark.md

Each study is one resumable run of `wordbrush.evaluation.truth_run` in float32 with its own report under FOLDER/NAME.
`--only` runs some variants first; the others can follow at any time. Tuning looks at dev only; test is for reporting.
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
from wordbrush.settings import DEFAULT_PRESET, PRESETS, Settings

HERE: Final = Path(__file__).parent
METHODS: Final = (
    "sdedit", "encode_decode", "mask_without_encode", "blend_x0", "ilvr", "diffedit", "oracle_mask"
)  # fmt: skip
RATIOS: Final = (0.2, 0.5, 0.8, 1.0)
"""Ratios of the trade-offs: whole steps of the default's 10, so that they run as they are written."""

MASK_SWITCHES: Final[Mapping[str, tuple[Any, ...]]] = {
    "threshold": (0.1, 0.15, 0.3, 0.5),
    "edges": ("cells", "smooth", "contour"),
    "strength": ((0.5,), (0.95,), (0.5, 0.9), (0.5, 0.9, 0.95)),
    "pool": ("shares",),
    "maps": (2, 4, 10),
    "draws": ("shared",),
    "rescale": ("iqr", "minmax"),
    "sign": ("signed",),
    "norm": ("l2",),
    "antithetic": (True,),
}
"""Values beside the default's for switches that change the mask; measured without repainting, on more scenes."""

PAINT_SWITCHES: Final[Mapping[str, tuple[Any, ...]]] = {
    "threshold": (0.15, 0.3, 0.5),
    "guidance": (1.0, 2.0, 7.5),
    "guidance_low": (0.0, 0.5),
    "guidance_high": (0.7,),
    "guidance_every": (1, 3),
    "steps": (8, 12, 20),
    "retry": (False,),
    "spacing": ("model",),
    "solver": ("ddim",),
    "inversion_stride": (1,),
    "rim": (0.0,),
    "blend": (0.0, 3.0),
    "match": (0.0,),
    "ring": (1.5,),
    "inversion_text": ("reference",),
    "inversion_guidance": (4.0,),
}
"""Values beside the default's for switches that change the painting and the seam."""


@dataclass(frozen=True)
class Study:
    """One run: its variants, its split, and how many items of each kind."""

    variants: Callable[[], Iterable[Variant]]
    split: Split
    limit: int
    share: bool = True
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
            settings = base.changed(**{name: value})
            variants.append(Variant(f"{method} {name}={_word(value)}", method, settings, tags=tags))
    return variants


def shipped() -> list[Variant]:
    """Return the presets that are shipped, and the oracle's mask under the default settings."""
    names = [name for name in dict.fromkeys((DEFAULT_PRESET, "fast", "best", "paper")) if name in PRESETS]
    return [
        *(Variant(name, preset=name, tags={PANELS: 1}) for name in names),
        Variant("oracle_mask", "oracle_mask", preset=DEFAULT_PRESET),
    ]


def presets() -> list[Variant]:
    """Return every preset, for choosing among them on dev."""
    return [Variant(name, preset=name) for name in dict.fromkeys((DEFAULT_PRESET, *PRESETS))]


PEERS: Final[Mapping[str, str]] = {
    "diffusers_diffedit": DEFAULT_PRESET,
    "diffusers_diffedit_paper": "paper",
    "diffusers_diffedit_tuned": DEFAULT_PRESET,
    "diffusers_diffedit_tuned_pasted": DEFAULT_PRESET,
    "leditspp": DEFAULT_PRESET,
    "leditspp_tuned": DEFAULT_PRESET,
    "diffusers_img2img": "paper",
    "diffusers_img2img_tuned": DEFAULT_PRESET,
    "diffusers_inpaint_our_mask_pasted": DEFAULT_PRESET,
}
"""Each peer, and the preset whose numbers it gets where it takes any: the paper's 40 of 50 steps are the defaults of
image-to-image too."""


def peers() -> list[Variant]:
    """Return the default, fast and paper presets, and all peers, at their defaults and tuned."""
    ours = [Variant(name, preset=name) for name in dict.fromkeys((DEFAULT_PRESET, "fast", "paper"))]
    return [*ours, *(Variant(name, name, preset=preset, tags={PANELS: 1}) for name, preset in PEERS.items())]


def tradeoff() -> list[Variant]:
    """Return every baseline at every ratio, under the default settings otherwise."""
    variants = [Variant("copy", "copy"), Variant("retrieve", "retrieve")]
    for method in METHODS:
        for ratio in RATIOS:
            tags = {"curve": method, "ratio": ratio}
            settings = Settings.from_preset(DEFAULT_PRESET, ratio=ratio)
            variants.append(Variant(f"{method} r={ratio:g}", method, settings, tags=tags))
    return variants


def phrasings(method: str, names: Iterable[Any]) -> list[Variant]:
    """Return the default under some ways of putting the texts."""
    base = Settings.from_preset(DEFAULT_PRESET)
    return [
        Variant(f"{method} texts={name}", method, base, name, tags={"vary": "texts", "value": name, "line": method})
        for name in names
    ]


def ablations() -> list[Variant]:
    """Return the default first, then other values of the painting's switches, one at a time."""
    base = Settings.from_preset(DEFAULT_PRESET)
    others = phrasings("diffedit", ("phrases", "empty"))
    return [Variant("default", "diffedit", base), *varied(PAINT_SWITCHES, "diffedit", base), *others]


def masks() -> list[Variant]:
    """Return the default's mask first, then the switches of the mask, one at a time."""
    base = Settings.from_preset(DEFAULT_PRESET)
    others = phrasings("mask", ("captions", "phrases", "empty"))
    return [Variant("default", "mask", base), *varied(MASK_SWITCHES, "mask", base), *others]


STUDIES: Final[Mapping[str, Study]] = {
    "shipped": Study(shipped, "test", 30),
    "peers": Study(peers, "test", 10, share=False, measure_memory=True),
    "presets": Study(presets, "dev", 10),
    "tradeoff": Study(tradeoff, "dev", 10),
    "ablations": Study(ablations, "dev", 10),
    "masks": Study(masks, "dev", 20),
}


def run_study(
    name: str, out: Path, *, workers: int = 1, limit: int | None = None, only: tuple[str, ...] = (), force: bool = False
) -> None:
    """Run the missing rows of one study, or of some of its variants, and write its report."""
    from wordbrush.batch.runner import Progress
    from wordbrush.evaluation.report import summary_table, write_report
    from wordbrush.evaluation.run_plots import plots_of
    from wordbrush.evaluation.summary import summarise
    from wordbrush.evaluation.truth_run import run_truth
    from wordbrush.files import write_atomic

    study, critic = STUDIES[name], HERE / "truth" / "critic"
    plan = RunPlan(
        variants=tuple(study.variants()),
        bench=HERE / "truth",
        judge=HERE / "truth" / "judge",
        critic=critic if critic.is_dir() else None,
        load={"dtype": "float32"},
        split=study.split,
        kinds=KINDS,
        limit=limit or study.limit,
        workers=workers,
        share=study.share,
        measure_memory=study.measure_memory,
        only=only,
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
    line.add_argument("--workers", type=int, default=1)
    line.add_argument("--limit", type=int, default=None, help="items a kind, instead of the study's own number")
    line.add_argument("--only", action="append", default=[], help="only this variant for now; repeatable")
    line.add_argument("--force", action="store_true", help="start anew")
    line.add_argument("--publish", type=Path, default=None, help="write tables and plots of the runs in this folder")
    args = line.parse_args()
    for name in args.studies:
        only = tuple(args.only)
        run_study(name, args.out, workers=args.workers, limit=args.limit, only=only, force=args.force)
    if args.publish is not None:
        from benchmarks.publish import publish

        publish(args.publish)


if __name__ == "__main__":
    main()
