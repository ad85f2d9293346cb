"""The report of a batch: a contact sheet in pages, with what failed and why.

`report.html` has the summary and the first items; more of them are in `sheet/`, with the small pictures. All addresses
are relative, so that the folder can be moved or packed. Items are read from the ledger one by one, and at most two
pages of them are in memory. The same ledger and files give the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from wordbrush.batch.cards import card_of, short
from wordbrush.batch.kept import Kept
from wordbrush.batch.ledger import ErrorGroup, Ledger
from wordbrush.batch.thumbs import Thumbs
from wordbrush.files import make_folder, write_atomic
from wordbrush.pages.page import Card, Filter, Group, Link, Page, Section

__all__ = ["REPORT", "Scorer", "write_sheet"]

REPORT: Final = "report.html"
"""The first page, in the batch's folder."""

SHEET: Final = "sheet"
"""The folder of further pages and small pictures."""

PAGE: Final = 100
"""Items of a page."""

SHOWN: Final = 20
"""Failures of a type that the first page names."""

LINES: Final = 500
"""Failures of a page of their own."""

CHOICES: Final = 12
"""Most groups of a page that can be chosen."""

_OURS: Final = re.compile(r"(items|failed)-[\w-]+\.html")


class Scorer(Protocol):
    """Figures of items, and what they come to; one sees every item that is done, once."""

    def score(self, kept: Kept) -> Mapping[str, str]:
        """Return the figures of an item, by name, as its card shows them."""

    def group_of(self, kept: Kept) -> str | None:
        """Return the name of the group that an item belongs to, or None."""

    def sections(self) -> Sequence[Section]:
        """Return what the first page shows of all figures."""


