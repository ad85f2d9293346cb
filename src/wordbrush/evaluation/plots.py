"""Plots as SVG text: bars with intervals, trade-off curves, lines with bands.

The same numbers give the same bytes: one bundled font, text as text, identifiers from a fixed salt, no date. Every
function returns a complete SVG file; `wordbrush.pages.svg.inline` turns it into what stands inside a page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wordbrush.pages.svg import GRID, INK, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Estimate", "Series", "bars", "curve", "lines_with_bands"]

Estimate = tuple[float, float, float]
"""A value with the low and the high end of its interval."""

COLOURS: Final = ("#3b76d1", "#d9622b", "#2a9d6f", "#b04fc2", "#b8902a", "#d1487a", "#3aa0b5", "#7a7f87")
"""Colours that differ in lightness too, with a contrast of at least 3 to light and dark paper."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name starts no formula
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "figure.dpi": 72.0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        name: for the legend.
        x: positions.
        y: values, as many.
        low: lower ends of the intervals, as many, or empty for none.
        high: upper ends.
        labels: a short word beside each point, or empty for none.
        dashed: draw the line broken, as for a bound.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    labels: Sequence[str] = ()
    dashed: bool = False


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Estimate | None]],
    *,
    y_label: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw grouped bars with their intervals.

    Args:
        groups: names along the axis.
        series: by name in the legend, an estimate for each group; None leaves a gap.
        y_label: what is measured.
        title: above the plot.
        limits: of the vertical axis.

    Returns:
        SVG text.
    """
    width = 0.8 / max(1, len(series))
    inches = min(16.0, max(6.4, 0.75 * len(groups), 0.16 * len(groups) * len(series) + 1.5))
    with _figure(title, (inches, 3.4)) as (figure, axes):
        for index, (name, values) in enumerate(series.items()):
            shown = [(at + (index - (len(series) - 1) / 2) * width, v) for at, v in enumerate(values) if v is not None]
            colour = COLOURS[index % len(COLOURS)]
            places, means = [at for at, _ in shown], [v[0] for _, v in shown]
            axes.bar(places, means, width * 0.92, color=colour, alpha=0.85, label=name)
            for at, (mean, low, high) in shown:
                axes.plot([at, at], [min(low, mean), max(high, mean)], color=INK, linewidth=1.0)
        axes.set_xticks(range(len(groups)), groups)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(y_label)
        if limits is not None:
            axes.set_ylim(*limits)
        return _finish(figure, axes, title, legend=len(series) > 1)


def curve(series: Sequence[Series], *, x_label: str, y_label: str, title: str = "") -> str:
    """Draw trade-off curves: points joined in order, with vertical intervals and a label beside each.

    Args:
        series: one a method; `labels` say what moved along it, such as the ratio.
        x_label: what is paid.
        y_label: what is gained.
        title: above the plot.

    Returns:
        SVG text.
    """
    with _figure(title, (6.4, 4.2)) as (figure, axes):
        for index, one in enumerate(series):
            colour, marker = _look(index)
            axes.plot(one.x, one.y, marker=marker, color=colour, label=one.name, markersize=4.5, linewidth=1.4)
            for x, low, high in zip(one.x, one.low, one.high, strict=False):
                axes.plot([x, x], [low, high], color=colour, linewidth=0.8, alpha=0.7)
            for x, y, label in zip(one.x, one.y, one.labels, strict=False):
                axes.annotate(label, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7.0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _finish(figure, axes, title, legend=True)


def lines_with_bands(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_y: bool = False,
) -> str:
    """Draw lines over a numeric axis, with their intervals as bands.

    Args:
        series: the lines; points that are not finite are gaps.
        x_label: what is varied.
        y_label: what is measured.
        title: above the plot.
        log_y: logarithmic vertical axis.

    Returns:
        SVG text.
    """
    with _figure(title, (6.4, 3.6)) as (figure, axes):
        for index, one in enumerate(series):
            colour, marker = _look(index)
            style = "--" if one.dashed else "-"
            size = 3.5 if len(one.x) <= 30 else 0.0
            x, y = list(one.x), [v if math.isfinite(v) else math.nan for v in one.y]
            axes.plot(x, y, style, marker=marker, color=colour, label=one.name, markersize=size, linewidth=1.4)
            if len(one.low) and len(one.high):
                axes.fill_between(x, list(one.low), list(one.high), color=colour, alpha=0.18, linewidth=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if log_y:
            axes.set_yscale("log")
        return _finish(figure, axes, title, legend=len(series) > 1)


def _look(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


@contextmanager
def _figure(title: str, inches: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure that belongs to no window and is on no global list of figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "svg.hashsalt": title or "wordbrush"}):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, title: str, *, legend: bool) -> str:
    if title:
        axes.set_title(title, loc="left")
    if legend and axes.get_legend_handles_labels()[0]:
        handles, names = axes.get_legend_handles_labels()
        room = figure.get_figwidth() * 72 / (40 + 5.5 * max(map(len, names)))  # columns, at 5.5 points a letter
        figure.legend(handles, names, loc="outside lower left", ncols=max(1, min(4, int(room))))
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return target.getvalue().decode()
