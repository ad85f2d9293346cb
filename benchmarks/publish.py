"""Write the tables and plots of docs/benchmark.md, and the sentences of README.md, from the runs of `benchmarks.study`.

A page holds blocks between `<!-- table NAME -->` and `<!-- end -->`; each is replaced by the table of that name. What
stands outside the blocks is written by hand. A run with fewer than 10 items of a kind is not published.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from wordbrush.evaluation.cells import p_text
from wordbrush.evaluation.paired import FEWEST
from wordbrush.evaluation.plan import ran
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import SCOPES, scope_of

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "benchmark.md"
README: Final = DOCS.parent / "README.md"
PLOTS: Final = DOCS / "benchmark"

Result = dict[str, Any]
Figure = Mapping[str, Any]
NAMES: Final = {
    "mask_iou": "mask IoU",
    "mask_ceiling": "ceiling",
    "mask_precision": "precision",
    "mask_recall": "recall",
    "outside_changed": "bytes outside",
    "rms": "rms",
    "band_rms": "band rms",
    "background_rms": "background rms",
    "peak_memory": "memory",
    "distance_to_input": "distance to input",
}
"""Heads of columns, where the name of the metric is not enough."""


def scopes(result: Result) -> list[str]:
    """Return the scopes of a run, the wide ones first."""
    return list(next(iter(result["summary"].values())))


def fewest(result: Result) -> int:
    """Return the number of items of the smallest kind over all variants of a run."""
    counts = [
        max((figure["n"] for figure in by_scope[kind].values()), default=0)
        for by_scope in result["summary"].values()
        for kind in result["bench"]["kinds"]
    ]
    return min(counts)


def value(figure: Figure | None, decimals: int, *, wide: bool = True) -> str:
    """Return a mean with its interval in brackets, or a dash."""
    if figure is None:
        return "–"
    mean = f"{figure['mean']:.{decimals}f}"
    if not wide or figure["low"] is None or figure["how"] == "equal":
        return mean
    return f"{mean} [{figure['low']:.{decimals}f}, {figure['high']:.{decimals}f}]"


def difference(figure: Figure | None, decimals: int) -> str:
    """Return a paired difference with p, and for shares on how many items each side alone succeeded."""
    if figure is None:
        return "–"
    if figure["p"] is None:
        return "n too small"
    told = f"{figure['won']} : {figure['lost']}, " if figure["test"] == "mcnemar" else ""
    return f"{figure['mean']:+.{decimals}f} ({told}{p_words(figure['p'])})"


def p_words(p: float) -> str:
    """Return a p value as it stands in a sentence."""
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _found(result: Result, variant: str, scope: str, metric: str) -> Figure | None:
    """Return a mean from the figures that can be repeated, or from those of one machine."""
    part = "timed" if METRICS[metric].timed else "summary"
    figure: Figure | None = result[part].get(variant, {}).get(scope, {}).get(metric)
    return figure


def _gap(result: Result, variant: str, metric: str) -> Figure | None:
    """Return the difference to the baseline at the metric's headline scope."""
    scope = scope_of(metric, scopes(result))
    figure: Figure | None = result["differences"].get(variant, {}).get(scope, {}).get(metric)
    return figure


def _count(result: Result, variant: str, scope: str) -> str:
    return str(max((figure["n"] for figure in result["summary"][variant][scope].values()), default=0))


