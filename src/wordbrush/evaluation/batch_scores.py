"""Figures of a batch against known truths: what a picture should have become, and where it should have changed.

A manifest names the truth of its rows in the columns `truth` (a picture) and `truth_mask` (white where it may change).
Figures of several edits of one picture are averaged first, so that a picture is the unit of chance.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wordbrush.batch.inputs import mask_of
from wordbrush.batch.kept import Kept, opened_picture, reason
from wordbrush.errors import InputError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.cells import figures_table, interval_text, mean_cell
from wordbrush.evaluation.intervals import Interval, interval_over
from wordbrush.evaluation.networks.clip import Clip, load_clip
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.networks.lpips import Lpips, load_lpips
from wordbrush.evaluation.scoring import Metric
from wordbrush.pages.page import Cell, Section, Table

__all__ = ["FIGURES", "Networks", "Scores", "TruthScorer", "has_column", "score_item"]

Scores = dict[str, float]

FIGURES: Final[Mapping[str, Metric]] = {
    "inside_psnr": Metric("inside: PSNR (dB)", decimals=1),
    "inside_rms": Metric("inside: rms (of 255)", higher=False, decimals=1),
    "outside_psnr": Metric("outside: PSNR (dB)", decimals=1),
    "outside_rms": Metric("outside: rms (of 255)", higher=False, decimals=1),
    "outside_changed": Metric("outside: changed pixels (share)", higher=False),
    "psnr": Metric("all: PSNR (dB)", decimals=1),
    "rms": Metric("all: rms (of 255)", higher=False, decimals=1),
    "mask_iou": Metric("mask: IoU"),
    "mask_precision": Metric("mask: precision"),
    "mask_recall": Metric("mask: recall"),
    "lpips": Metric("LPIPS to the truth", higher=False),
    "clip": Metric("CLIP: likeness to the query", decimals=2),
}
"""What can be measured, in the order of the tables."""

NOTE: Final = (
    "Of every item against the truth that its row names. Inside and outside are parts of the picture by truth_mask; "
    "inside is compared with truth, outside with truth if there is one, else with the input; changed pixels are "
    f"those unlike the input. Equal pixels have a PSNR of {metrics.PSNR_CAP:.0f} dB. Several edits of one picture are "
    "averaged first: n counts pictures. Intervals are Student's, of 95 %, for means over pictures like these."
)

_ROWS: Final = 60
"""Most groups of the page's table."""

_FAULTS: Final = 20
"""Most items that are told of that could not be measured."""


@dataclass(frozen=True)
class Networks:
    """Networks that measure pictures, where the user has their weights."""

    lpips: Lpips | None = None
    clip: Clip | None = None

    @classmethod
    def load(cls, lpips: str | Path | None = None, clip: str | Path | None = None) -> Networks:
        """Load those that are named.

        Raises:
            InputError: what is named is not there.
            ModelError: it is there and is something else.
        """

        def found(network: Any) -> Any:
            if isinstance(network, Skipped):
                raise InputError(f"{network.kind}: {network.reason}")
            return network

        named = None if lpips is None else found(load_lpips(lpips))
        return cls(named, None if clip is None else found(load_clip(clip)))


def score_item(kept: Kept, networks: Networks) -> Scores:
    """Return the figures of an item that is done, by the names of `FIGURES`; those that cannot be are left out.

    Raises:
        InputError: a file is gone, or the sizes of result and truth differ.
    """
    result = kept.result.srgb
    truth_at, region_at = (_place(kept.data.get(name)) for name in ("truth", "truth_mask"))
    truth = None if truth_at is None else _sized(opened_picture(truth_at).srgb, result, "truth")
    region = None
    if region_at is not None:
        region = _sized(mask_of("truth_mask", region_at)[0].values, result, "truth_mask") > 0.5
    found = dict[str, float | None]()
    if region is not None:
        found |= _parts(kept, result, truth, region)
    if truth is not None:
        found |= {"psnr": metrics.psnr(result, truth), "rms": metrics.rms(result, truth)}
        if networks.lpips is not None:
            found["lpips"] = float(networks.lpips.distances([result], [truth])[0])
    query = str(kept.item.get("query") or "")
    if networks.clip is not None and query:
        found["clip"] = float(networks.clip.scores([result], [query])[0])
    return {name: float(value) for name in FIGURES if (value := found.get(name)) is not None}


