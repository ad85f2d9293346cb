"""Summaries of a run: means with bootstrap intervals by kind and over kinds, and differences to a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from wordbrush.errors import SettingsError
from wordbrush.evaluation.bootstrap import Interval, interval, paired, stratified
from wordbrush.evaluation.items import KINDS, LOCAL_KINDS, Kind
from wordbrush.evaluation.plan import Row, Rows
from wordbrush.evaluation.scoring import METRICS

__all__ = ["SCOPES", "Summary", "compare", "scopes_of", "summarise"]

SCOPES: Final[Mapping[str, tuple[Kind, ...]]] = {"all": KINDS, "local": LOCAL_KINDS}
"""Scopes over several kinds: the mean over the kinds of each kind's mean, so that each kind counts the same."""

Summary = dict[str, dict[str, dict[str, Interval]]]
"""Variant, scope, metric. A metric that no item of a scope has is absent."""

Values = dict[str, list[float | bool | None]]


def scopes_of(kinds: Sequence[Kind]) -> list[str]:
    """Return the scopes of a run over some kinds: all, local, and each kind; what would repeat another is left out."""
    present = [kind for kind in KINDS if kind in kinds]
    local = [kind for kind in present if kind in LOCAL_KINDS]
    wide = ["all"] if len(present) > 1 else []
    return [*wide, *(["local"] if 1 < len(local) < len(present) else []), *present]


def summarise(rows: Rows, *, resamples: int = 2000) -> Summary:
    """Return each variant's means with their intervals.

    Args:
        rows: of a run; rows that failed are left out.
        resamples: of the bootstrap, seeded by the plan.
    """
    table, seed = _table(rows), rows.plan.seed
    found: Summary = {}
    for variant in rows.plan.variants:
        found[variant.name] = {}
        for scope in scopes_of(rows.plan.kinds):
            cells = {}
            for metric in METRICS:
                groups = _groups({kind: _column(table, variant.name, kind, metric) for kind in _kinds(scope)})
                if groups:
                    cells[metric] = (
                        stratified(groups, resamples=resamples, seed=seed)
                        if scope in SCOPES
                        else interval(next(iter(groups.values())), resamples=resamples, seed=seed)
                    )
            found[variant.name][scope] = cells
    return found


def compare(rows: Rows, baseline: str, *, resamples: int = 2000) -> Summary:
    """Return each other variant's differences to one, item by item: variant less baseline.

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
    table, seed = _table(rows), rows.plan.seed
    found: Summary = {}
    for name in names:
        if name == baseline:
            continue
        found[name] = {}
        for scope in scopes_of(rows.plan.kinds):
            cells = {}
            for metric in METRICS:
                pairs = [
                    (kind, a, b)
                    for kind in _kinds(scope)
                    for a, b in zip(
                        _column(table, name, kind, metric), _column(table, baseline, kind, metric), strict=True
                    )
                    if a is not None and b is not None
                ]
                if pairs:
                    groups, first, second = zip(*pairs, strict=True)
                    cells[metric] = paired(first, second, groups, resamples=resamples, seed=seed)
            found[name][scope] = cells
    return found


def _kinds(scope: str) -> tuple[Kind, ...]:
    return SCOPES[scope] if scope in SCOPES else tuple(kind for kind in KINDS if kind == scope)


def _table(rows: Rows) -> dict[tuple[str, Kind], list[Row]]:
    """Return the rows by variant and kind, in the order of items."""
    table: dict[tuple[str, Kind], list[Row]] = {}
    for row in rows.rows:
        table.setdefault((row.variant, row.kind), []).append(row)
    return table


def _column(
    table: dict[tuple[str, Kind], list[Row]], variant: str, kind: Kind, metric: str
) -> list[float | bool | None]:
    return [row.metrics.get(metric) for row in table.get((variant, kind), ())]


def _groups(values: Values) -> Values:
    """Leave out kinds without a value."""
    return {kind: column for kind, column in values.items() if any(value is not None for value in column)}
