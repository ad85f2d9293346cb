"""Measure the edits of a run: the values of every metric, kept in the ledger, and the figures of whole sets.

Editing and measuring are apart: a run can be measured again, with further networks, without a single edit more. An
entry's row keeps its values under `<metric>-<mark>`, where the mark stands for how they were computed, so values of
different networks are never mixed up; values are computed again when the picture was edited again. Figures of whole
sets are in `sets.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.batch.work import settled
from wordbrush.errors import InputError, OutputError
from wordbrush.evaluation.intervals import Interval
from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.networks.figures import Described, Figure
from wordbrush.evaluation.protocols.common import read_json
from wordbrush.evaluation.run_folder import earlier_rows
from wordbrush.files import write_atomic
from wordbrush.pages.report import json_text
from wordbrush.picture.picture import Picture

if TYPE_CHECKING:
    from wordbrush.batch.ledger import Ledger
    from wordbrush.evaluation.networks.preparing import Preparation
    from wordbrush.evaluation.protocols.common import Entry

__all__ = [
    "Measure",
    "Pair",
    "SetMeasure",
    "measure_entries",
    "measure_sets",
    "pairs_of",
]

MEASURED: Final = "measured"
"""Under which name a row keeps its values, in `result`."""

SETS: Final = "sets.json"
EARLIER: Final = "scores"
"""The folder in which earlier versions kept values, a file of JSON lines for each metric, and `sets.jsonl`."""


@dataclass(eq=False)
class Pair:
    """An entry and its result; pictures are read at first use.

    Attributes:
        entry: the edit that was asked for.
        row: of the run, see `RunFolder.rows`.
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
        return Picture.open(self.folder / self.row["output"]).srgb

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

    @cached_property
    def mark(self) -> str:
        """The name with a digest of the identity."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"


class Measure(_Measuring[Pair, Scores]):
    """Metrics of single entries: one value a column, None where it is not defined for the entry."""


class SetMeasure(_Measuring[Sequence[Pair], "list[Figure]"]):
    """Metrics of all results together, such as FID: one figure a column."""


def pairs_of(entries: Sequence[Entry], rows: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Pair]:
    """Return the entries that are done, with their rows."""
    return [Pair(entry, rows[entry.id], folder) for entry in entries if rows[entry.id]["state"] == "done"]


def measure_entries(
    pairs: Sequence[Pair], measures: Sequence[Measure], ledger: Ledger
) -> tuple[dict[str, Scores], dict[str, str]]:
    """Compute the missing values of entries, and write each before the next is computed.

    Args:
        pairs: what was edited.
        measures: the metrics.
        ledger: of the run.

    Returns:
        The values by entry, and what went wrong by entry.

    Raises:
        OutputError: values cannot be written.
    """
    values: dict[str, Scores] = {}
    faults: dict[str, str] = {}
    earlier = {measure.mark: _earlier(ledger.folder, measure) for measure in measures}
    for pair in _light(pairs):
        found: Scores = {}
        values[pair.entry.id] = found
        kept = dict(pair.row.get(MEASURED, {}))
        for measure in measures:
            try:
                if measure.mark not in kept:
                    known = earlier[measure.mark].get(pair.entry.id, {})
                    same = known.get("of") == pair.row["sha256"]
                    scores = known if same else measure.compute(pair)
                    kept[measure.mark] = {column: _plain(scores[column]) for column in measure.columns}
                    ledger.keep(pair.entry.id, MEASURED, kept)
                found |= kept[measure.mark]
            except OutputError:
                raise
            except (InputError, OSError, RuntimeError) as error:
                faults[pair.entry.id] = f"{measure.name}: {settled(error)}"
    return values, faults


def _earlier(folder: Path, measure: Measure) -> dict[str, dict[str, Any]]:
    return earlier_rows(folder / EARLIER / f"{measure.mark}.jsonl", measure.identity())


def _light(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield copies without cached pictures, so that only one entry's pictures are in memory at a time."""
    for pair in pairs:
        yield Pair(pair.entry, pair.row, pair.folder)


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
    path = folder / SETS
    known = earlier_rows(folder / EARLIER / "sets.jsonl", {})
    known |= read_json(path, "the file of figures") if path.exists() else {}
    figures: list[Figure] = []
    for measure in measures:
        key = {"how": measure.identity(), "pictures": [(pair.entry.id, pair.row["sha256"]) for pair in pairs]}
        mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        if known.get(measure.name, {}).get("of") != mark:
            try:
                computed = measure.compute(pairs)
            except InputError as error:
                figures += [Figure.missing(column, str(error)) for column in measure.columns]
                continue
            known[measure.name] = {"of": mark, "figures": [asdict(figure) for figure in computed]}
            write_atomic(path, json_text(known).encode(), force=True)
        for row in known[measure.name]["figures"]:
            span = row["interval"]
            figures.append(Figure(**{**row, "interval": None if span is None else Interval(**span)}))
    return figures