def _parts(
    kept: Kept, result: NDArray[np.uint8], truth: NDArray[np.uint8] | None, region: NDArray[np.bool_]
) -> dict[str, float | None]:
    source = _sized(kept.picture.srgb, result, "picture")
    rest = source if truth is None else truth
    found = {
        "inside_psnr": None if truth is None else metrics.psnr(result, truth, region),
        "inside_rms": None if truth is None else metrics.rms(result, truth, region),
        "outside_psnr": metrics.psnr(result, rest, ~region),
        "outside_rms": metrics.rms(result, rest, ~region),
        "outside_changed": metrics.changed_share(result, source, ~region),
    }
    if kept.mask_file is not None:
        mask = _sized(kept.mask, result, "mask")
        measures = {"iou": metrics.iou, "precision": metrics.precision, "recall": metrics.recall}
        found |= {f"mask_{name}": measure(mask, region) for name, measure in measures.items()}
    return found


def _place(value: Any) -> str | None:
    return str(value) if value else None


def _sized(array: NDArray[Any], result: NDArray[np.uint8], what: str) -> NDArray[Any]:
    if array.shape[:2] != result.shape[:2]:
        (height, width), (rows, columns) = array.shape[:2], result.shape[:2]
        raise InputError(f"{what} is {width} x {height}, the result {columns} x {rows}: not measured")
    return array


class _Group:
    """Figures by picture: the sum and the number of values of its items, for each figure."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._sums: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, picture: str, scores: Scores) -> None:
        """Add the figures of one item."""
        place = self._places.setdefault(picture, len(self._places))
        for name, value in scores.items():
            sums, counts = self._sums.setdefault(name, (array("d"), array("d")))
            for column in (sums, counts):
                column.extend([0.0] * (place + 1 - len(column)))
            sums[place] += value
            counts[place] += 1

    def means(self) -> dict[str, list[float]]:
        """Return the mean of each picture, by figure."""
        found = {name: self._sums[name] for name in FIGURES if name in self._sums}
        return {
            name: [total / count for total, count in zip(sums, counts, strict=True) if count]
            for name, (sums, counts) in found.items()
        }


def has_column(kept: Kept, name: str) -> bool:
    """Say whether an item has a column of the manifest, a part or a setting of this name."""
    return _column(kept, name) is not None


def _column(kept: Kept, name: str) -> str | None:
    for place in (kept.data, kept.item, kept.item.get("settings") or {}):
        if name in place:
            return str(place[name])[:100]
    return None


class TruthScorer:
    """Measures the items of a batch, and says what they come to; a `wordbrush.batch.sheet.Scorer`.

    Args:
        networks: for LPIPS and CLIP.
        by: a column of the manifest, or a setting, by whose values items are grouped.
        keep: called with the key and the figures of every item that has any.

    Attributes:
        faults: why items could not be measured, by their names: the first ones.
        failed: how many could not.
    """

    def __init__(
        self,
        networks: Networks | None = None,
        by: str | None = None,
        keep: Callable[[str, Scores], None] = lambda key, scores: None,
    ) -> None:
        self.networks, self.by, self.keep = networks or Networks(), by, keep
        self.faults: dict[str, str] = {}
        self.failed = 0
        self._groups: dict[str | None, _Group] = {}

    def score(self, kept: Kept) -> Mapping[str, str]:
        """Measure an item; return its figures as texts."""
        if not self._wanted(kept):
            return {}
        try:
            scores = score_item(kept, self.networks)
        except InputError as error:
            self.failed += 1
            if len(self.faults) < _FAULTS:
                self.faults[str(kept.row["name"])] = reason(error)
            return {"not measured": reason(error)}
        if scores:
            self.keep(kept.row["key"], scores)
            for name in dict.fromkeys((None, self.group_of(kept))):
                self._groups.setdefault(name, _Group()).add(kept.source, scores)
        return {_short(name): f"{value:.{FIGURES[name].decimals}f}" for name, value in scores.items()}

    def _wanted(self, kept: Kept) -> bool:
        return self.networks.clip is not None or bool({"truth", "truth_mask"} & kept.data.keys())

    def group_of(self, kept: Kept) -> str | None:
        """Return the value of the column `by`, or None without one."""
        found = None if self.by is None else _column(kept, self.by)
        return found if found is not None or self.by is None else f"no {self.by}"

    def groups(self) -> list[str]:
        """Return the names of the groups that have figures, numbers in their order."""
        return sorted((name for name in self._groups if name is not None), key=_order)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values: n, mean, interval, how that was made, median, least and most."""
        unmeasured = {"count": self.failed, "first": [{"name": n, "error": e} for n, e in self.faults.items()]}
        groups = {"column": self.by, "groups": {name: self._told(name) for name in self.groups()}}
        return {"all": self._told(None), **({} if self.by is None else {"by": groups}), "not_measured": unmeasured}

    def _told(self, name: str | None) -> dict[str, dict[str, Any]]:
        means = self._groups[name].means() if name in self._groups else {}
        return {figure: _figure(figure, values) for figure, values in means.items()}

    def sections(self) -> Sequence[Section]:
        """Return the tables, where there is a figure."""
        sections = []
        if self._groups:
            every = self._groups[None].means()
            head = ["", "n", "mean", "95 % interval", "median", "least", "most"]
            table = Table(head, [_line(name, values) for name, values in every.items()])
            sections.append(Section("Against the truth", [NOTE], [table]))
            sections += [self._grouped()] if self.by is not None else []
        if self.failed:
            more = [f"and {self.failed - len(self.faults)} more"] if self.failed > len(self.faults) else []
            lines = [f"{name}: {text}" for name, text in self.faults.items()]
            sections.append(Section(f"Not measured: {self.failed}", lines=lines + more))
        return sections

    def _grouped(self) -> Section:
        groups = self.groups()
        notes = ["Means with their intervals."]
        notes += [f"The first {_ROWS} of {len(groups)} groups; `--json` has all."] if len(groups) > _ROWS else []
        lines = []
        for group in groups[:_ROWS]:
            means = self._groups[group].means()
            found = {name: _interval(name, values) for name, values in means.items()}
            lines.append((group, max(map(len, means.values())), found))
        return Section(f"By {self.by}", notes, [figures_table(lines, FIGURES, mean_cell, "")])


