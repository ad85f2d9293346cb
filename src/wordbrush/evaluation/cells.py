"""Figures as cells of a page's tables."""

from __future__ import annotations

from wordbrush.evaluation.intervals import Interval
from wordbrush.evaluation.paired import Difference
from wordbrush.pages.page import Cell

__all__ = ["difference_cell", "interval_cell", "interval_text", "p_text"]


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