def _places(result: Result, metrics: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the headline scope of each metric, and the scopes that these are."""
    places = {metric: scope_of(metric, scopes(result)) for metric in metrics}
    return places, list(dict.fromkeys(places.values()))


def _head(metric: str, all_scopes: Sequence[str]) -> str:
    name, scope = NAMES.get(metric, metric.replace("_", " ")), scope_of(metric, all_scopes)
    return name if scope == all_scopes[0] else f"{name} ({scope})"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)]
    return "\n".join(rows)


def by_kind(result: Result, variant: str, metrics: Sequence[str]) -> str:
    """Return one variant's figures: a line for each scope. A metric with a scope of its own has no other wide mean."""
    wide, lines = {"mask_iou", "rms", "band_rms", "success", "clean", "added"}, []
    for scope in scopes(result):
        cells = []
        for metric in metrics:
            elsewhere = scope in SCOPES and METRICS[metric].scope not in ("all", scope)
            figure = None if elsewhere else _found(result, variant, scope, metric)
            cells.append(value(figure, METRICS[metric].decimals, wide=metric in wide))
        lines.append([scope, _count(result, variant, scope), *cells])
    return _table(["kind", "n", *(NAMES.get(name, name.replace("_", " ")) for name in metrics)], lines)


def by_variant(result: Result, metrics: Sequence[str], names: Sequence[str] | None = None) -> str:
    """Return a line for each variant, each metric at its headline scope."""
    (places, used), lines = _places(result, metrics), []
    plain = {"evaluations", "seconds", "peak_memory", "kept", "distance_to_input", "background_rms", "untouched"}
    for name in names or result["summary"]:
        cells = (
            value(_found(result, name, place, metric), METRICS[metric].decimals, wide=metric not in plain)
            for metric, place in places.items()
        )
        lines.append([name, " / ".join(_count(result, name, scope) for scope in used), *cells])
    head = (_head(metric, scopes(result)) for metric in metrics)
    return _table(["variant", f"n ({' / '.join(used)})", *head], lines)


def by_kind_of(result: Result, kind: str, metrics: Sequence[str]) -> str:
    """Return a line for each variant at one kind."""
    lines = []
    for name in result["summary"]:
        cells = (value(_found(result, name, kind, metric), METRICS[metric].decimals) for metric in metrics)
        lines.append([name, _count(result, name, kind), *cells])
    return _table([kind, "n", *(NAMES.get(name, name.replace("_", " ")) for name in metrics)], lines)


def against(result: Result, metrics: Sequence[str]) -> str:
    """Return each variant's paired differences to the baseline, each metric at its headline scope."""
    (places, used), lines = _places(result, metrics), []
    for name in result["differences"]:
        figures = {metric: _gap(result, name, metric) for metric in metrics}
        cells = (difference(figure, METRICS[metric].decimals) for metric, figure in figures.items())
        counts = [[f["n"] for metric, f in figures.items() if f and places[metric] == scope] for scope in used]
        lines.append([name, " / ".join(str(max(known, default=0)) for known in counts), *cells])
    head = (_head(metric, scopes(result)) for metric in metrics)
    return _table([f"less {result['baseline']}", f"n ({' / '.join(used)})", *head], lines)


def by_switch(result: Result, metrics: Sequence[str]) -> str:
    """Return a line for the default and each value of each switch, with the paired difference in the first metric."""
    first, all_scopes, lines = metrics[0], scopes(result), []
    _, used = _places(result, metrics)
    for variant in result["variants"]:
        name, tags = variant["name"], variant["tags"]
        if name not in result["summary"]:
            continue
        cells = [value(_found(result, name, scope_of(m, all_scopes), m), METRICS[m].decimals) for m in metrics]
        what = [str(tags["vary"]), str(tags["value"])] if "vary" in tags else ["default", ""]
        apart = "" if name == result["baseline"] else difference(_gap(result, name, first), METRICS[first].decimals)
        lines.append([*what, " / ".join(_count(result, name, scope) for scope in used), *cells, apart])
    heads = [_head(metric, all_scopes) for metric in metrics]
    return _table(["switch", "value", f"n ({' / '.join(used)})", *heads, f"{heads[0]} less the default's"], lines)


def how(result: Result) -> str:
    """Return on what a study ran, and what each variant really ran."""
    model, bench = result["model"], result["bench"]
    lines = [
        f"Split {bench['split']}, {bench['limit']} items a kind, seed {result['seed']}; {model['name']} in "
        f"{model['dtype']}, weights {model['sha256'][:12]}.",
        "",
        *(f"- `{v['name']}`: {ran(v)}" for v in result["variants"] if v["name"] in result["summary"]),
    ]
    return "\n".join(lines)


_KIND: Final = (
    "mask_iou", "mask_ceiling", "mask_precision", "mask_recall", "rms", "band_rms", "success", "kept", "clean",
    "outside_changed",
)  # fmt: skip
_EDIT: Final = ("mask_iou", "rms", "band_rms", "success", "kept", "clean", "added", "untouched", "evaluations")
_GAPS: Final = ("mask_iou", "rms", "band_rms", "success", "clean")
_TRADE: Final = ("rms", "success", "kept", "clean", "background_rms", "distance_to_input", "evaluations")

TABLES: Final[dict[str, tuple[str, Callable[[Result], str]]]] = {
    "shipped": ("shipped", lambda r: by_kind(r, r["baseline"], _KIND)),
    "additions": ("shipped", lambda r: by_kind_of(r, "addition", ("success", "clean", "added", "outside_changed"))),
    "presets": ("shipped", lambda r: by_variant(r, _EDIT)),
    "presets-gaps": ("shipped", lambda r: against(r, _GAPS)),
    "presets-how": ("shipped", how),
    "peers": ("peers", lambda r: by_variant(r, (*_EDIT, "background_rms", "seconds", "peak_memory"))),
    "peers-gaps": ("peers", lambda r: against(r, (*_GAPS, "background_rms"))),
    "peers-how": ("peers", how),
    "tradeoff": ("tradeoff", lambda r: by_variant(r, _TRADE)),
    "ablations": ("ablations", lambda r: by_switch(r, ("rms", "success", "clean"))),
    "masks": ("masks", lambda r: by_switch(r, ("mask_iou", "mask_precision", "mask_recall"))),
}
"""Each block of the page: the study that it shows, and the function that writes its table."""

def measured(shipped: Result, peers: Result) -> str:
    """Return the sentences of the README: what the default reaches, and how a tuned peer compares on the same edits.

    Shares are of the six kinds without additions, rms is that of the kinds whose counterfactual is determined.
    """
    ours, theirs = shipped["baseline"], "diffusers_diffedit_tuned"

    def mean(result: Result, variant: str, metric: str, *, percent: bool = False) -> str:
        figure = _found(result, variant, scope_of(metric, scopes(result)), metric)
        if figure is None:
            return "–"
        return f"{100 * figure['mean']:.0f} %" if percent else f"{figure['mean']:.{min(2, METRICS[metric].decimals)}f}"

    def p_of(metric: str) -> str:
        figure = _gap(peers, theirs, metric)
        return "no test" if figure is None or figure["p"] is None else p_words(figure["p"])

    low, high = (100 * shipped["summary"][ours]["all"]["success"][end] for end in ("low", "high"))
    share = {name: mean(peers, name, "success", percent=True) for name in (ours, theirs, "diffusers_diffedit")}
    text = (
        f"On {_count(shipped, ours, 'all')} of them, scenes that the shipped model never saw, a small classifier sees "
        f"what should have changed in {mean(shipped, ours, 'success', percent=True)} ({low:.0f} to {high:.0f}), a "
        f"critic of drawing faults calls {mean(shipped, ours, 'clean', percent=True)} clean, and the mask overlaps the "
        f"true region with an IoU of {mean(shipped, ours, 'mask_iou')}. On the same checkpoint and "
        f"{_count(peers, ours, 'all')} edits DiffEdit of diffusers, tuned on the same dev split, succeeds in "
        f"{share[theirs]} (at its defaults in {share['diffusers_diffedit']}) and this in {share[ours]}, "
        f"{p_of('success')}; its pictures differ from the right ones by an rms of {mean(peers, theirs, 'rms')} of 255, "
        f"these by {mean(peers, ours, 'rms')}, {p_of('rms')}."
    )
    bound = text.replace(" %", "\u00a0%")  # a number and its sign on one line
    return textwrap.fill(bound, 120, break_on_hyphens=False).replace("\u00a0", " ")


PLOTS_OF: Final = {"tradeoff": "success-against", "masks": "mask-iou-by-threshold"}
"""The plots of each study on the page: those whose file names hold this word."""


def filled(page: str, block: str, table: str) -> str:
    """Return the page with one block replaced; raises `ValueError` where the page has no such block."""
    before, start, rest = page.partition(f"<!-- table {block} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not start or not end:
        raise ValueError(f"the page has no block {block!r}")
    return f"{before}{start}{table}\n{end}{after}"


def publishable(runs: Path) -> dict[str, Result]:
    """Return the results of the studies that were run on enough items; others are told and left out."""
    results = {}
    for study in dict.fromkeys(study for study, _ in TABLES.values()):
        source = runs / study / "result.json"
        if not source.is_file():
            continue
        result = json.loads(source.read_text(encoding="utf-8"))
        if fewest(result) < FEWEST:
            print(f"{study}: n too small: {fewest(result)} items of a kind, {FEWEST} are needed", file=sys.stderr)
        else:
            results[study] = result
    return results


def publish(runs: Path) -> None:
    """Fill the blocks of both pages and copy the plots of every study that was run into `docs/benchmark`."""
    page, results = PAGE.read_text(encoding="utf-8"), publishable(runs)
    for block, (study, write) in TABLES.items():
        if study in results:
            page = filled(page, block, write(results[study]))
    for study, word in PLOTS_OF.items():
        if study in results:
            page = filled(page, f"plots-{study}", kept_plots(runs / study / "plots", study, word))
    PAGE.write_text(page, encoding="utf-8")
    if {"shipped", "peers"} <= results.keys():
        text = measured(results["shipped"], results["peers"])
        README.write_text(filled(README.read_text(encoding="utf-8"), "measured", text), encoding="utf-8")


def kept_plots(folder: Path, study: str, word: str) -> str:
    """Copy a study's plots whose names hold `word`; return the lines that show them."""
    lines = []
    PLOTS.mkdir(exist_ok=True)
    for plot in sorted(folder.glob(f"*{word}*.svg")):
        words = plot.stem.split("-", 1)[1]  # the number in front orders them
        shutil.copyfile(plot, PLOTS / f"{study}-{words}.svg")
        lines.append(f"![{words.replace('-', ' ')}]({PLOTS.name}/{study}-{words}.svg)")
    return "\n".join(lines)
