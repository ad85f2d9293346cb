"""Figures as cells of a page's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from wordbrush.evaluation.intervals import Interval
from wordbrush.evaluation.paired import Difference
from wordbrush.evaluation.scoring import Metric
from wordbrush.pages.page import Cell, Table

__all__ = ["difference_cell", "figures_table", "interval_cell", "interval_text", "mean_cell", "p_text"]

Found = TypeVar("Found")


def figures_table(
    lines: Sequence[tuple[str, int, Mapping[str, Found]]],
    metrics: Mapping[str, Metric],
    cell: Callable[[Found | None, Metric, int], Cell],
    first: str,
    title: str = "",
    *,
    opened: bool = True,
) -> Table:
    """Return a table with a column for each metric that a line has.

    Args:
        lines: name, number of items and figures by metric.
        metrics: in the order of the columns.
        cell: makes the cell of a figure, its metric and the line's number of items.
        first: heads the names.
        title: of the table.
        opened: it does not start folded.
    """
    names = [name for name in metrics if any(name in found for _, _, found in lines)]
    rows = [
        [Cell(line), Cell(str(n)), *(cell(found.get(name), metrics[name], n) for name in names)]
        for line, n, found in lines
    ]
    return Table([first, "n", *(metrics[name].label for name in names)], rows, title, opened)


def mean_cell(found: Interval | None, metric: Metric, of: int) -> Cell:
    """Return the cell of a mean in a table of figures."""
    return interval_cell(found, metric.decimals, of=of)


def interval_cell(found: Interval | None, decimals: int, *, of: int | None = None) -> Cell:
    """Return a mean with its interval below it, or a dash.

    Args:
        found: the mean.
        decimals: to show.
        of: number of items of the row; where the mean is over fewer, the cell says over how many.
    """
    if found is None:
        return Cell("–")
    count = "" if of in (None, found.n) else f"n {found.n}"
    return Cell(f"{found.mean:.{decimals}f}", ", ".join(filter(None, (interval_text(found, decimals), count))))


def interval_text(found: Interval, decimals: int) -> str:
    """Return the two ends of an interval, or why it has none."""
    if found.low is None or found.high is None:
        return "one item"
    if found.how == "equal":
        return "every item"
    return f"{found.low:.{decimals}f} … {found.high:.{decimals}f}"


def difference_cell(found: Difference | None, decimals: int, *, higher: bool | None) -> Cell:
    """Return a paired difference with its test below it; bold where it is clear and on the better side.

    Args:
        found: the difference, or None where no item has both values.
        decimals: to show.
        higher: whether more is better; None where neither is.
    """
    if found is None:
        return Cell("–")
    if found.p is None:
        return Cell("n too small", f"n {found.n}")
    better = higher is not None and found.is_clear and (found.mean > 0) == higher
    text = f"{found.mean:+.{decimals}f}"
    return Cell(text, f"{found.won} : {found.lost}, p {p_text(found.p)}", "better" if better else "")


def p_text(p: float) -> str:
    """Return a p value with two digits."""
    return "< .001" if p < 0.001 else f"{p:.2g}"
