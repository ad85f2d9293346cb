"""`--dry-run`: what a batch would cost in network evaluations, hours and gigabytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from wordbrush.batch.inputs import current
from wordbrush.batch.items import BatchItem
from wordbrush.batch.ledger import LEDGER, Ledger
from wordbrush.batch.run import Batch
from wordbrush.batch.sources import is_url
from wordbrush.editor import Editor
from wordbrush.errors import WordbrushError
from wordbrush.picture.picture import Picture
from wordbrush.settings import Settings

if TYPE_CHECKING:
    from wordbrush.report import Plan

__all__ = ["BatchPlan", "plan_batch"]

_BYTES_A_PIXEL: Final = 2.0
"""Of a PNG of a photograph, about; taken where no result tells better."""

_UNKNOWN: Final = (1024, 1024)


@dataclass(frozen=True)
class BatchPlan:
    """What a batch would do.

    Attributes:
        items: that are asked for.
        done: those that have a result already.
        refused: rows that are no items.
        first_refusal: why the first of them is none.
        evaluations: of the network, for those that have none.
        seconds: they take one after the other; None where no rate is known.
        rate: evaluations a second, or None.
        rate_from: `measured on earlier items`, `measured on one picture` or `unknown`.
        bytes: of the results that are to come.
        bytes_from: `measured on earlier items` or `assumed`.
        notes: what a user should know.
    """

    items: int
    done: int
    refused: int
    first_refusal: str | None
    evaluations: int
    seconds: float | None
    rate: float | None
    rate_from: str
    bytes: int
    bytes_from: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        lines = [f"items          {self.items}" + (f", {self.done} of them done" if self.done else "")]
        if self.refused:
            lines.append(f"refused rows   {self.refused}, first {self.first_refusal}")
        lines.append(f"evaluations    {self.evaluations}")
        rate = "" if self.rate is None else f" ({self.rate:.3g} evaluations a second, {self.rate_from})"
        time_taken = "unknown" if self.seconds is None else f"{_hours(self.seconds)} with one worker"
        lines.append(f"time           {time_taken}{rate}")
        lines.append(f"results        {_gigabytes(self.bytes)} ({self.bytes_from})")
        return lines


def _hours(seconds: float) -> str:
    """Write a time: in hours, and where that says little, in minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"


def _gigabytes(size: float) -> str:
    """Write a number of bytes: in gigabytes, and where that says little, in megabytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


class _Costs:
    """Sums up what items cost; what items of one picture share is counted once."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.evaluations, self.pixels = editor, 0, 0
        self._shared: set[int] = set()
        self._plans: dict[Any, Plan] = {}

    def add(self, item: BatchItem) -> None:
        """Add an item."""
        settings, size = Settings.recorded(item.settings), _size(item.picture)
        key = (size, settings, "mask" in item.masks, item.check_inversion)
        if key not in self._plans:
            if len(self._plans) > 1000:
                self._plans.clear()
            self._plans[key] = self.editor.plan(size, settings=settings, own_mask=key[2], check_inversion=key[3])
        plan = self._plans[key]
        text = item.reference if settings.inversion_text == "reference" else ""
        for stage, shared in (
            ("contrast", ("contrast", item.query, item.reference, settings.seed_of_contrast(item.seed))),
            ("invert", ("trajectory", text, plan.depth)),
        ):
            kept = settings.key("contrast" if stage == "contrast" else "trajectory")
            mark = hash((item.group, shared, kept))
            if mark not in self._shared:
                self._shared.add(mark)
                self.evaluations += plan.evaluations[stage]
        self.evaluations += plan.evaluations["decode"] + plan.evaluations["check"]
        self.pixels += size[0] * size[1]


def plan_batch(batch: Batch) -> BatchPlan:
    """Say what a batch would cost; no picture is edited, and nothing is written.

    The rate is that of the items that the folder has already, else it is measured with two evaluations on the first
    picture.

    Raises:
        WordbrushError: manifest or model cannot be used.
    """
    editor = batch.editor or Editor.from_pretrained(batch.model, **batch.load)
    notes, costs, first = list[str](), _Costs(editor), None
    items = done = refused = 0
    first_refusal = None
    with _earlier(batch) as ledger:
        for item in batch.items(notes):
            if not isinstance(item, BatchItem):
                refused += 1
                first_refusal = first_refusal or (item.error[1] if item.error else None)
                continue
            items += 1
            first = first or item
            row = ledger and ledger.find(item.key)
            if row and row["state"] == "done" and current(batch.folder, row, item.entry()) is True:
                done += 1
            else:
                costs.add(item)
        rate, mean = (None, None) if ledger is None else _earlier_figures(ledger)
    measured = None if rate is not None or first is None or not costs.evaluations else _measured(editor, first)
    told = "measured on earlier items" if rate is not None else "measured on one picture" if measured else "unknown"
    rate = rate or measured
    return BatchPlan(
        items=items,
        done=done,
        refused=refused,
        first_refusal=first_refusal,
        evaluations=costs.evaluations,
        seconds=costs.evaluations / rate if rate else None,
        rate=rate,
        rate_from=told,
        bytes=round(mean * (items - done) if mean else costs.pixels * _BYTES_A_PIXEL),
        bytes_from="measured on earlier items" if mean else f"assumed: {_BYTES_A_PIXEL:g} bytes a pixel",
        notes=(*editor.model.notes, *notes),
    )


@contextmanager
def _earlier(batch: Batch) -> Iterator[Ledger | None]:
    """Open the ledger of earlier runs, if there is one."""
    if (batch.folder / LEDGER).is_file():
        with Ledger.open(batch.folder, read_only=True) as ledger:
            yield ledger
    else:
        yield None


def _earlier_figures(ledger: Ledger) -> tuple[float | None, float | None]:
    """Return evaluations a second and bytes a result of the items that are done, where there are any."""
    seconds, evaluations = ledger.totals()
    return (evaluations / seconds if seconds and evaluations else None), ledger.mean_size()


def _measured(editor: Editor, item: BatchItem) -> float | None:
    """Return evaluations a second, of two on one picture."""
    try:
        session = editor.open(Picture.open(item.picture), resolution=item.settings["resolution"])
        session.latent()
        begin = time.perf_counter()
        session.contrast(item.query, item.reference, settings=Settings(maps=1, strength=(0.5,)))
    except WordbrushError:
        return None
    return 2 / (time.perf_counter() - begin)


def _size(place: str) -> tuple[int, int]:
    """Return width and height of a picture from its header; of one that cannot be looked at, a usual size."""
    try:
        if is_url(place):
            return _UNKNOWN
        with Image.open(place) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return _UNKNOWN
