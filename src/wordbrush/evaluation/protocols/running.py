"""Edit the entries of a protocol one by one, each to a picture, a mask and a journal line; a run can be resumed.

A run's folder holds the journal `edits.jsonl`, `edited/<id>.png` and `masks/<id>.png`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from wordbrush.editor import Editor
from wordbrush.errors import InputError, OutputError, PictureError, SettingsError
from wordbrush.evaluation.items import MethodRequest
from wordbrush.evaluation.plan import find_method
from wordbrush.evaluation.runner import model_facts
from wordbrush.evaluation.work import Line, Make, Work
from wordbrush.files import write_atomic
from wordbrush.pages.report import png_of
from wordbrush.picture.picture import Picture

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Outcome
    from wordbrush.evaluation.protocols.common import Entry, Protocol
    from wordbrush.settings import Settings

__all__ = ["EDITS", "ProtocolRun", "ProtocolWork", "check_pictures", "make_folders", "run_facts", "seed_of"]

EDITS: Final = "edits.jsonl"


@dataclass(frozen=True)
class ProtocolRun:
    """The method and settings of a run over a protocol's entries.

    Attributes:
        folder: where results go.
        method: name of the method, for the record.
        settings: all switches.
        preset: their name, for the record.
        seed: every entry's own is derived from it by `seed_of`.
        model: as for `Editor.from_pretrained`; worker processes load their own.
        load: its keywords.
    """

    folder: Path
    settings: Settings
    preset: str | None
    method: str = "diffedit"
    seed: int = 0
    model: str = "pocket"
    load: Mapping[str, Any] = field(default_factory=dict)


def seed_of(seed: int, identity: str) -> int:
    """Return an entry's seed: the same whatever the other entries are, below 2^63."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{identity}".encode()).digest()[:8], "big") >> 1


def run_facts(
    protocol: Protocol, run: ProtocolRun, identity: Mapping[str, Any], extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the facts that all results of a run share: data, model, settings, seed.

    How many entries are run does not count, so a run can be made longer; nor does the device.
    """
    return {
        "protocol": protocol.name,
        **model_facts(identity),
        "data": dict(protocol.data),
        "method": run.method,
        "preset": run.preset,
        "settings": asdict(run.settings),
        "seed": run.seed,
        **(extra or {}),
    }


def make_folders(folder: Path, *names: str) -> None:
    """Make a run's folder and those in it.

    Raises:
        OutputError: it cannot be made.
    """
    for name in ("edited", "masks", *names):
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder / name}: the folder cannot be made ({error.strerror or error})") from error


def check_pictures(entries: Sequence[Entry]) -> int:
    """Return how many entries lack their picture.

    Raises:
        InputError: all do: then the folder is not the one the annotations speak of.
    """
    missing = [entry for entry in entries if not entry.picture.is_file()]
    if entries and len(missing) == len(entries):
        raise InputError(
            f"{missing[0].picture}: there is no such file, and none of the {len(entries)} pictures is there "
            f"(first entry: {missing[0].id}); is this the right folder? See docs/protocols.md"
        )
    return len(missing)


@dataclass(frozen=True)
class ProtocolWork(Work):
    """The work of a run: each entry is edited once, by the run's method."""

    run: ProtocolRun
    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError, SettingsError)

    @property
    def variants(self) -> tuple[str, ...]:
        """The name of the run's method."""
        return (self.run.method,)

    def open(self, editor: Editor | None = None) -> Make:
        """Load the model."""
        return partial(_edit, editor or Editor.from_pretrained(self.run.model, **self.run.load), self.run)

    def facts(self, item: Entry, variant: str) -> Line:
        """Return the query and the reference."""
        return {"query": item.query, "reference": item.reference}

    def row_id(self, item: Entry, variant: str) -> str:
        """Return the entry's id."""
        return item.id

    def is_whole(self, row: Line) -> bool:
        """Whether the row's picture files exist."""
        names = [row.get("edited"), row.get("mask")]
        return all((self.run.folder / name).is_file() for name in names if name)


def _edit(editor: Editor, run: ProtocolRun, entry: Entry, variant: str) -> Line:
    """Edit one entry, write its files and return its line."""
    try:
        picture = Picture.open(entry.picture)
    except PictureError as error:
        raise PictureError(f"{entry.picture}: {error}") from error
    region = _region(entry, picture)
    seed = seed_of(run.seed, entry.id)
    request = MethodRequest(picture.srgb, entry.query, entry.reference, seed, region)
    begin = time.perf_counter()
    session = editor.open(picture.srgb, resolution=run.settings.resolution)
    outcome = find_method(variant)(editor, session, request, run.settings)
    seconds = time.perf_counter() - begin
    edited = png_of(outcome.image)
    write_atomic(run.folder / "edited" / f"{entry.id}.png", edited, force=True)
    mask = _write_mask(run.folder, entry, outcome)
    return {
        "seed": seed,
        "picture_sha256": picture.sha256,
        "edited": f"edited/{entry.id}.png",
        "sha256": hashlib.sha256(edited).hexdigest(),
        "mask": mask,
        "mask_area": None if outcome.mask is None else float(outcome.mask.mean()),
        "seconds": round(seconds, 3),
        "evaluations": outcome.evaluations,
        "groups": dict(entry.groups),
    }


def _region(entry: Entry, picture: Picture) -> NDArray[np.bool_] | None:
    if entry.region is None:
        return None
    if picture.size != entry.region.size:
        actual, expected = ("x".join(map(str, size)) for size in (picture.size, entry.region.size))
        raise InputError(f"entry {entry.id}: the picture has {actual} pixels, its mask is for {expected}")
    return entry.region.region()


def _write_mask(folder: Path, entry: Entry, outcome: Outcome) -> str | None:
    if outcome.mask is None:
        return None
    grey = np.rint(np.clip(outcome.mask, 0, 1) * 255).astype(np.uint8)
    write_atomic(folder / "masks" / f"{entry.id}.png", png_of(grey), force=True)
    return f"masks/{entry.id}.png"
