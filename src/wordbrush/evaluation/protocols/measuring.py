"""Measure the edits of a run: a journal of values for every metric, and the figures of whole sets.

Editing and measuring are apart: a run can be measured again, with further networks, without a single edit more. Values
go to `scores/<metric>-<mark>.jsonl`, where the mark stands for how they were computed, so values of different networks
never meet in one file; a value is computed again when its picture was edited again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import InputError, OutputError
from wordbrush.evaluation.intervals import Interval
from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.journal import Journal
from wordbrush.evaluation.networks.figures import Described, Figure
from wordbrush.evaluation.work import settled
from wordbrush.picture.picture import Picture

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.preparing import Preparation
    from wordbrush.evaluation.protocols.common import Entry

__all__ = [
    "SCORES",
    "Measure",
    "Pair",
    "SetMeasure",
    "measure_entries",
    "measure_sets",
    "pairs_of",
]

SCORES: Final = "scores"


@dataclass(eq=False)
class Pair:
    """An entry and its result; pictures are read at first use.

    Attributes:
        entry: the edit that was asked for.
        row: its line in the run's results.
        folder: the run's.
    """

    entry: Entry
    row: Mapping[str, Any]
    folder: Path

    @cached_property
    def source(self) -> NDArray[np.uint8]:
        """The picture that was edited, (height, width, RGB)."""
        return Picture.open(self.entry.picture).srgb

    @cached_property
    def edited(self) -> NDArray[np.uint8]:
        """The result, (height, width, RGB)."""
        return Picture.open(self.folder / self.row["edited"]).srgb

    @cached_property
    def mask(self) -> NDArray[np.float32] | None:
        """The mask of the edit, (height, width) in [0, 1]; None where the method has none."""
        if self.row["mask"] is None:
            return None
        with Image.open(self.folder / self.row["mask"], formats=["PNG"]) as image:
            return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)

    @cached_property
    def region(self) -> NDArray[np.bool_] | None:
        """The region that may change, (height, width); None where the protocol has none."""
        return None if self.entry.region is None else self.entry.region.region()


Seen = TypeVar("Seen")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class _Measuring(Generic[Seen, Found]):
    """A metric, or several that are computed together.

    Attributes:
        name: of its file.
        columns: names of the values, as figures show them.
        compute: returns them.
        network: whose weights decide the values.
        preparation: what is done to pictures, where it is not the network's own.
        facts: what else decides the values, JSON values.
    """

    name: str
    columns: tuple[str, ...]
    compute: Callable[[Seen], Found]
    network: Described | None = None
    preparation: Preparation | None = None
    facts: Mapping[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the values, but for the pictures."""
        how = self.preparation or (self.network.preparation if self.network else None)
        card = self.network.card if self.network else None
        return {
            "measure": self.name,
            "columns": list(self.columns),
            "backbone": card.backbone if card else "",
            "weights_sha256": card.weights_sha256 if card else "",
            "implementation": card.implementation if card else "wordbrush",
            "preprocessing": how.text if how else "",
            "facts": dict(self.facts or {}),
        }


class Measure(_Measuring[Pair, Scores]):
    """Metrics of single entries: one value a column, None where it is not defined for the entry."""


class SetMeasure(_Measuring[Sequence[Pair], "list[Figure]"]):
    """Metrics of all results together, such as FID: one figure a column."""


def pairs_of(entries: Sequence[Entry], journal: Journal) -> list[Pair]:
    """Return the entries that are done, with their results."""
    folder = journal.path.parent
    return [Pair(entry, journal.rows[entry.id], folder) for entry in entries if journal.is_done(entry.id)]


def measure_entries(
    pairs: Sequence[Pair], measures: Sequence[Measure], folder: Path
) -> tuple[dict[str, Scores], dict[str, str]]:
    """Compute the missing values of entries, and write each before the next is computed.

    Args:
        pairs: what was edited.
        measures: the metrics.
        folder: the run's.

    Returns:
        The values by entry, and what went wrong by entry.

    Raises:
        OutputError: values cannot be written.
    """
    values: dict[str, Scores] = {}
    faults: dict[str, str] = {}
    place = folder / SCORES
    place.mkdir(exist_ok=True)
    with ExitStack() as stack:
        books = [stack.enter_context(_book(place, measure)) for measure in measures]
        for pair in _light(pairs):
            row: Scores = {}
            values[pair.entry.id] = row
            for measure, book in zip(measures, books, strict=True):
                try:
                    row |= _value(pair, measure, book)
                except OutputError:
                    raise
                except (InputError, OSError, RuntimeError) as error:
                    faults[pair.entry.id] = f"{measure.name}: {settled(error)}"
    return values, faults


def _light(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield copies without cached pictures, so that only one entry's pictures are in memory at a time."""
    for pair in pairs:
        yield Pair(pair.entry, pair.row, pair.folder)


def _book(place: Path, measure: Measure) -> Journal:
    identity = measure.identity()
    mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return Journal.open(place / f"{measure.name}-{mark}.jsonl", identity)


def _value(pair: Pair, measure: Measure, book: Journal) -> Scores:
    known = book.rows.get(pair.entry.id)
    if known is None or known.get("of") != pair.row["sha256"]:
        scores = {column: _plain(value) for column, value in measure.compute(pair).items()}
        book.append(pair.entry.id, {"of": pair.row["sha256"], **{column: scores[column] for column in measure.columns}})
        known = book.rows[pair.entry.id]
    return {column: known[column] for column in measure.columns}


def _plain(value: float | bool | None) -> float | bool | None:
    """Return a value that JSON can hold; None for one that is not finite."""
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    return float(value) if np.isfinite(value) else None


def measure_sets(pairs: Sequence[Pair], measures: Sequence[SetMeasure], folder: Path) -> list[Figure]:
    """Return the figures of whole sets; those already computed for the same pictures are read from the run's folder.

    Raises:
        OutputError: they cannot be written.
    """
    place = folder / SCORES
    place.mkdir(exist_ok=True)
    figures: list[Figure] = []
    with Journal.open(place / "sets.jsonl", {}) as book:
        for measure in measures:
            key = {"how": measure.identity(), "pictures": [(pair.entry.id, pair.row["sha256"]) for pair in pairs]}
            mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
            if book.rows.get(measure.name, {}).get("of") != mark:
                try:
                    computed = measure.compute(pairs)
                except InputError as error:
                    figures += [Figure.missing(column, str(error)) for column in measure.columns]
                    continue
                book.append(measure.name, {"of": mark, "figures": [asdict(figure) for figure in computed]})
            for row in book.rows[measure.name]["figures"]:
                span = row["interval"]
                figures.append(Figure(**{**row, "interval": None if span is None else Interval(**span)}))
    return figures
