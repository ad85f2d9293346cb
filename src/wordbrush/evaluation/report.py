"""The report of a run on the truth bench: JSON, CSV, and one page."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from wordbrush.evaluation.bootstrap import Interval
from wordbrush.evaluation.examples import choose, read_example
from wordbrush.evaluation.page import Cell, Example, Page, Section, Table, grey, interval_cell
from wordbrush.evaluation.plan import PANELS, Row, Rows
from wordbrush.evaluation.results import csv_text, json_text, write_results
from wordbrush.evaluation.run_plots import plots_of
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import Summary, compare, scopes_of, summarise
from wordbrush.picture.panel import heat_colours
from wordbrush.settings import DEFAULT_PRESET, Settings

__all__ = ["RESULT_SCHEMA", "summary_table", "write_report"]

RESULT_SCHEMA: Final = 1
_VERSIONS: Final = ("wordbrush", "torch", "diffusers", "transformers", "numpy", "scipy", "torchmetrics")
TABLE_METRICS: Final = ("mask_iou", "background_psnr", "success", "kept", "joint", "closeness_psnr", "evaluations")
"""The metrics of the short table."""
PANEL_METRIC: Final = "closeness_psnr"
"""The metric that orders the examples: every method has it, and it measures the result itself."""


def write_report(
    rows: Rows, out: Path, *, command: str, baseline: str | None = None, resamples: int = 2000
) -> dict[str, Any]:
    """Write `result.json`, `rows.csv`, `summary.csv` and `report.html` into the run's folder, replacing older ones.

    Args:
        rows: of a run.
        out: its folder.
        command: the command line of the run, for the record.
        baseline: the variant to which the others are compared; by default the first.
        resamples: of the bootstrap.

    Returns:
        The content of `result.json`. Everything in it but `timed` follows from the checkpoint, the truth bench and the
        settings; `timed` (seconds, memory) is of one machine.

    Raises:
        SettingsError: the run has no such baseline.
        OutputError: a file cannot be written.
    """
    base = baseline or rows.plan.variants[0].name
    summary, differences = summarise(rows, resamples=resamples), compare(rows, base, resamples=resamples)
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
    result = {
        "schema": RESULT_SCHEMA,
        "command": "eval truth",
        "words": command,
        "versions": {"python": platform.python_version(), **versions},
        **rows.facts,
        "metrics": {name: {"label": m.label, "higher_is_better": m.higher} for name, m in METRICS.items()},
        "baseline": base,
        "failed": [{"item": r.item, "variant": r.variant, "error": r.error} for r in rows.failed],
        "summary": _plain(summary, timed=False),
        "differences": _plain(differences, timed=False),
        "timed": _plain(summary, timed=True),
    }
    lines = ([r.item, r.kind, r.variant, *(r.metrics.get(name) for name in METRICS), r.error] for r in rows.rows)
    means = (
        [variant, scope, metric, interval.mean, interval.low, interval.high, interval.n]
        for variant, scopes in summary.items()
        for scope, cells in scopes.items()
        for metric, interval in cells.items()
    )
    files = {
        "result.json": json_text(result),
        "rows.csv": csv_text(["item", "kind", "variant", *METRICS, "error"], lines),
        "summary.csv": csv_text(["variant", "scope", "metric", "mean", "low", "high", "n"], means),
        "report.html": _page(rows, out, result, summary, differences).html(),
    }
    write_results(out, files)
    return result


def summary_table(rows: Rows, result: dict[str, Any]) -> str:
    """Return a compact table of the widest scope, for a terminal."""
    scope = scopes_of(rows.plan.kinds)[0]
    names = [
        name
        for name in (*TABLE_METRICS, "seconds")
        if any(_interval(result, v.name, scope, name) for v in rows.plan.variants)
    ]
    head = ["variant", *names]
    body = [
        [v.name, *(_short(_interval(result, v.name, scope, name), METRICS[name].decimals) for name in names)]
        for v in rows.plan.variants
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    bench = result["bench"]
    title = f"{bench['split']}, {bench['items']} items, scope {scope}: mean [95 % interval]"
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _interval(result: dict[str, Any], variant: str, scope: str, metric: str) -> dict[str, float] | None:
    part = "timed" if METRICS[metric].timed else "summary"
    interval: dict[str, float] | None = result[part].get(variant, {}).get(scope, {}).get(metric)
    return interval


def _short(interval: dict[str, float] | None, decimals: int) -> str:
    if interval is None:
        return "-"
    mean, low, high = (f"{interval[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return mean if low == high == mean else f"{mean} [{low}, {high}]"


def _plain(summary: Summary, *, timed: bool) -> dict[str, Any]:
    """Return the intervals as JSON values: of the timed metrics (which depend on the machine), or of the others."""
    return {
        variant: {
            scope: {metric: asdict(interval) for metric, interval in cells.items() if METRICS[metric].timed is timed}
            for scope, cells in scopes.items()
        }
        for variant, scopes in summary.items()
    }


def _page(rows: Rows, out: Path, result: dict[str, Any], summary: Summary, differences: Summary) -> Page:
    bench, model, lpips = result["bench"], result["model"], result["lpips"]
    scopes = scopes_of(rows.plan.kinds)
    facts = {
        "Command": result["words"],
        "Version": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "Model": f"{model['name']} ({model['family']}, {model['dtype']}), weights {model['sha256'][:16]}",
        "Bench": f"{bench['items']} items of {len(bench['kinds'])} kinds, {bench['sha256'][:16]}",
        "Judge": str(result["judge"])[:16],
        "LPIPS": f"skipped: {lpips['skipped']}" if "skipped" in lpips else ", ".join(lpips.values()),
        "Seed": str(result["seed"]),
    }
    note = "Mean and 95 % interval by bootstrap over items. Each kind counts the same."
    means = [_table(scope, summary, title=scope, opened=scope == scopes[0]) for scope in scopes]
    sections = [Section("Means", [note], means)]
    plots = plots_of(rows, summary)
    sections += [Section("Plots", plots=plots)] if plots else []
    if differences:
        note = f"Item by item, {scopes[0]}; bold where the interval is on the better side of 0."
        table = _table(scopes[0], differences, sign="+")
        sections.append(Section(f"Differences to {result['baseline']}", [note], [table]))
    if any(variant.tags.get(PANELS) for variant in rows.plan.variants):
        note = f"Best, median and worst item by {METRICS[PANEL_METRIC].label}."
        sections.append(Section("Examples", [note], examples=list(_examples(rows, out))))
    if rows.failed:
        lines = [f"{r.item}, {r.variant}: {r.error}" for r in rows.failed]
        sections.append(Section(f"Failed: {len(rows.failed)} of {len(rows.rows)}", lines=lines))
    sections.append(Section("Variants", facts=_variants(result)))
    return Page(f"Truth bench, {bench['split']} split: {model['name']}", facts, sections)


def _table(scope: str, summary: Summary, *, title: str = "", opened: bool = True, sign: str = "") -> Table:
    """Return a table of variants and metrics; with a sign the values are differences, and better ones are marked."""
    names = [name for name in METRICS if any(name in scopes[scope] for scopes in summary.values())]

    def cell(name: str, interval: Interval | None) -> Cell:
        higher = METRICS[name].higher
        better = bool(sign and interval and higher is not None and (interval.low > 0 if higher else interval.high < 0))
        return interval_cell(interval, METRICS[name].decimals, sign=sign, better=better)

    rows = [[Cell(variant), *(cell(n, scopes[scope].get(n)) for n in names)] for variant, scopes in summary.items()]
    return Table(["Variant", *(METRICS[name].label for name in names)], rows, title, opened)


def _examples(rows: Rows, out: Path) -> Iterator[Example]:
    items = {item.id: item for item in rows.items}
    for variant in rows.plan.variants:
        title = variant.name if variant.tags.get(PANELS) else ""
        for rank, row in choose([r for r in rows.rows if r.variant == variant.name], PANEL_METRIC) if title else ():
            item, example = items[row.item], read_example(out, variant.name, row.item)
            if example is None:
                continue
            reference, query = item.texts[variant.phrasing]
            names = ("closeness_psnr", "mask_iou", "background_psnr", "success")
            tiles = {
                "input": item.picture,
                "true region": grey(item.region),
                "contrast": heat_colours(example.contrast),
                "mask": grey(example.mask),
                "result": example.result,
                "counterfactual": item.counterfactual,
            }
            note = ", ".join([row.item, *(_score_text(row, name) for name in names)])
            yield Example(f"{rank}: “{reference}” → “{query}”", note, tiles, title)
            title = ""


def _score_text(row: Row, name: str) -> str:
    value = row.metrics.get(name)
    if isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "–" if value is None else f"{value:.{METRICS[name].decimals}f}"
    return f"{name.replace('_', ' ')} {text}"


def _variants(result: dict[str, Any]) -> dict[str, str]:
    """Return each variant's method, phrasing, and settings that differ from the default preset's."""
    usual = asdict(Settings.from_preset(DEFAULT_PRESET))
    descriptions = {}
    for variant in result["variants"]:
        changed = [f"{name}={value}" for name, value in variant["settings"].items() if usual.get(name) != value]
        text = ", ".join(changed) or "the default settings"
        descriptions[variant["name"]] = f"{variant['method']}, {variant['phrasing']}; {text}"
    return descriptions
