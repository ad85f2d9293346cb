"""The files of an item: what was read and written, and whether it is still so.

Of each local file size and time are kept beside its digest: while these two stay, it is not read again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.items import BatchItem, digest_of
from wordbrush.batch.ledger import Entry
from wordbrush.batch.sources import bytes_of, is_url
from wordbrush.batch.work import Row
from wordbrush.errors import MaskError, WordbrushError
from wordbrush.record.provenance import Provenance, read_provenance
from wordbrush.region.mask import Mask
from wordbrush.region.suited import suited
from wordbrush.session import Session

__all__ = ["MASK_FOLDER", "adopted", "current", "mask_of", "stamp", "taken", "written"]

MASK_FOLDER: Final = "masks"
"""Where masks lie within the folder of results, under the results' names."""

_LABEL = re.compile(r"(.+)#(\d+)")


def stamp(place: str) -> dict[str, int]:
    """Return size and time of change of a local file; nothing for a URL, or where there is none."""
    try:
        status = None if is_url(place) else Path(place).stat()
    except (OSError, ValueError):
        status = None
    return {} if status is None else {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def file_sha256(path: str | Path) -> str | None:
    """Return the digest of a file's bytes, or None where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def mask_of(kind: str, place: str) -> tuple[Mask, dict[str, Any]]:
    """Read a mask, of a file or URL whose name may end in `#` and a class; return it, and what is to be kept of it.

    Raises:
        MaskError: it is not there, or is refused.
    """
    if not is_url(place):
        path = _path_of(place)
        return Mask.open(place).rounded(), {"kind": kind, "path": place, "sha256": file_sha256(path), **stamp(path)}
    match = _LABEL.fullmatch(place)
    data = bytes_of(match[1] if match else place, MaskError, kind)
    mask = Mask.open(data, label=int(match[2]) if match else None).rounded()
    return mask, {"kind": kind, "path": place, "sha256": hashlib.sha256(data).hexdigest()}


def _path_of(place: str) -> str:
    """Return the file of a mask whose name may end in a class."""
    match = _LABEL.fullmatch(place)
    return match[1] if match and not Path(place).exists() else place


def written(target: Path, output: str, data: bytes) -> dict[str, Any]:
    """Return the columns of a result's file that has just been written."""
    return {"output": output, "sha256": hashlib.sha256(data).hexdigest(), **stamp(str(target))}


def is_whole(folder: Path, row: Mapping[str, Any]) -> bool:
    """Say whether the file of an item that is done is there as it was written, and its mask, where one was."""
    output, mask = row["output"], (row["result"] or {}).get("mask")
    if output is None or (mask is not None and not (folder / mask).is_file()):
        return output is None
    now = stamp(str(folder / output))
    same = now == {"size": row["size"], "mtime_ns": row["mtime_ns"]}
    return same or (now.get("size") == row["size"] and file_sha256(folder / output) == row["sha256"])


def current(folder: Path, row: Mapping[str, Any], entry: Entry) -> Entry | bool:
    """Say whether an item that is done still holds; see `ledger.Checks`.

    Returns:
        An entry of another key where a file that it reads has other bytes by now: it is another item. Else whether its
        result is there as it was written.
    """
    places = {"picture": entry.item["picture"], **entry.item["masks"]}
    before = {told["kind"]: told for told in row["inputs"] or ()}
    now = {kind: _now(place, before.get(kind, {})) for kind, place in places.items()}
    changed = {kind: sha for kind, sha in now.items() if sha != before.get(kind, {}).get("sha256")}
    if not changed:
        return is_whole(folder, row)
    key = digest_of([entry.key, changed])
    mark = f"-{entry.key[:8]}"
    name = entry.name.removesuffix(mark) + (f"-{key[:8]}" if entry.name.endswith(mark) else "")
    return replace(entry, key=key, name=name)


def _now(place: str, before: Mapping[str, Any]) -> str | None:
    """Return the digest that a file has now; of one that is gone, or a URL, that of before."""
    path = place if is_url(place) else _path_of(place)
    now = stamp(path)
    if not now or now == {"size": before.get("size"), "mtime_ns": before.get("mtime_ns")}:
        return before.get("sha256")
    return file_sha256(path)


def taken(folder: Path, entry: Entry) -> bool:
    """Say whether a file that no batch wrote bears the name that a new item wants."""
    if entry.error is not None or entry.name.endswith(f"-{entry.key[:8]}"):  # a name that is only this item's
        return False
    return (folder / f"{entry.name}{entry.item['suffix']}").exists()


def adopted(
    folder: Path, row: Row, item: BatchItem, session: Session, masks: Mapping[str, Mask]
) -> dict[str, Any] | None:
    """Return the columns of a result that is there already: a run wrote it, and was killed before it could say so.

    Its record must tell of this very edit: the picture's and the masks' bytes, the model's weights, texts, seed and
    settings. A result without a record, or without texts in it, is made again.
    """
    output = f"{row['name']}{item.suffix}"
    target = folder / output
    mask = f"{MASK_FOLDER}/{row['name']}.png"
    if not target.is_file():
        return None
    try:
        record = read_provenance(target)
    except WordbrushError:
        return None
    if not _tells_of(record, item, session, masks):
        return None
    told = {"mask": mask} if (folder / mask).is_file() else {}
    return {"output": output, "sha256": file_sha256(target), **stamp(str(target)), **told, "adopted": True}


def _tells_of(record: Provenance, item: BatchItem, session: Session, masks: Mapping[str, Mask]) -> bool:
    told = (record.query, record.reference, record.negative, record.seed, record.preset, record.input["sha256"])
    asked = (item.query, item.reference, item.negative, item.seed, item.preset, session.picture.sha256)
    settings = json.loads(json.dumps({**item.settings, "resolution": session.resolution}))
    if record.withheld or told != asked or record.settings != settings:
        return False
    model = session.driver.model.identity.as_dict()
    if any(record.model.get(name) != model.get(name) for name in ("sha256", "parametrisation", "dtype", "given")):
        return False
    if _add_ons(record.model) != _add_ons(model):
        return False
    used = suited(masks, session.picture, latent_size=session.latent_size)
    kept = {name.removeprefix("given_"): v["sha256"] for name, v in record.mask.items() if name.startswith("given_")}
    return kept == {kind: mask.digest() for kind, mask in used.items()}


def _add_ons(model: Mapping[str, Any]) -> list[Any]:
    """Return LoRAs and embeddings by their digests, without the places they were read from."""
    kinds = ("loras", "embeddings")
    return [[{k: v for k, v in one.items() if k != "source"} for one in model.get(kind) or ()] for kind in kinds]