@dataclass
class _Failures:
    """The failures of one type: the first of them, and those of the page that is being filled."""

    told: ErrorGroup
    number: int
    first: list[Link] = field(default_factory=list)
    page: list[Link] = field(default_factory=list)
    pages: int = 0

    @property
    def parts(self) -> int:
        """How many pages of their own they take: none where the first page names them all."""
        return 0 if self.told.count <= SHOWN else -(-self.told.count // LINES)

    def name(self, part: int) -> str:
        """Return the file name of a page of them."""
        kind = re.sub(r"\W", "", self.told.kind, flags=re.ASCII)[:40]
        return f"failed-{self.number:02d}{kind}-{part:04d}.html"


class _Sheet:
    def __init__(self, ledger: Ledger, run: int | None, scorer: Scorer | None) -> None:
        self.ledger, self.run, self.scorer = ledger, run, scorer
        self.folder, self.place = ledger.folder, ledger.folder / SHEET
        self.thumbs = Thumbs(self.place / "thumbs")
        self.counts = ledger.counts(run)
        self.total = self.counts["done"] + self.counts["failed"]
        self.parts = max(1, -(-self.total // PAGE))
        errors = enumerate(ledger.errors(run), start=1)
        self.failures = {group.kind: _Failures(group, number) for number, group in errors}
        self.written: set[str] = set()

    def write(self) -> None:
        """Write all pages, the first last, and delete those of an earlier report that are no more."""
        cards: list[tuple[Card, str | None]] = []
        first: list[tuple[Card, str | None]] = []
        part = 1
        for kept in self._items():
            cards.append(self._card(kept, "" if part == 1 else "../"))
            if len(cards) == PAGE:
                first = self._flushed(part, cards, first)
                cards, part = [], part + 1
        if cards:
            first = self._flushed(part, cards, first)
        for group in self.failures.values():
            self._write_failures(group)
        write_atomic(self.folder / REPORT, self._first(first).html().encode(), force=True)
        for path in self.place.glob("*.html"):
            if _OURS.fullmatch(path.name) and path.name not in self.written:
                path.unlink(missing_ok=True)
        self.thumbs.sweep()

    def _items(self) -> Iterator[Kept]:
        """Yield what is done or has failed, no more than were counted: a batch may be running."""
        left = self.total
        for row in self.ledger.rows(self.run):
            if row["state"] in ("done", "failed") and left:
                left -= 1
                yield Kept(self.folder, row)

    def _card(self, kept: Kept, up: str) -> tuple[Card, str | None]:
        scorer = self.scorer if kept.is_done else None
        card = card_of(kept, self.thumbs, up, {} if scorer is None else scorer.score(kept))
        marks = ["warned"] if card.warnings else []
        if kept.row["state"] == "failed":
            self._note_failure(kept)
        card = replace(card, marks=[kept.row["state"], *marks])
        return card, None if self.scorer is None else self.scorer.group_of(kept)

    def _note_failure(self, kept: Kept) -> None:
        group = self.failures.get(kept.row["error_type"] or "")
        if group is None:
            return
        note = f"line {kept.row['line']}" if kept.row["line"] else ""
        line = Link(f"{kept.row['name']}: {kept.row['error']}", note=note)
        if len(group.first) < SHOWN:
            group.first.append(line)
        if group.parts:
            group.page.append(line)
            if len(group.page) == LINES:
                self._write_failures(group)

    def _write_failures(self, group: _Failures) -> None:
        if not group.page:
            return
        group.pages += 1
        back = Link("← Summary", f"../{REPORT}")
        around = [Link(f"Page {n}", group.name(n)) for n in (group.pages - 1, group.pages + 1) if 0 < n <= group.parts]
        lines = [f"{line.text}{f' ({line.note})' if line.note else ''}" for line in group.page]
        title = f"{group.told.kind or 'Failed'}: {group.told.count} items"
        facts = {"Page": f"{group.pages} of {group.parts}"} if group.parts > 1 else {}
        self._write(group.name(group.pages), Page(title, facts, [Section(lines=lines)], links=[back, *around]))
        group.page = []

    def _flushed(
        self, part: int, cards: list[tuple[Card, str | None]], first: list[tuple[Card, str | None]]
    ) -> list[tuple[Card, str | None]]:
        """Write a full page, and return the cards of the first, which is written at the end."""
        if part == 1:
            return cards
        numbers = f"Items {PAGE * (part - 1) + 1}–{PAGE * (part - 1) + len(cards)} of {self.total}"
        self._write(_name(part), Page(numbers, {}, [_section("", cards)], links=self._links(part)))
        return first

    def _write(self, name: str, page: Page) -> None:
        make_folder(self.place)
        write_atomic(self.place / name, page.html().encode(), force=True)
        self.written.add(name)

    def _links(self, part: int) -> list[Link]:
        """Return the links of a page of items to those around it."""

        def to(number: int) -> str:
            if number == 1:
                return REPORT if part == 1 else f"../{REPORT}"
            return f"{SHEET}/{_name(number)}" if part == 1 else _name(number)

        if self.parts == 1:
            return []
        places = {"← Summary": 1 if part > 1 else 0, "Previous page": part - 1 if part > 2 else 0}
        places |= {"Next page": part + 1, "Last page": self.parts if self.parts > part + 1 else 0}
        links = [Link(text, to(number)) for text, number in places.items() if 0 < number <= self.parts]
        return [*links, Link("", note=f"page {part} of {self.parts}")]

    def _first(self, cards: list[tuple[Card, str | None]]) -> Page:
        done, failed = self.counts["done"], self.counts["failed"]
        waiting = self.counts["waiting"] + self.counts["running"]
        shares = {"done": done, "failed": failed} | ({"waiting": waiting} if waiting else {})
        sections = [Section("What failed", groups=[self._group(group) for group in self.failures.values()])]
        sections = sections if self.failures else []
        warnings = [f"{count} of {done}: {text}" for text, count in self.ledger.warnings(self.run)]
        sections += [Section("Most frequent warnings", lines=warnings)] if warnings else []
        sections += self.scorer.sections() if self.scorer is not None else ()
        if cards:
            numbers = f": {len(cards)} of {self.total}" if self.parts > 1 else ""
            sections.append(_section(f"Items{numbers}", cards))
        pages = [Link(_span(part, self.total), f"{SHEET}/{_name(part)}") for part in range(2, self.parts + 1)]
        pages = [Link(_span(1, self.total), REPORT), *pages] if pages else []
        title = f"{done} of {done + failed + waiting} edits done"
        return Page(title, self._facts(), sections, shares=shares, links=self._links(1), pages=pages)

    def _group(self, group: _Failures) -> Group:
        told = group.told
        more = Link(f"All {told.count}", f"{SHEET}/{group.name(1)}") if group.parts else None
        return Group(told.kind or "Failed", told.count, told.example, group.first, more)

    def _facts(self) -> dict[str, str]:
        seconds, evaluations = self.ledger.totals(self.run)
        runs = self.ledger.runs()
        command: Mapping[str, Any] = runs[-1]["command"] if runs else {}
        told = [name for name in ("source", "model", "engine") if command.get(name)]
        facts = {name.capitalize(): short(str(command[name])) for name in told}
        facts["Work"] = f"{_clock(seconds)} of work, {evaluations} evaluations of the network"
        if self.counts["done"]:
            facts["Work"] += f"; {seconds / self.counts['done']:.2f} s an item"
        other = sum(self.ledger.counts().values()) - sum(self.counts.values())
        facts |= {"Not shown": f"{other} items that only earlier runs asked for"} if other else {}
        if runs:
            facts["Runs"] = f"{len(runs)}, the last began {runs[-1]['began'][:16].replace('T', ' ')} UTC"
            facts["Version"] = str(runs[-1]["version"])
        return facts


def _name(part: int) -> str:
    return f"items-{part:04d}.html"


def _span(part: int, total: int) -> str:
    return f"{PAGE * (part - 1) + 1}–{min(PAGE * part, total)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = {"h": hours, "min": minutes, "s": 0 if hours else rest}
    return " ".join(f"{count} {unit}" for unit, count in parts.items() if count) or "0 s"


def _section(title: str, cards: Sequence[tuple[Card, str | None]]) -> Section:
    """Return cards with the choices that tell some of them from others."""
    names = sorted({name for _, name in cards if name is not None})
    names = names if 1 < len(names) <= CHOICES else []
    marks = {name: f"g{number}" for number, name in enumerate(names)}
    shown = [replace(card, marks=[*card.marks, *([marks[name]] if name in marks else [])]) for card, name in cards]
    counts = Counter(mark for card in shown for mark in card.marks)
    texts = {"done": "done", "failed": "failed", "warned": "with warnings"} | {marks[name]: name for name in names}
    filters = [
        Filter(f"{text} {counts[mark]}", mark) for mark, text in texts.items() if 0 < counts[mark] < len(shown)
    ]
    return Section(title, cards=shown, filters=filters)


def write_sheet(ledger: Ledger, *, run: int | None = None, scorer: Scorer | None = None) -> Path:
    """Write the report of a batch into its folder, replacing an older one.

    Args:
        ledger: open for reading; a batch may go on writing it.
        run: whose items; None shows those of all.
        scorer: figures against what is known of the truth.

    Returns:
        The first page.

    Raises:
        OutputError: the folder cannot be written.
    """
    _Sheet(ledger, run, scorer).write()
    return ledger.folder / REPORT
