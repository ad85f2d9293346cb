"""Write the tables and plots of docs/benchmark.md from the runs of `benchmarks.study`.

A page holds blocks between `<!-- table NAME -->` and `<!-- end -->`; each is replaced by the table of that name. What
stands outside the blocks is written by hand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "benchmark.md"
PLOTS: Final = DOCS / "benchmark"

Result = dict[str, Any]
KINDS: Final = ("object", "colour", "pair", "removal", "addition", "ground", "time")


def _value(figure: dict[str, float] | None, decimals: int, *, interval: bool = True) -> str:
    if figure is None:
        return "–"
    mean, low, high = (f"{figure[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return mean if not interval or low == high else f"{mean} [{low}, {high}]"


def _cell(result: Result, variant: str, scope: str, metric: str, decimals: int = 3, *, interval: bool = True) -> str:
    for part in ("summary", "timed"):
        figure = result[part].get(variant, {}).get(scope, {}).get(metric)
        if figure is not None:
            return _value(figure, decimals, interval=interval)
    return "–"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)]
    return "\n".join(rows)


def by_kind(result: Result, variant: str) -> str:
    """Return one variant's figures: a line for each scope."""
    metrics = (
        ("contrast_auc", 3), ("contrast_best_iou", 3), ("mask_iou", 3), ("mask_precision", 3), ("mask_recall", 3),
        ("background_psnr", 1), ("success", 3), ("kept", 3), ("joint", 3), ("closeness_psnr", 1), ("closeness_ssim", 3),
    )  # fmt: skip
    scopes = [scope for scope in ("all", "local", *KINDS) if scope in result["summary"][variant]]
    wide = {"mask_iou", "success", "joint"}
    lines = [[s, *(_cell(result, variant, s, m, d, interval=m in wide) for m, d in metrics)] for s in scopes]
    return _table(["kind", *(name.replace("_", " ") for name, _ in metrics)], lines)


def against(result: Result, first: str, second: str) -> str:
    """Return the success of two variants side by side, and the paired difference."""
    scopes = [scope for scope in ("all", "local", *KINDS) if scope in result["summary"][first]]
    lines = []
    for scope in scopes:
        gap = result["differences"].get(second, {}).get(scope, {}).get("success")
        cells = [_cell(result, name, scope, m) for m in ("success", "joint") for name in (first, second)]
        lines.append([scope, *cells, _value(gap, 3)])
    head = ["kind", f"success, {first}", f"success, {second}", f"joint, {first}", f"joint, {second}"]
    return _table([*head, f"success: {second} less {first}"], lines)


def by_variant(result: Result, metrics: Sequence[tuple[str, int]], scope: str = "all") -> str:
    """Return a line for each variant."""
    lines = [
        [name, *(_cell(result, name, scope, m, d, interval=m in {"success", "joint", "mask_iou"}) for m, d in metrics)]
        for name in result["summary"]
    ]
    return _table(["variant", *(name.replace("_", " ") for name, _ in metrics)], lines)


def by_switch(result: Result, metrics: Sequence[tuple[str, int]]) -> str:
    """Return a line for each value of each switch."""
    lines = []
    for variant in result["variants"]:
        tags = variant["tags"]
        if "vary" in tags:
            cells = (_cell(result, variant["name"], "all", m, d) for m, d in metrics)
            lines.append([str(tags["vary"]), str(tags["value"]), *cells])
    return _table(["switch", "value", *(name.replace("_", " ") for name, _ in metrics)], lines)


_EDIT: Final = (
    ("mask_iou", 3), ("background_psnr", 1), ("success", 3), ("kept", 3), ("joint", 3), ("closeness_psnr", 1),
    ("closeness_ssim", 3), ("evaluations", 0),
)  # fmt: skip
_TRADE: Final = (
    ("success", 3), ("kept", 3), ("joint", 3), ("background_psnr", 1), ("distance_to_input", 3), ("closeness_psnr", 1)
)  # fmt: skip

TABLES: Final[dict[str, tuple[str, Callable[[Result], str]]]] = {
    "shipped": ("shipped", lambda r: by_kind(r, next(iter(r["summary"])))),
    "oracle": ("shipped", lambda r: against(r, *list(r["summary"])[:2])),
    "peers": ("peers", lambda r: by_variant(r, (*_EDIT, ("seconds", 2), ("peak_memory", 0)))),
    "tradeoff": ("tradeoff", lambda r: by_variant(r, _TRADE)),
    "ablations": ("ablations", lambda r: by_switch(r, (("success", 3), ("kept", 3), ("joint", 3)))),
    "masks": ("masks", lambda r: by_switch(r, (("mask_iou", 3), ("mask_precision", 3), ("mask_recall", 3)))),
}
"""Each block of the page: the study that it shows, and the function that writes its table."""


PLOTS_OF: Final = {"tradeoff": "success-against", "ablations": "joint-", "masks": "mask-iou"}
"""The plots of each study on the page: those whose file names hold this word."""


def filled(page: str, block: str, table: str) -> str:
    """Return the page with one block replaced; raises `ValueError` where the page has no such block."""
    before, start, rest = page.partition(f"<!-- table {block} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not start or not end:
        raise ValueError(f"{PAGE.name} has no block {block!r}")
    return f"{before}{start}{table}\n{end}{after}"


def publish(runs: Path) -> None:
    """Fill the page's blocks and copy the plots of every study that was run into `docs/benchmark`."""
    page = PAGE.read_text(encoding="utf-8")
    PLOTS.mkdir(exist_ok=True)
    for block, (study, write) in TABLES.items():
        source = runs / study / "result.json"
        if not source.is_file():
            continue
        result = json.loads(source.read_text(encoding="utf-8"))
        page = filled(page, block, write(result))
    for study, word in PLOTS_OF.items():
        page = filled(page, f"plots-{study}", kept_plots(runs / study / "plots", study, word))
    PAGE.write_text(page, encoding="utf-8")


def kept_plots(folder: Path, study: str, word: str) -> str:
    """Copy a study's plots whose names hold `word`; return the lines that show them."""
    lines = []
    for plot in sorted(folder.glob(f"*{word}*.svg")):
        words = plot.stem.split("-", 1)[1]  # the number in front orders them
        shutil.copyfile(plot, PLOTS / f"{study}-{words}.svg")
        lines.append(f"![{words.replace('-', ' ')}]({PLOTS.name}/{study}-{words}.svg)")
    return "\n".join(lines)
