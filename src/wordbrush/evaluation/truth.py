"""Load the truth bench: edits of scenes that no model was trained on, with all that is true of them.

The truth bench is a folder with a folder for each split, and in it for every kind of edit:

* `KIND.json`: texts and facts of the items in the order of the sheets, and SHA-256 of each whole counterfactual;
* `KIND-inputs.webp`: the inputs, lossless;
* `KIND-regions.png`: the true regions, one bit a pixel;
* `KIND-counterfactuals.webp`: the counterfactuals inside their regions, lossless, black elsewhere: outside the region
  a counterfactual is its input, byte for byte;
* `KIND-retrieved.webp`: other pictures that show what the queries say, lossy.

Beside the splits may lie `ceilings.json`: by split and kind, for each item the IoU with the true region of what the
input shows of it.

A sheet holds equal square pictures in reading order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from wordbrush.errors import InputError
from wordbrush.evaluation.items import KINDS, PHRASINGS, SLOTS, Bool, Bytes, Facts, Kind, Split, Thing, TruthItem

__all__ = ["CEILINGS", "SCHEMA", "SHEETS", "default_bench", "facts_from_json", "facts_to_json", "load_truth"]

SCHEMA: Final = 1
CEILINGS: Final = "ceilings.json"
SHEETS: Final[Mapping[str, str]] = {
    "inputs": "{}-inputs.webp",
    "regions": "{}-regions.png",
    "counterfactuals": "{}-counterfactuals.webp",
    "retrieved": "{}-retrieved.webp",
}
"""File names of a kind's sheets."""

_PLACE: Final = Path("benchmarks") / "truth"
_LIMIT: Final = 4096
"""Most pixels of an item's side, and most items of a kind: an index with more is broken."""


