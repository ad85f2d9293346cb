"""Summaries of every evaluation: means of metrics over groups of rows, with bootstrap intervals.

A row is what one edit was measured at, a value by metric. Groups are what the reports have lines for: kinds of edits on
the truth bench, types of edits or shares of changed words in a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation.bootstrap import Interval, stratified
from wordbrush.evaluation.items import KINDS, LOCAL_KINDS, Kind, Scores
from wordbrush.evaluation.plan import Rows
from wordbrush.evaluation.scoring import METRICS

__all__ = ["SCOPES", "Summary", "compare", "differences", "means", "scopes_of", "summarise"]

SCOPES: Final[Mapping[str, tuple[Kind, ...]]] = {"all": KINDS, "local": LOCAL_KINDS}
"""Scopes over several kinds: the mean over the kinds of each kind's mean, so that each kind counts the same."""

Summary = dict[str, dict[str, dict[str, Interval]]]
"""Variant, scope, metric. A metric that no item of a scope has is absent."""


def means(
    groups: Mapping[str, Sequence[Scores]], metrics: Iterable[str], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Return the mean of each metric over groups of rows with its interval; a metric that no row has is absent.

    Args:
        groups: rows by group; each group counts the same, rows are drawn again within theirs.
        metrics: which.
        resamples: of the bootstrap.
        seed: of its draws.
    """
    intervals = {}
    for metric in metrics:
        columns = {name: [row.get(metric) for row in rows] for name, rows in groups.items()}
        if any(value is not None for column in columns.values() for value in column):
            intervals[metric] = stratified(columns, resamples=resamples, seed=seed)
    return intervals


def differences(first: Sequence[Scores], second: Sequence[Scores]) -> list[Scores]:
    """Return first minus second, row by row; None where either row lacks the metric.

    Both ran on the same items, so what the items have in common cancels and the interval of the mean is much narrower
    than that of two separate means. An interval that leaves out 0 is a difference at this level.

    Raises:
        InputError: there are not as many rows on both sides.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} rows: give one each per item")

    def less(one: float | bool | None, other: float | bool | None) -> float | None:
        return None if one is None or other is None else float(one) - float(other)

    return [{m: less(value, b.get(m)) for m, value in a.items()} for a, b in zip(first, second, strict=True)]


def scopes_of(kinds: Sequence[Kind]) -> list[str]:
    """Return the scopes of a run over some kinds: all, local, and each kind; without scopes that equal another."""
    present = [kind for kind in KINDS if kind in kinds]
    local = [kind for kind in present if kind in LOCAL_KINDS]
    wide = ["all"] if len(present) > 1 else []
    return [*wide, *(["local"] if 1 < len(local) < len(present) else []), *present]


def summarise(rows: Rows, *, resamples: int = 2000) -> Summary:
    """Return each variant's means on the truth bench with their intervals.

    Args:
        rows: of a run; rows that failed are left out.
        resamples: of the bootstrap, seeded by the plan.
    """
    return {variant.name: _scoped(rows, _kinds(rows, variant.name), resamples) for variant in rows.plan.variants}


def compare(rows: Rows, baseline: str, *, resamples: int = 2000) -> Summary:
    """Return the mean differences of each other variant to the baseline, item by item: variant minus baseline.

    Args:
        rows: of a run; an item counts where both have the metric.
        baseline: a variant's name.
        resamples: of the bootstrap, seeded by the plan.

    Raises:
        SettingsError: the run has no such variant.
    """
    names = [variant.name for variant in rows.plan.variants]
    if baseline not in names:
        raise SettingsError(f"unknown baseline {baseline!r}: the run has {', '.join(names)}")
    base = _kinds(rows, baseline)
    summary: Summary = {}
    for name in names:
        if name != baseline:
            own = _kinds(rows, name)
            summary[name] = _scoped(rows, {kind: differences(own[kind], base[kind]) for kind in own}, resamples)
    return summary


def _kinds(rows: Rows, variant: str) -> dict[str, list[Scores]]:
    """Return the metrics of a variant's rows by kind, in the order of kinds and items."""
    own = [row for row in rows.rows if row.variant == variant]
    return {kind: [row.metrics for row in own if row.kind == kind] for kind in KINDS if kind in rows.plan.kinds}


def _scoped(rows: Rows, table: Mapping[str, Sequence[Scores]], resamples: int) -> dict[str, dict[str, Interval]]:
    """Return the means of each scope of a run."""
    intervals = {}
    for scope in scopes_of(rows.plan.kinds):
        groups = {kind: table[kind] for kind in SCOPES.get(scope, (scope,)) if kind in table}
        intervals[scope] = means(groups, METRICS, resamples=resamples, seed=rows.plan.seed)
    return intervals