def _short(name: str) -> str:
    return FIGURES[name].label.partition(" (")[0].replace(": ", " ")


def _interval(name: str, values: Sequence[float]) -> Interval:
    """Return the mean over pictures with its interval, as far as values of this figure can be."""
    found = interval_over({"all": values})
    if found.low is None or found.high is None:
        return found
    least, most = _limits(name)
    return replace(found, low=max(found.low, least), high=min(found.high, most))


def _limits(name: str) -> tuple[float, float]:
    """Return the least and the greatest value that a figure can have."""
    kind = name.rpartition("_")[2]
    known = {"psnr": (0, metrics.PSNR_CAP), "rms": (0, 255), "lpips": (0, math.inf), "clip": (-100, 100)}
    return known.get(kind, (0, 1))


def _line(name: str, values: Sequence[float]) -> list[Cell]:
    metric, found = FIGURES[name], _interval(name, values)
    numbers = [median(values), min(values), max(values)]
    shown = [Cell(f"{number:.{metric.decimals}f}") for number in numbers]
    mean = Cell(f"{found.mean:.{metric.decimals}f}")
    return [Cell(metric.label), Cell(str(found.n)), mean, Cell(interval_text(found, metric.decimals)), *shown]


def _figure(name: str, values: Sequence[float]) -> dict[str, Any]:
    found = _interval(name, values)
    span = {"n": found.n, "mean": found.mean, "low": found.low, "high": found.high, "how": found.how}
    return {**span, "median": median(values), "least": min(values), "most": max(values)}


def _order(name: str) -> tuple[int, float, str]:
    """Sort numbers by size, before words."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