def default_bench() -> Path:
    """Return the folder of the repository's truth bench.

    It is looked for from the working folder upwards, then from the package's own files upwards, as in a checkout.

    Raises:
        InputError: there is none; the message says where to get it.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / _PLACE / "test").is_dir():
                return folder / _PLACE
    raise InputError(
        f"no {_PLACE.as_posix()} here or in a folder above: the truth bench is part of the source repository, not of "
        "the installed package. Run inside a checkout of it, or give the bench's folder"
    )


def load_truth(
    folder: str | Path, split: Split, kinds: Iterable[Kind] | None = None, limit: int | None = None
) -> list[TruthItem]:
    """Read items of the truth bench.

    Args:
        folder: of the truth bench, such as `default_bench()`.
        split: dev to tune on, test to report.
        kinds: the kinds to read, all unless given; items come in this order.
        limit: at most this many items a kind, the first ones.

    Raises:
        InputError: a kind is unknown, the limit is not positive, or a file is missing, damaged or of another size
            than the index says; the message names it.
    """
    chosen = KINDS if kinds is None else tuple(kinds)
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown:
        raise InputError(f"unknown kind of edit {unknown[0]!r}: known are {', '.join(KINDS)}")
    if split not in ("dev", "test"):
        raise InputError(f"unknown split {split!r}: known are dev and test")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: give at least 1 item a kind")
    known = _ceilings(Path(folder) / CEILINGS, split)
    return [item for kind in chosen for item in _kind(Path(folder) / split, split, kind, limit, known.get(kind))]


def facts_to_json(facts: Facts) -> dict[str, Any]:
    """Return facts as JSON data."""
    things = {
        slot: {"noun": thing.noun} | ({"colour": thing.colour} if thing.colour else {})
        for slot, thing in facts.things.items()
    }
    return {"things": things, "ground": facts.ground, "time": facts.time}


def facts_from_json(data: Any) -> Facts:
    """Read facts from the data of `facts_to_json`; raises `InputError` for anything else."""
    try:
        things = {slot: Thing(_word(thing["noun"]), _word_or_none(thing)) for slot, thing in data["things"].items()}
        ground, time = _word(data["ground"]), data["time"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"facts need things, ground and time: {error!r}") from error
    strange = [slot for slot in things if slot not in SLOTS]
    if strange or time not in ("day", "night"):
        raise InputError(f"facts know the slots {', '.join(SLOTS)} and the times day and night: {strange or time!r}")
    return Facts(things, ground, time)


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is not a word")
    return value


def _word_or_none(thing: Mapping[str, Any]) -> str | None:
    return None if thing.get("colour") is None else _word(thing["colour"])


def _ceilings(path: Path, split: Split) -> dict[str, list[float]]:
    """Read the ceilings of a split by kind; none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {kind: [float(value) for value in values] for kind, values in data[split].items()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: these are no ceilings ({error!r}); get the bench again") from error


def _kind(
    folder: Path, split: Split, kind: Kind, limit: int | None, ceilings: Sequence[float] | None
) -> list[TruthItem]:
    path = folder / f"{kind}.json"
    index = _index(path, split, kind)
    rows, size = index["items"], index["size"]
    if ceilings is not None and len(ceilings) != len(rows):
        raise InputError(f"{path}: {len(rows)} items, and {len(ceilings)} in {CEILINGS}; get the bench again")
    parts = {}
    for name, pattern in SHEETS.items():
        sheet = _sheet(folder / pattern.format(kind), size, index["columns"], len(rows), bits=name == "regions")
        parts[name] = _cut(sheet, size, len(rows))
    items = []
    for number, row in enumerate(rows[:limit]):
        try:
            texts, facts = _texts(row), [facts_from_json(row[key]) for key in ("before", "after")]
            digest = str(row["sha256"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}, item {number}: {error}; get the bench again") from error
        picture, region = parts["inputs"][number], parts["regions"][number].astype(np.bool_)
        other = np.where(region[..., None], parts["counterfactuals"][number], picture)
        if hashlib.sha256(other.tobytes()).hexdigest() != digest:
            raise InputError(
                f"{path}, item {number}: the sheets beside it do not give its counterfactual; get them again"
            )
        name = f"{split}/{kind}/{number:03d}"
        retrieved = parts["retrieved"][number]
        ceiling = None if ceilings is None else ceilings[number]
        arrays = picture, other, region, retrieved
        items.append(TruthItem(name, split, kind, *arrays, texts, facts[0], facts[1], ceiling))
    return items


def _index(path: Path, split: Split, kind: Kind) -> dict[str, Any]:
    """Read an index and check all of it but its items."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); is {path.parent.parent} a truth bench?"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); get the bench again") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        schema = data.get("schema") if isinstance(data, dict) else None
        raise InputError(f"{path}: schema {schema!r}, this version of wordbrush reads {SCHEMA}")
    if (data.get("split"), data.get("kind")) != (split, kind):
        raise InputError(f"{path}: says it is {data.get('split')}/{data.get('kind')}; get the bench again")
    numbers = [data.get("size"), data.get("columns")]
    if not all(type(number) is int and 1 <= number <= _LIMIT for number in numbers):
        raise InputError(f"{path}: size and columns are {numbers}, they must be 1 to {_LIMIT}")
    if not isinstance(data.get("items"), list) or not 1 <= len(data["items"]) <= _LIMIT:
        raise InputError(f"{path}: no list of 1 to {_LIMIT} items; get the bench again")
    return data


def _texts(row: Mapping[str, Any]) -> dict[Any, tuple[str, str]]:
    """Return (reference, query) by phrasing."""
    texts = {}
    for phrasing in PHRASINGS:
        reference, query = row["texts"][phrasing]
        if not isinstance(reference, str) or not isinstance(query, str):
            raise TypeError(f"the texts of {phrasing} are not two strings")
        texts[phrasing] = (reference, query)
    return texts


def _sheet(path: Path, size: int, columns: int, count: int, *, bits: bool) -> Bytes | Bool:
    """Read a sheet, (row of pictures, row, column of pictures, column, ...); its size is checked before decoding."""
    rows = -(-count // columns)
    width, height = columns * size, rows * size
    try:
        with Image.open(path, formats=["PNG"] if bits else ["WEBP"]) as file:
            if file.size != (width, height):
                actual = "x".join(str(side) for side in file.size)
                raise InputError(f"{path}: {actual} pixels, its index says {width}x{height}; get the bench again")
            pixels = np.asarray(file.convert("1" if bits else "RGB"))
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is not a {'PNG' if bits else 'WebP'} picture; get the bench again") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error}); get the bench again") from error
    return pixels.reshape(rows, size, columns, size, *pixels.shape[2:])


def _cut(sheet: Bytes | Bool, size: int, count: int) -> Any:
    """Cut a sheet into pictures, (picture, row, column, ...)."""
    return np.ascontiguousarray(sheet.swapaxes(1, 2)).reshape(-1, size, size, *sheet.shape[4:])[:count]
