"""The item function of the protocols: an entry is edited to a picture, a mask, and a row of the ledger.

A run's folder holds the ledger, `edited/<id>.png` and `masks/<id>.png`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from wordbrush.batch import entry as batch
from wordbrush.batch.work import ItemWork
from wordbrush.editor import Editor
from wordbrush.errors import InputError, OutputError, PictureError, SettingsError
from wordbrush.evaluation.items import MethodRequest
from wordbrush.evaluation.plan import find_method
from wordbrush.evaluation.protocols.common import Runs
from wordbrush.evaluation.run_folder import entry_of, model_facts
from wordbrush.files import make_folder, write_atomic
from wordbrush.pages.report import png_of
from wordbrush.picture.picture import Picture

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Outcome
    from wordbrush.evaluation.protocols.common import Entry, Protocol
    from wordbrush.settings import Settings

__all__ = [
    "EARLIER",
    "ProtocolRun",
    "ProtocolWork",
    "check_pictures",
    "ledger_entries",
    "run_facts",
    "seed_of",
]

EARLIER: Final = "edits.jsonl"
"""The file of rows that earlier versions wrote in place of the ledger."""



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


def ledger_entries(entries: Sequence[Entry], seed: int) -> Iterator[batch.Entry]:
    """Yield the entries as the ledger takes them, each with its own seed; the items hold all that an edit needs."""
    for number, entry in enumerate(entries, start=1):
        item = {
            "id": entry.id,
            "picture": str(entry.picture),
            "query": entry.query,
            "reference": entry.reference,
            "seed": seed_of(seed, entry.id),
            "region": entry.region and asdict(entry.region),
        }
        yield entry_of(entry.id, number, item)


@dataclass(frozen=True)
class ProtocolWork(ItemWork):
    """The item function of a run: each entry is edited once, by the run's method."""

    run: ProtocolRun
    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError, SettingsError)

    def start(self, editor: Editor | None) -> Callable[[Any], Mapping[str, Any]]:
        """Load the model, and make the folders of results."""
        for name in ("edited", "masks"):
            make_folder(self.run.folder / name)
        return partial(_edit, editor or Editor.from_pretrained(self.run.model, **self.run.load), self.run)


def _edit(editor: Editor, run: ProtocolRun, item: Mapping[str, Any]) -> dict[str, Any]:
    """Edit one entry, write its files and return what its row tells."""
    name = item["id"]
    try:
        picture = Picture.open(item["picture"])
    except PictureError as error:
        raise PictureError(f"{item['picture']}: {error}") from error
    request = MethodRequest(picture.srgb, item["query"], item["reference"], item["seed"], _region(item, picture))
    begin = time.perf_counter()
    session = editor.open(picture.srgb, resolution=run.settings.resolution)
    outcome = find_method(run.method)(editor, session, request, run.settings)
    seconds = time.perf_counter() - begin
    edited = png_of(outcome.image)
    write_atomic(run.folder / "edited" / f"{name}.png", edited, force=True)
    return {
        "output": f"edited/{name}.png",
        "sha256": hashlib.sha256(edited).hexdigest(),
        "seconds": round(seconds, 3),
        "evaluations": outcome.evaluations,
        "inputs": [{"kind": "picture", "path": item["picture"], "sha256": picture.sha256}],
        "mask": _write_mask(run.folder, name, outcome),
        "mask_area": None if outcome.mask is None else float(outcome.mask.mean()),
    }


def _region(item: Mapping[str, Any], picture: Picture) -> NDArray[np.bool_] | None:
    if item["region"] is None:
        return None
    runs = Runs(**{name: tuple(numbers) for name, numbers in item["region"].items()})
    if picture.size != runs.size:
        actual, expected = ("x".join(map(str, size)) for size in (picture.size, runs.size))
        raise InputError(f"entry {item['id']}: the picture has {actual} pixels, its mask is for {expected}")
    return runs.region()


def _write_mask(folder: Path, name: str, outcome: Outcome) -> str | None:
    if outcome.mask is None:
        return None
    grey = np.rint(np.clip(outcome.mask, 0, 1) * 255).astype(np.uint8)
    write_atomic(folder / "masks" / f"{name}.png", png_of(grey), force=True)
    return f"masks/{name}.png"
