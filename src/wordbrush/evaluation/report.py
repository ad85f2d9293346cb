"""The report of a run: JSON, CSV, and one page of HTML that needs nothing else."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from wordbrush.evaluation.page import render
from wordbrush.evaluation.plan import Rows
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import Summary, compare, scopes_of, summarise
from wordbrush.files import write_atomic

__all__ = ["RESULT_SCHEMA", "rows_csv", "summary_csv", "summary_table", "write_report"]

RESULT_SCHEMA: Final = 1
_VERSIONS: Final = ("wordbrush", "torch", "diffusers", "transformers", "numpy", "scipy", "torchmetrics")
TABLE_METRICS: Final = ("mask_iou", "background_psnr", "success", "kept", "joint", "closeness_psnr", "evaluations")
"""What the short table shows."""


def write_report(
    rows: Rows, out: Path, *, command: str, baseline: str | None = None, resamples: int = 2000
) -> dict[str, Any]:
    """Write `result.json`, `rows.csv`, `summary.csv` and `report.html` into the run's folder, replacing older ones.

    Args:
        rows: of a run.
        out: its folder.
        command: the words that made it, to be told.
        baseline: the variant to which the others are compared; by default the first.
        resamples: of the bootstrap.

    Returns:
        What stands in `result.json`. Everything in it but `timed` follows from the checkpoint, the bench and the
        settings; `timed` (seconds, memory) is of one machine.

    Raises:
        SettingsError: the run has no such baseline.
        OutputError: a file cannot be written.
    """
    base = baseline or rows.plan.variants[0].name
    summary, differences = summarise(rows, resamples=resamples), compare(rows, base, resamples=resamples)
    result = {
        "schema": RESULT_SCHEMA,
        "command": "eval truth",
        "words": command,
        "versions": {"python": platform.python_version(), **_versions()},
        **rows.facts,
        "metrics": {name: {"label": m.label, "higher_is_better": m.higher} for name, m in METRICS.items()},
        "baseline": base,
        "failed": [{"item": r.item, "variant": r.variant, "error": r.error} for r in rows.failed],
        "summary": _plain(summary, timed=False),
        "differences": _plain(differences, timed=False),
        "timed": _plain(summary, timed=True),
    }
    files = {
        "result.json": json.dumps(result, indent=1, allow_nan=False) + "\n",
        "rows.csv": rows_csv(rows),
        "summary.csv": summary_csv(summary),
        "report.html": render(rows, out, result, summary, differences),
    }
    for name, text in files.items():
        write_atomic(out / name, text.encode(), force=True)
    return result


def rows_csv(rows: Rows) -> str:
    """Return one line a row: item, kind, variant, every metric, error; empty where not defined, bools 1 or 0."""
    lines = (
        [r.item, r.kind, r.variant, *(_cell(r.metrics.get(name)) for name in METRICS), r.error or ""] for r in rows.rows
    )
    return _csv(["item", "kind", "variant", *METRICS, "error"], lines)


def summary_csv(summary: Summary) -> str:
    """Return one line a mean: variant, scope, metric, mean, low, high, n."""
    lines = (
        [variant, scope, metric, *(_cell(v) for v in (found.mean, found.low, found.high, found.n))]
        for variant, scopes in summary.items()
        for scope, cells in scopes.items()
        for metric, found in cells.items()
    )
    return _csv(["variant", "scope", "metric", "mean", "low", "high", "n"], lines)


def summary_table(rows: Rows, result: dict[str, Any]) -> str:
    """Return a compact table of the widest scope for a terminal."""
    scope = scopes_of(rows.plan.kinds)[0]
    names = [
        name
        for name in (*TABLE_METRICS, "seconds")
        if any(_found(result, v.name, scope, name) for v in rows.plan.variants)
    ]
    head = ["variant", *names]
    body = [
        [v.name, *(_short(_found(result, v.name, scope, name), METRICS[name].decimals) for name in names)]
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


def _found(result: dict[str, Any], variant: str, scope: str, metric: str) -> dict[str, float] | None:
    part = "timed" if METRICS[metric].timed else "summary"
    found: dict[str, float] | None = result[part].get(variant, {}).get(scope, {}).get(metric)
    return found


def _short(found: dict[str, float] | None, decimals: int) -> str:
    if found is None:
        return "-"
    mean, low, high = (f"{found[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return mean if low == high == mean else f"{mean} [{low}, {high}]"


def _plain(summary: Summary, *, timed: bool) -> dict[str, Any]:
    """Return intervals as JSON values: either those that depend on the machine, or the others."""
    return {
        variant: {
            scope: {metric: asdict(found) for metric, found in cells.items() if METRICS[metric].timed is timed}
            for scope, cells in scopes.items()
        }
        for variant, scopes in summary.items()
    }


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _VERSIONS}


def _cell(value: float | bool | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else repr(value)


def _csv(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return buffer.getvalue()
