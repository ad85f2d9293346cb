"""Figures over all entries of a run, and over the rows of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.networks.figures import Figure, Skipped
from wordbrush.evaluation.protocols.measuring import Measure, Pair
from wordbrush.evaluation.summary import means

__all__ = ["FigureRow", "figures_of"]

_OF_EDITS: Final = ("mask_area", "seconds", "evaluations")
"""Figures of the edits themselves, from their rows."""


@dataclass(frozen=True)
class FigureRow:
    """A row of a table of figures.

    Attributes:
        table: `all`, or the name of a grouping such as `edit type`.
        row: which group; `all` in the first table.
        entries: how many entries are in it.
        figures: one a metric.
    """

    table: str
    row: str
    entries: int
    figures: tuple[Figure, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `undefined` counts the entries for which a metric is not defined."""
        figures = [
            {**figure.to_json(), "undefined": max(0, self.entries - figure.n) if not figure.skipped else None}
            for figure in self.figures
        ]
        return {"table": self.table, "row": self.row, "entries": self.entries, "figures": figures}


def figures_of(
    pairs: Sequence[Pair],
    values: Mapping[str, Scores],
    measures: Sequence[Measure],
    skipped: Sequence[tuple[str, Skipped]],
    sets: Sequence[Figure] = (),
) -> list[FigureRow]:
    """Return the row over all entries, and one row for each group of entries.

    Args:
        pairs: what was edited.
        values: of `measure_entries`.
        measures: the metrics of single entries.
        skipped: metrics that could not be computed, and why.
        sets: figures of all results together; they stand in the first row.
    """
    missing = tuple(Figure.missing(column, why) for column, why in skipped)
    everything = (*_over(pairs, values, measures), *sets, *missing)
    rows = [FigureRow("all", "all", len(pairs), everything)]
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        for group in pair.entry.groups.items():
            groups.setdefault(group, []).append(pair)
    for (table, row), members in sorted(groups.items()):
        rows.append(FigureRow(table, row, len(members), tuple(_over(members, values, measures))))
    return rows


def _over(
    pairs: Sequence[Pair], values: Mapping[str, Scores], measures: Sequence[Measure]
) -> Iterator[Figure]:
    rows = [{**{n: p.row.get(n) for n in _OF_EDITS}, **values.get(p.entry.id, {})} for p in pairs]
    intervals = means({"": rows}, [*_OF_EDITS, *(c for m in measures for c in m.columns)])
    for measure in measures:
        for column in measure.columns:
            yield Figure.mean(column, intervals.get(column), measure.network, measure.preparation)
    for column in _OF_EDITS:
        yield Figure.mean(column, intervals.get(column))
