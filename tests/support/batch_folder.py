"""Folders of batches without a model: pictures that are drawn, a ledger that is written as a run writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.batch.inputs import stamp, written
from wordbrush.batch.items import BatchItem, Defaults, items_of, refused_entry
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.manifest import ManifestRow
from wordbrush.batch.work import done, failed
from wordbrush.errors import PictureError, WordbrushError
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask

SIDE = 32


@dataclass(frozen=True)
class Drawn:
    """A row of a manifest with its result: a picture and a mask, or the error that it ended with."""

    values: Mapping[str, Any]
    result: NDArray[np.uint8] | None = None
    mask: NDArray[np.float32] | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()


def flat(level: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.full((side, side, 3), level, np.uint8)


def half(side: int = SIDE) -> NDArray[np.float32]:
    """Return a mask of the left half."""
    mask = np.zeros((side, side), np.float32)
    mask[:, : side // 2] = 1
    return mask


def put(path: Path, pixels: NDArray[Any]) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def run_into(folder: Path, rows: Iterable[Drawn], *, name: str = "rows.jsonl", end: bool = True) -> Path:
    """Run rows into a folder, as one run; those without result and error are left waiting."""
    rows = list(rows)
    with Ledger.open(folder) as ledger:
        ledger.begin({"source": name, "model": "pocket"}, "0")
        entries, of = [], {}
        for number, row in enumerate(rows, start=1):
            manifest_row = ManifestRow(number, row.values)
            try:
                (item,) = items_of(manifest_row, Defaults(), {}, "", number)
                entries.append(item.entry())
                of[item.key] = row
            except WordbrushError as error:
                entries.append(refused_entry(manifest_row, error, number))
        ledger.add(entries)
        for waiting in list(ledger.rows(ledger.run, "waiting")):
            outcome = _outcome(folder, waiting, of[waiting["key"]])
            if outcome is not None:
                ledger.finish(outcome)
        if end:
            ledger.end(1.0)
    return folder


def _outcome(folder: Path, row: Mapping[str, Any], drawn: Drawn) -> dict[str, Any] | None:
    item = BatchItem.of(row)
    if drawn.error:
        return failed(row, PictureError(drawn.error))
    if drawn.result is None:
        return None
    read = {"kind": "picture", "path": item.picture, "sha256": Picture.open(item.picture).sha256, **stamp(item.picture)}
    output, told = f"{row['name']}.png", dict[str, Any]()
    put(folder / output, drawn.result)
    if drawn.mask is not None:
        (folder / "masks").mkdir(exist_ok=True)
        told = {"mask": f"masks/{row['name']}.png", "mask_area": float(drawn.mask.mean())}
        (folder / told["mask"]).write_bytes(Mask(drawn.mask).png_bytes())
    data = (folder / output).read_bytes()
    told |= {"warnings": list(drawn.warnings), **written(folder / output, output, data)}
    return done(row, seconds=0.5, evaluations=10, inputs=[read], **told)
