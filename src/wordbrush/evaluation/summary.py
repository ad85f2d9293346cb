"""Summaries of every evaluation: means of metrics over groups of rows, with their intervals.

A row is what one edit was measured at, a value by metric. Groups are what the reports have lines for: kinds of edits on
the truth bench, types of edits or shares of changed words in a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wordbrush.errors import SettingsError
from wordbrush.evaluation.intervals import Interval, interval_over
from wordbrush.evaluation.items import DETERMINED_KINDS, KINDS, LOCAL_KINDS, MEAN_KINDS, Kind, Scores
from wordbrush.evaluation.paired import Difference, compare_values
from wordbrush.evaluation.plan import Rows
from wordbrush.evaluation.scoring import METRICS

__all__ = ["SCOPES", "Comparison", "Summary", "compare", "means", "scope_of", "scopes_of", "summarise"]

SCOPES: Final[Mapping[str, tuple[Kind, ...]]] = {
    "all": MEAN_KINDS,
    "local": LOCAL_KINDS,
    "determined": DETERMINED_KINDS,
}
"""Scopes over several kinds: the mean over the kinds of each kind's mean, so that each kind counts the same. Additions
are in none of them: they have a line of their own."""

Summary = dict[str, dict[str, dict[str, Interval]]]
"""Variant, scope, metric. A metric that no item of a scope has is absent."""

Comparison = dict[str, dict[str, dict[str, Difference]]]
"""Variant, scope, metric: the variant's difference to a baseline."""


def means(groups: Mapping[str, Sequence[Scores]], metrics: Iterable[str]) -> dict[str, Interval]:
    """Return the mean of each metric over groups of rows with its interval; a metric that no row has is absent.

    Args:
        groups: rows by group; each group counts the same.
        metrics: which.
    """
    intervals = {}
    for metric in metrics:
        columns = {name: [row.get(metric) for row in rows] for name, rows in groups.items()}
        if any(value is not None for column in columns.values() for value in column):
            intervals[metric] = interval_over(columns)
    return intervals


def scopes_of(kinds: Sequence[Kind]) -> list[str]:
    """Return the scopes of a run over some kinds: the wide ones and each kind; without scopes that equal another."""
    present = [kind for kind in KINDS if kind in kinds]
    wide: dict[frozenset[Kind], str] = {}
    for scope, members in SCOPES.items():
        inside = frozenset(members) & frozenset(present)
        if len(inside) > 1:
            wide.setdefault(inside, scope)
    return [*wide.values(), *present]


def scope_of(metric: str, scopes: Sequence[str]) -> str:
    """Return the scope at which a metric's headline stands: its own, or where the run has no such scope, the first."""
    return METRICS[metric].scope if METRICS[metric].scope in scopes else scopes[0]


def summarise(rows: Rows) -> Summary:
    """Return each variant's means on the truth bench with their intervals; rows that failed are left out."""
    summary: Summary = {}
    for variant in rows.plan.variants:
        table = _kinds(rows, variant.name)
        summary[variant.name] = {
            scope: means({kind: table[kind] for kind in kinds}, METRICS) for scope, kinds in _scopes(rows).items()
        }
    return summary


def compare(rows: Rows, baseline: str) -> Comparison:
    """Return the differences of each other variant to the baseline, item by item: variant minus baseline.

    Args:
        rows: of a run; an item counts where both have the metric.
        baseline: a variant's name.

    Raises:
        SettingsError: the run has no such variant.
    """
    names = [variant.name for variant in rows.plan.variants]
    if baseline not in names:
        raise SettingsError(f"unknown baseline {baseline!r}: the run has {', '.join(names)}")
    base = _kinds(rows, baseline)
    return {name: _compared(rows, _kinds(rows, name), base) for name in names if name != baseline}


def _compared(
    rows: Rows, own: Mapping[str, Sequence[Scores]], base: Mapping[str, Sequence[Scores]]
) -> dict[str, dict[str, Difference]]:
    table: dict[str, dict[str, Difference]] = {}
    for scope, kinds in _scopes(rows).items():
        table[scope] = {}
        for metric in METRICS:
            sides = [{kind: [row.get(metric) for row in side[kind]] for kind in kinds} for side in (own, base)]
            found = compare_values(*sides)
            if found is not None:
                table[scope][metric] = found
    return table


def _kinds(rows: Rows, variant: str) -> dict[str, list[Scores]]:
    """Return the metrics of a variant by kind, for each item of the run; none where it has no row or failed."""
    own = {row.item: row.metrics for row in rows.rows if row.variant == variant}
    items = {row.item: row.kind for row in rows.rows}
    return {
        kind: [own.get(item, {}) for item, its in items.items() if its == kind]
        for kind in KINDS
        if kind in rows.plan.kinds
    }


def _scopes(rows: Rows) -> dict[str, tuple[str, ...]]:
    """Return the kinds of each scope of a run."""
    return {
        scope: tuple(kind for kind in SCOPES.get(scope, (scope,)) if kind in rows.plan.kinds)
        for scope in scopes_of(rows.plan.kinds)
    }
