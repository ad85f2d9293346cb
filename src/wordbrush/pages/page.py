"""The page of a report: facts, tables, plots and pictures as one file of HTML that fetches nothing from any address.

Plots are inside, and so are pictures given as arrays; pictures given as links lie beside the page. What names and
errors say stays text. Only pages with cards have a script, a few lines that search them; all else works without.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, Final, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from wordbrush.pages.svg import inline

__all__ = ["SIDE", "Card", "Cell", "Example", "Filter", "Group", "Link", "Page", "Section", "Table", "Tile", "grey"]

SIDE: Final = 256
"""Longest side of pictures on a page, so that its file stays small."""

_JOINERS: Final = "\u200c\u200d"  # of letters and of emoji


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


@dataclass(frozen=True)
class Link:
    """A text that leads to a file beside the page, by a relative address; to none where there is none."""

    text: str
    to: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Things of one kind: a heading with their number, a note, and some of them; the rest is where `more` leads."""

    title: str
    count: int
    note: str
    lines: Sequence[Link]
    more: Link | None = None


@dataclass(frozen=True)
class Tile:
    """A picture of a card, by relative addresses: the small one that is shown, and the file that it leads to.

    Attributes:
        name: below it.
        alt: what a reader hears who cannot see it.
        source: of the small picture; None where there is none, and `alt` is shown in its place.
        to: the file itself, or None.
    """

    name: str
    alt: str
    source: str | None = None
    to: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """An item with its pictures.

    Attributes:
        name: its heading, with the file that it leads to.
        tiles: its pictures.
        text: what was asked for.
        note: in a few words, what else decided it.
        facts: to be unfolded.
        values: figures.
        warnings: a sentence each.
        error: type and sentence, where it failed.
        marks: filters that show it, see `Filter.mark`.
    """

    name: Link
    tiles: Sequence[Tile]
    text: str = ""
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    error: tuple[str, str] | None = None
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Filter:
    """A choice of which cards are shown: its words, and the mark (letters and digits) of the cards that it shows."""

    text: str
    mark: str


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
    groups: Sequence[Group] = ()
    cards: Sequence[Card] = ()
    filters: Sequence[Filter] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """A report page.

    Attributes:
        title: its heading.
        facts: of the run.
        sections: in their order.
        shares: parts of a whole that is drawn as a bar: how many of each kind (`done`, `failed`, `waiting`).
        links: to the pages before and after, and others of the report.
        pages: all pages of a report that has many.
    """

    title: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    shares: Mapping[str, int] = field(default_factory=dict)
    links: Sequence[Link] = ()
    pages: Sequence[Link] = ()

    def html(self) -> str:
        """Return the file's text; the same page gives the same bytes."""
        script, policy = _script()
        cards = any(section.cards for section in self.sections)
        told = {"page": self, "script": script if cards else "", "policy": policy if cards else "'none'"}
        return _environment().get_template("page.html").render(**told, drawn=_drawer(count()), encoded=_encoded) + "\n"


def grey(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a mask (height, width) in [0, 1] as a picture (height, width, RGB)."""
    values = np.rint(np.asarray(mask, dtype=np.float32) * 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


@cache
def _environment() -> Environment:
    loader = PackageLoader("wordbrush.pages", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_shown)


def _shown(value: Any) -> Any:
    """Return a text on one line, with a sign in place of what is no character or turns the direction of others."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in _JOINERS else "�" for c in " ".join(value.split()))


@cache
def _script() -> tuple[Markup, str]:
    """Return the script of pages with cards, and the digest by which a page's policy lets only this one run."""
    text = Markup(_environment().get_template("search.js").render())  # noqa: S704 - a file of ours
    return text, f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _drawer(numbers: Iterator[int]) -> Any:
    """Return a function that inlines a plot with identifiers that no other plot of the page has."""

    def drawn(title: str, svg: str) -> Markup:
        label = Markup('<svg role="img" aria-label="{}"').format(title)
        return Markup(inline(svg, f"plot{next(numbers)}").replace("<svg", label, 1))  # noqa: S704  # drawn here

    return drawn


def _encoded(picture: NDArray[np.uint8]) -> str:
    image, buffer = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
