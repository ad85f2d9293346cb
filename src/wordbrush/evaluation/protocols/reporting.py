"""The report of a protocol's run: `result.json`, `rows.csv`, `figures.csv` and one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.protocols.measuring import Pair
from wordbrush.evaluation.protocols.tables import FigureRow
from wordbrush.pages.page import Cell, Example, Page, Section, Table, grey
from wordbrush.pages.report import Report, failed_section, model_text

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.figures import Figure

__all__ = ["SCHEMA", "ProtocolReport", "figure_lines", "shown_number", "write_report"]

SCHEMA: Final = 1
EXAMPLES: Final = 12
"""Number of entries shown on the page: the first ones, so that none is picked."""
_FIGURE_COLUMNS: Final = (
    "table", "row", "metric", "value", "low", "high", "n", "undefined", "backbone", "weights_sha256", "resize",
    "preprocessing", "implementation", "skipped",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ProtocolReport:
    """The contents of a protocol's report.

    Attributes:
        command: such as `eval pie`.
        facts: everything that decides the results, from `running.run_facts`.
        counts: how many entries there are, are done, failed.
        tables: the figures, a row each.
        pairs: what was edited.
        values: of single entries.
        faults: what went wrong, by entry.
        notes: what else should be known.
    """

    command: str
    facts: Mapping[str, Any]
    counts: Mapping[str, int]
    tables: Sequence[FigureRow]
    pairs: Sequence[Pair]
    values: Mapping[str, Scores]
    faults: Mapping[str, str]
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `result.json`, which `--json` prints too."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            **self.facts,
            "entries": dict(self.counts),
            "notes": list(self.notes),
            "failed": [{"id": name, "error": text} for name, text in self.faults.items()],
            "tables": [row.as_dict() for row in self.tables],
        }


def write_report(report: ProtocolReport, folder: Path) -> dict[str, Any]:
    """Write the files of a report into the run's folder, replacing older ones; return the content of `result.json`.

    Raises:
        OutputError: a file cannot be written.
    """
    result = report.as_dict()
    tables = {"rows": _rows_table(report), "figures": (_FIGURE_COLUMNS, _figure_rows(result))}
    Report(record=result, tables=tables, page=_page(report, result)).write(folder)
    return result


def figure_lines(row: FigureRow) -> list[str]:
    """Return the figures of one row as lines for a terminal, skipped ones last."""
    width = max((len(figure.metric) for figure in row.figures), default=0)
    lines = [f"{figure.metric:<{width}}  {_figure_text(figure)}" for figure in row.figures]
    return sorted(lines, key=lambda line: line[width:].startswith("  skipped: "))


def _figure_text(figure: Figure) -> str:
    if figure.skipped:
        return f"skipped: {figure.skipped}"
    cell = _number(figure, ", ")
    network = (
        f"  {figure.backbone}, weights {figure.weights_sha256[:12]}, resize {figure.resize}" if figure.backbone else ""
    )
    return f"{cell.text}{f'  [{cell.small}]' if cell.small else ''}  n={figure.n}{network}"


def shown_number(value: float | None) -> str:
    """Return a number with four significant digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _rows_table(report: ProtocolReport) -> tuple[list[str], list[list[Any]]]:
    """Return columns, and one line an entry; entries that failed before they were edited come last."""
    groups = sorted({name for pair in report.pairs for name in pair.entry.groups})
    columns = list(dict.fromkeys(name for row in report.values.values() for name in row))
    facts = ("query", "reference", "seed", "mask_area", "seconds", "evaluations")
    lines: list[list[Any]] = []
    for pair in report.pairs:
        row, values, name = pair.row, report.values.get(pair.entry.id, {}), pair.entry.id
        cells = [row.get(fact) for fact in facts] + [values.get(column) for column in columns]
        lines.append([name, *(pair.entry.groups.get(g) for g in groups), *cells, report.faults.get(name)])
    done = {pair.entry.id for pair in report.pairs}
    blank = [None] * (len(groups) + len(facts) + len(columns))
    lines += [[name, *blank, text] for name, text in report.faults.items() if name not in done]
    return ["id", *groups, *facts, *columns, "error"], lines


def _figure_rows(result: Mapping[str, Any]) -> Iterator[list[Any]]:
    for table in result["tables"]:
        for figure in table["figures"]:
            row = {**(figure["interval"] or {}), **figure, "table": table["table"], "row": table["row"]}
            yield [row.get(name) for name in _FIGURE_COLUMNS]


def _page(report: ProtocolReport, result: Mapping[str, Any]) -> Page:
    model = result["model"]
    facts = {
        "Model": model_text(model),
        "Entries": ", ".join(f"{name} {count}" for name, count in report.counts.items()),
        "Preset": str(result["preset"]),
        "Settings": ", ".join(f"{name}={value}" for name, value in result["settings"].items()),
        "Seed": str(result["seed"]),
        "Data": ", ".join(f"{name}={str(value)[:80]}" for name, value in result["data"].items()),
        "Version": result["version"],
    }
    notes = [*report.notes, "Mean and 95 % interval over entries: exact for shares, Student's for other means."]
    sections = [Section("Figures", notes, [_all_figures(report.tables[0])]), *_grouped(report.tables[1:])]
    sections += failed_section(list(report.faults.items()), report.counts["chosen"])
    sections.append(Section("The first entries", examples=[_example(pair) for pair in report.pairs[:EXAMPLES]]))
    return Page(f"{report.command}: {model['name']}, {report.facts['method']}", facts, sections)


def _all_figures(row: FigureRow) -> Table:
    lines = []
    for figure in row.figures:
        if figure.skipped:
            cells = [Cell("–"), Cell("0"), Cell(f"skipped: {figure.skipped}", kind="text"), Cell("")]
        else:
            network = Cell(figure.backbone, figure.weights_sha256[:16], "text")
            cells = [_number(figure), Cell(str(figure.n)), network, Cell(figure.preprocessing, kind="text")]
        lines.append([Cell(figure.metric), *cells])
    return Table(["Metric", "Value", "Entries", "Network", "Pictures"], lines)


def _number(figure: Figure, between: str = " … ") -> Cell:
    span = figure.interval
    ends = between.join(map(shown_number, (span.low, span.high))) if span and span.low is not None else ""
    return Cell(shown_number(figure.value), ends)


def _grouped(rows: Sequence[FigureRow]) -> Iterator[Section]:
    """Yield one table for each grouping: a row for each group, a column for each metric."""
    for name in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table == name]
        shown = [i for i in range(len(own[0].figures)) if any(row.figures[i].value is not None for row in own)]
        head = ["", "entries", *(own[0].figures[i].metric for i in shown)]
        lines = [[Cell(row.row), Cell(str(row.entries)), *(_number(row.figures[i]) for i in shown)] for row in own]
        yield Section(f"By {name}", tables=[Table(head, lines)])


def _example(pair: Pair) -> Example:
    fresh = Pair(pair.entry, pair.row, pair.folder)  # so that the pictures of one entry are held at a time
    tiles = {"input": fresh.source}
    tiles |= {} if fresh.region is None else {"region": grey(fresh.region)}
    tiles |= {} if fresh.mask is None else {"mask": grey(fresh.mask)}
    tiles["result"] = fresh.edited
    return Example(f"“{pair.entry.reference}” → “{pair.entry.query}”", pair.entry.id, tiles)
