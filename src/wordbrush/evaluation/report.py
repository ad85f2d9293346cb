"""The report of a run on the truth bench: JSON, CSV, and one page."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from wordbrush.evaluation.cells import difference_cell, figures_table, mean_cell
from wordbrush.evaluation.examples import choose, read_example
from wordbrush.evaluation.items import DETERMINED_KINDS, LOCAL_KINDS
from wordbrush.evaluation.paired import FEWEST, Difference
from wordbrush.evaluation.plan import PANELS, Row, Rows, ran
from wordbrush.evaluation.run_plots import plots_of
from wordbrush.evaluation.scoring import METRICS, Metric
from wordbrush.evaluation.summary import SCOPES, Comparison, Summary, compare, scope_of, scopes_of, summarise
from wordbrush.pages.page import Cell, Example, Page, Section, Table, grey
from wordbrush.pages.report import Report, failed_section, model_text
from wordbrush.picture.panel import heat_colours
from wordbrush.settings import DEFAULT_PRESET, Settings

__all__ = ["RESULT_SCHEMA", "summary_table", "write_report"]

RESULT_SCHEMA: Final = 2
_VERSIONS: Final = ("wordbrush", "torch", "diffusers", "transformers", "numpy", "scipy", "torchmetrics")
TABLE_METRICS: Final = ("mask_iou", "rms", "band_rms", "success", "kept", "clean", "added", "evaluations", "seconds")
"""The metrics of the short table."""
_INTERVAL: Final = ("mean", "low", "high", "n", "how")
PANEL_METRIC: Final = "closeness_psnr"
"""The metric that orders the examples: every method has it, and it measures the result itself."""

MEANS_NOTE: Final = (
    "Mean and 95 % interval over items, each kind counting the same: exact (Clopper-Pearson) for shares, Student's for "
    f"other means. “all” leaves out additions; “local” is {', '.join(LOCAL_KINDS)}; “determined” is "
    f"{', '.join(DETERMINED_KINDS)}, where the texts determine the counterfactual: read rms there."
)
SIGHT_NOTES: Final = (
    "The judge is a small classifier: it says what a picture shows, not whether it is drawn well. It passes a removal "
    "filled with one flat colour, day made night by darkening alone, and often a picture with a third of the old one "
    "left in it. So success says recognisable.",
    "The critic sees faults of drawing: outlines left over, rims, clipped and doubled shapes, flat fills, blur, halos, "
    "seams. It does not know what was asked for, and is wrong as often as its card says. Clean is what both pass.",
    "The rms to the counterfactual sees everything, and cannot tell a fault from another way of being right: where a "
    "thing's shape is free (object, pair, addition) it says little.",
    "The ceiling of the IoU is that of a perfect segmenter of the old thing: a new outline is in no picture.",
)
"""What the figures can and cannot see."""


def write_report(rows: Rows, out: Path, *, command: str, baseline: str | None = None) -> dict[str, Any]:
    """Write `result.json`, `rows.csv`, `summary.csv` and `report.html` into the run's folder, replacing older ones.

    Args:
        rows: of a run.
        out: its folder.
        command: the command line of the run, for the record.
        baseline: the variant to which the others are compared; by default the first.

    Returns:
        The content of `result.json`. Everything in it but `timed` follows from the checkpoint, the truth bench and the
        settings; `timed` (seconds, memory) is of one machine.

    Raises:
        SettingsError: the run has no such baseline.
        OutputError: a file cannot be written.
    """
    base = baseline or rows.plan.variants[0].name
    summary, differences = summarise(rows), compare(rows, base)
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
        [variant, scope, metric, *(getattr(interval, name) for name in _INTERVAL)]
        for variant, scopes in summary.items()
        for scope, cells in scopes.items()
        for metric, interval in cells.items()
    )
    tables = {
        "rows": (["item", "kind", "variant", *METRICS, "error"], lines),
        "summary": (["variant", "scope", "metric", *_INTERVAL], means),
    }
    Report(record=result, tables=tables, page=_page(rows, out, result, summary, differences)).write(out)
    return result


def summary_table(rows: Rows, result: dict[str, Any]) -> str:
    """Return a compact table for a terminal: each metric at its headline scope."""
    scopes = scopes_of(rows.plan.kinds)
    variants = [variant.name for variant in rows.plan.variants]
    places = {name: scope_of(name, scopes) for name in TABLE_METRICS}
    names = [name for name in places if any(_interval(result, v, places[name], name) for v in variants)]
    head = ["variant", "n", *(name if places[name] == scopes[0] else f"{name} ({places[name]})" for name in names)]
    body = [
        [
            variant,
            str(_count(rows, variant, scopes[0])),
            *(_short(_interval(result, variant, places[name], name), METRICS[name].decimals) for name in names),
        ]
        for variant in variants
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    bench = result["bench"]
    title = f"{bench['split']}, {bench['items']} items, scope {scopes[0]}: mean [95 % interval]"
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _count(rows: Rows, variant: str, scope: str) -> int:
    """Return the number of items of a scope with a row that did not fail."""
    kinds = SCOPES.get(scope, (scope,))
    return sum(row.variant == variant and row.kind in kinds and row.error is None for row in rows.rows)


def _interval(result: dict[str, Any], variant: str, scope: str, metric: str) -> dict[str, Any] | None:
    part = "timed" if METRICS[metric].timed else "summary"
    interval: dict[str, Any] | None = result[part].get(variant, {}).get(scope, {}).get(metric)
    return interval


def _short(interval: dict[str, Any] | None, decimals: int) -> str:
    if interval is None:
        return "-"
    mean = f"{interval['mean']:.{decimals}f}"
    if interval["low"] is None or interval["how"] == "equal":
        return mean
    return f"{mean} [{interval['low']:.{decimals}f}, {interval['high']:.{decimals}f}]"


def _plain(summary: Summary | Comparison, *, timed: bool) -> dict[str, Any]:
    """Return the figures as JSON values: of the timed metrics (which depend on the machine), or of the others."""
    return {
        variant: {
            scope: {metric: asdict(figure) for metric, figure in cells.items() if METRICS[metric].timed is timed}
            for scope, cells in scopes.items()
        }
        for variant, scopes in summary.items()
    }


def _page(rows: Rows, out: Path, result: dict[str, Any], summary: Summary, differences: Comparison) -> Page:
    bench, model, lpips = result["bench"], result["model"], result["lpips"]
    scopes = scopes_of(rows.plan.kinds)
    facts = {
        "Command": result["words"],
        "Version": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "Model": model_text(model),
        "Bench": f"{bench['items']} items of {len(bench['kinds'])} kinds, {bench['sha256'][:16]}",
        "Judge": str(result["judge"])[:16],
        "Critic": str(result["critic"] or "none here: nothing is said to be clean")[:64],
        "LPIPS": f"skipped: {lpips['skipped']}" if "skipped" in lpips else ", ".join(lpips.values()),
        "Seed": f"{result['seed']}, one for every edit",
    }
    means = [_means(rows, scope, summary, opened=scope == scopes[0]) for scope in scopes]
    sections = [Section("Means", [MEANS_NOTE], means), Section("What the figures see", SIGHT_NOTES)]
    plots = plots_of(rows, summary)
    sections += [Section("Plots", plots=plots)] if plots else []
    if differences:
        note = (
            "Item by item: the mean difference, on how many items each side is higher, and p of the exact McNemar test "
            "for shares, of Wilcoxon's signed ranks for others; not corrected for the number of comparisons. Bold "
            f"where p is below .05 on the better side. With fewer than {FEWEST} items of a kind nothing is claimed."
        )
        tables = [_differences(scope, differences, opened=scope == scopes[0]) for scope in scopes]
        sections.append(Section(f"Differences to {result['baseline']}", [note], tables))
    if any(variant.tags.get(PANELS) for variant in rows.plan.variants):
        note = f"Best, median and worst item by {METRICS[PANEL_METRIC].label}."
        sections.append(Section("Examples", [note], examples=list(_examples(rows, out))))
    sections += failed_section([(f"{r.item}, {r.variant}", str(r.error)) for r in rows.failed], len(rows.rows))
    sections.append(Section("Variants", facts=_variants(result)))
    return Page(f"Truth bench, {bench['split']} split: {model['name']}", facts, sections)


def _means(rows: Rows, scope: str, summary: Summary, *, opened: bool) -> Table:
    """Return a table of variants and metrics, with the number of items of each variant."""
    lines = [(variant, _count(rows, variant, scope), scopes[scope]) for variant, scopes in summary.items()]
    return figures_table(lines, METRICS, mean_cell, "Variant", scope, opened=opened)


def _differences(scope: str, differences: Comparison, *, opened: bool) -> Table:
    """Return a table of variants and paired differences; clear ones on the better side are marked."""
    lines = [
        (variant, max((found.n for found in scopes[scope].values()), default=0), scopes[scope])
        for variant, scopes in differences.items()
    ]

    def cell(found: Difference | None, metric: Metric, _: int) -> Cell:
        return difference_cell(found, metric.decimals, higher=metric.higher)

    return figures_table(lines, METRICS, cell, "Variant", scope, opened=opened)


def _examples(rows: Rows, out: Path) -> Iterator[Example]:
    items = {item.id: item for item in rows.items}
    for variant in rows.plan.variants:
        title = variant.name if variant.tags.get(PANELS) else ""
        for rank, row in choose([r for r in rows.rows if r.variant == variant.name], PANEL_METRIC) if title else ():
            item, example = items[row.item], read_example(out, variant.name, row.item)
            if example is None:
                continue
            reference, query = item.texts[variant.phrasing]
            names = ("closeness_psnr", "mask_iou", "rms", "success", "critic")
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
    """Return what each variant really ran, its phrasing, and its settings that differ from the default preset's."""
    usual = asdict(Settings.from_preset(DEFAULT_PRESET))
    descriptions = {}
    for variant in result["variants"]:
        if variant["name"] not in result["summary"]:
            continue  # left for later by `only`
        changed = [f"{name}={value}" for name, value in variant["settings"].items() if usual.get(name) != value]
        text = ", ".join(changed) or "the default settings"
        descriptions[variant["name"]] = f"{variant['method']}, {variant['phrasing']}; {ran(variant)}; {text}"
    return descriptions
