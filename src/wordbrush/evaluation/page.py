"""The page of an evaluation: facts, tables, plots and example pictures in one file of HTML.

No script, no address, nothing to fetch: plots and pictures are inside. What names and errors say stays text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from wordbrush.evaluation.intervals import Interval
from wordbrush.evaluation.paired import Difference
from wordbrush.evaluation.plots import inline

__all__ = [
    "Cell",
    "Example",
    "Page",
    "Section",
    "Table",
    "difference_cell",
    "grey",
    "interval_cell",
    "interval_text",
    "p_text",
]

_SIDE: Final = 256
"""Longest side of pictures on a page, so that its file stays small."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a small text below, and the kind that decides its style."""

    text: str
    small: str = ""
    kind: Literal["", "better", "text"] = ""


@dataclass(frozen=True)
class Table:
    """A table; one with a title can be folded, and starts folded unless `opened`."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    opened: bool = True


@dataclass(frozen=True, eq=False)
class Example:
    """A row of pictures with a text and a note; a title where a new group of examples begins."""

    text: str
    note: str
    tiles: Mapping[str, NDArray[np.uint8]]
    title: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """A section of a page, with the parts that are not empty. Plots are (title, SVG)."""

    title: str = ""
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[tuple[str, str]] = ()
    lines: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    examples: Sequence[Example] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """A report page: its title, the facts of the run, and its sections."""

    title: str
    facts: Mapping[str, str]
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the file's text; the same page gives the same bytes."""
        environment = Environment(
            loader=PackageLoader("wordbrush.evaluation", "."), autoescape=True, undefined=StrictUndefined
        )
        return environment.get_template("page.html").render(page=self, drawn=_drawer(count()), encoded=_encoded) + "\n"


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


def grey(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a mask (height, width) in [0, 1] as a picture (height, width, RGB)."""
    values = np.rint(np.asarray(mask, dtype=np.float32) * 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def _drawer(numbers: Iterator[int]) -> Any:
    """Return a function that inlines a plot with identifiers that no other plot of the page has."""

    def drawn(title: str, svg: str) -> Markup:
        label = Markup('<svg role="img" aria-label="{}"').format(title)
        return Markup(inline(svg, f"plot{next(numbers)}").replace("<svg", label, 1))  # noqa: S704  # drawn here

    return drawn


def _encoded(picture: NDArray[np.uint8]) -> str:
    image, buffer = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
