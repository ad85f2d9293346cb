"""The report of a protocol's run: `result.json`, `rows.csv`, `figures.csv` and one page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.evaluation.protocols.measuring import Pair
from wordbrush.evaluation.protocols.tables import Table
from wordbrush.files import write_atomic

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.networks.figures import Figure

__all__ = ["SCHEMA", "Report", "figure_lines", "shown_number", "write_report"]

SCHEMA: Final = 1
EXAMPLES: Final = 12
"""Entries shown on the page: the first ones, so that nothing is picked."""
_SIDE: Final = 256
_FIGURE_COLUMNS: Final = (
    "table", "row", "metric", "value", "low", "high", "n", "undefined", "backbone", "weights_sha256", "resize",
    "preprocessing", "implementation", "skipped",
)  # fmt: skip
_STYLE: Final = """
:root { color-scheme: light dark; --soft: #6a6a72; --grid: #d8d8d3; }
@media (prefers-color-scheme: dark) { :root { --soft: #9d9da6; --grid: #3a3a41; } }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
p, li, dd, td { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(6rem, auto) 1fr; gap: .1rem 1rem; font-size: .9rem; }
dt, .soft, td small { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .5rem; margin: .25rem 0 1rem; }
figure { margin: 0; } .row img { width: 100%; height: auto; } figcaption { font-size: .8rem; }
"""


@dataclass(frozen=True, eq=False)
class Report:
    """What a report is made of.

    Attributes:
        command: such as `eval pie`.
        facts: what decides the results, see `running.run_facts`.
        counts: how many entries there are, are done, failed.
        tables: the figures.
        pairs: what was edited.
        values: of single entries.
        faults: what went wrong, by entry.
        notes: what else should be known.
    """

    command: str
    facts: Mapping[str, Any]
    counts: Mapping[str, int]
    tables: Sequence[Table]
    pairs: Sequence[Pair]
    values: Mapping[str, Scores]
    faults: Mapping[str, str]
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what stands in `result.json` and what `--json` prints."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            **self.facts,
            "entries": dict(self.counts),
            "notes": list(self.notes),
            "failed": [{"id": name, "error": text} for name, text in self.faults.items()],
            "tables": [table.as_dict() for table in self.tables],
        }


def write_report(report: Report, folder: Path) -> dict[str, Any]:
    """Write the files of a report into the run's folder, replacing older ones; return what stands in `result.json`.

    Raises:
        OutputError: a file cannot be written.
    """
    result = report.as_dict()
    files = {
        "result.json": json.dumps(result, indent=1, allow_nan=False) + "\n",
        "rows.csv": _rows_csv(report),
        "figures.csv": _csv(_FIGURE_COLUMNS, _figure_rows(result)),
        "report.html": _page(report, result),
    }
    for name, text in files.items():
        write_atomic(folder / name, text.encode(), force=True)
    return result


def figure_lines(table: Table) -> list[str]:
    """Return the figures of one table row as lines for a terminal, what was skipped last."""
    known = [figure for figure in table.figures if not figure.skipped]
    width = max((len(figure.metric) for figure in table.figures), default=0)
    lines = [f"{figure.metric:<{width}}  {_told(figure)}" for figure in known]
    return lines + [
        f"{figure.metric:<{width}}  skipped: {figure.skipped}" for figure in table.figures if figure.skipped
    ]


def _told(figure: Figure) -> str:
    text = shown_number(figure.value)
    if figure.interval is not None and figure.interval.n > 1:
        text += f"  [{shown_number(figure.interval.low)}, {shown_number(figure.interval.high)}]"
    network = (
        f"  {figure.backbone}, weights {figure.weights_sha256[:12]}, resize {figure.resize}" if figure.backbone else ""
    )
    return f"{text}  n={figure.n}{network}"


def shown_number(value: float | None) -> str:
    """Return a number with four digits that count."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _csv(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return buffer.getvalue()


def _rows_csv(report: Report) -> str:
    """Return one line an entry; what is not defined is empty, truth is 1 or 0."""
    groups = sorted({name for pair in report.pairs for name in pair.entry.groups})
    columns = list(dict.fromkeys(name for row in report.values.values() for name in row))
    facts = ("query", "reference", "seed", "mask_area", "seconds", "evaluations")
    lines: list[list[Any]] = []
    for pair in report.pairs:
        row, values, name = pair.row, report.values.get(pair.entry.id, {}), pair.entry.id
        cells = [row.get(fact) for fact in facts] + [values.get(column) for column in columns]
        lines.append([name, *(pair.entry.groups.get(g) for g in groups), *map(_cell, cells), report.faults.get(name)])
    done = {pair.entry.id for pair in report.pairs}
    blank = [None] * (len(groups) + len(facts) + len(columns))
    lines += [[name, *blank, text] for name, text in report.faults.items() if name not in done]
    return _csv(["id", *groups, *facts, *columns, "error"], lines)


def _cell(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _figure_rows(result: Mapping[str, Any]) -> Iterator[list[Any]]:
    for table in result["tables"]:
        for figure in table["figures"]:
            span = figure["interval"] or {}
            row = {
                **figure,
                "table": table["table"],
                "row": table["row"],
                "low": span.get("low"),
                "high": span.get("high"),
            }
            yield [row[name] for name in _FIGURE_COLUMNS]


def _page(report: Report, result: Mapping[str, Any]) -> str:
    title = f"{report.command}: {report.facts['model']['name']}, {report.facts['method']}"
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _facts(result),
            *(f"<p>{escape(note)}</p>" for note in report.notes),
            "<h2>Figures</h2>",
            "<p class=soft>Mean and 95 % interval by bootstrap over entries.</p>",
            _all_figures(report.tables[0]),
            *_grouped(report.tables[1:]),
            *_failures(report.faults),
            f"<h2>The first entries</h2>{''.join(map(_example, report.pairs[:EXAMPLES]))}",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _facts(result: Mapping[str, Any]) -> str:
    model, counts = result["model"], result["entries"]
    lines = {
        "Model": f"{model['name']} ({model['family']}, {model['dtype']}), weights {model['sha256'][:16]}",
        "Entries": ", ".join(f"{name} {count}" for name, count in counts.items()),
        "Preset": str(result["preset"]),
        "Settings": ", ".join(f"{name}={value}" for name, value in result["settings"].items()),
        "Seed": str(result["seed"]),
        "Data": ", ".join(f"{name}={str(value)[:80]}" for name, value in result["data"].items()),
        "Version": result["version"],
    }
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in lines.items()) + "</dl>"


def _all_figures(table: Table) -> str:
    head = "<tr><th>Metric</th><th>Value</th><th>Entries</th><th>Network</th><th>Pictures</th></tr>"
    lines = []
    for figure in table.figures:
        if figure.skipped:
            lines.append(
                f"<tr><td>{escape(figure.metric)}</td><td colspan=4>skipped: {escape(figure.skipped)}</td></tr>"
            )
            continue
        network = f"{escape(figure.backbone)} <small>{figure.weights_sha256[:16]}</small>" if figure.backbone else ""
        lines.append(
            f"<tr><td>{escape(figure.metric)}</td><td class=number>{_number(figure)}</td>"
            f"<td class=number>{figure.n}</td><td>{network}</td><td>{escape(figure.preprocessing)}</td></tr>"
        )
    return f"<div class=wide><table>{head}{''.join(lines)}</table></div>"


def _number(figure: Figure) -> str:
    span = figure.interval
    more = f"<br><small>{shown_number(span.low)} … {shown_number(span.high)}</small>" if span and span.n > 1 else ""
    return f"{shown_number(figure.value)}{more}"


def _grouped(tables: Sequence[Table]) -> Iterator[str]:
    """Yield one table for each grouping: groups down, metrics across."""
    for name in dict.fromkeys(table.table for table in tables):
        rows = [table for table in tables if table.table == name]
        metrics = [
            f.metric for i, f in enumerate(rows[0].figures) if any(row.figures[i].value is not None for row in rows)
        ]
        head = "".join(f"<th>{escape(metric)}</th>" for metric in ("", "entries", *metrics))
        lines = []
        for row in rows:
            cells = "".join(f"<td class=number>{_number(f)}</td>" for f in row.figures if f.metric in metrics)
            lines.append(f"<tr><td>{escape(row.row)}</td><td class=number>{row.entries}</td>{cells}</tr>")
        yield f"<h2>By {escape(name)}</h2><div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _failures(faults: Mapping[str, str]) -> Iterator[str]:
    if faults:
        lines = "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in faults.items())
        yield f"<h2>Failed: {len(faults)}</h2><ul>{lines}</ul>"


def _example(pair: Pair) -> str:
    fresh = Pair(pair.entry, pair.row, pair.folder)
    tiles = [("input", fresh.source)]
    tiles += [] if fresh.region is None else [("region", _grey(fresh.region))]
    tiles += [] if fresh.mask is None else [("mask", _grey(fresh.mask))]
    tiles.append(("result", fresh.edited))
    texts = f"“{pair.entry.reference}” → “{pair.entry.query}”"
    figures = "".join(_tile(name, picture) for name, picture in tiles)
    return f"<p>{escape(texts)} <span class=soft>{escape(pair.entry.id)}</span></p><div class=row>{figures}</div>"


def _grey(mask: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.rint(mask.astype(np.float32) * 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def _tile(name: str, picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'
