"""Makes the truth bench from scenes never trained on: ``python -m benchmarks.truth.make --work FOLDER``.

The artwork is fetched into the work folder unless it is there. The files are described in
`wordbrush.evaluation.truth`. The same code and artwork always make the same items.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from PIL import Image

from training.pocket.artwork import Artwork, FluentArtwork, fetch
from training.pocket.edits import Edit, sample_edit
from training.pocket.heldout import COLUMNS, COUNTS, save_pictures, save_regions, sheet
from training.pocket.render import SIZE, render, true_region
from training.pocket.scenes import Scene, caption, sample_scene, stream_of
from training.pocket.words import GROUND_PHRASES
from wordbrush.evaluation.items import KINDS, Kind, Phrasing, Split
from wordbrush.evaluation.truth import SCHEMA, SHEETS, facts_to_json
from wordbrush.files import write_atomic

from .facts import facts_of

PER_KIND: Final = 60
STARTS: Final[dict[Split, int]] = {"dev": 100_000, "test": 200_000}
"""Number of each split's first edit; the tests of the pocket model use numbers below 6000."""
_RETRIEVED: Final[dict[Split, int]] = {"dev": 30_000_000, "test": 40_000_000}
"""Number of the first scene of each split's retrieved pictures."""
_ROOM: Final = 100_000
"""Size of the range of numbers that a split's edits, and a kind's retrieved scenes, are taken from."""


@dataclass(frozen=True)
class Entry:
    """One item as scenes: the edit, its number, and a scene that shows what the query says."""

    edit: Edit
    number: int
    retrieved: Scene


def phrases(edit: Edit) -> tuple[str, str]:
    """Return (reference, query) as a user types them: what is there now, and what shall be there.

    A place that changes its time, or stands where a thing was or will be, is named with its time.
    """
    before, after = edit.scene, edit.other
    places = [GROUND_PHRASES[scene.ground] for scene in (before, after)]
    if edit.kind == "ground":
        return places[0], places[1]
    timed = [
        f"{place} at night" if s.time == "night" else place for place, s in zip(places, (before, after), strict=True)
    ]
    old = [thing.phrase() for thing in before.things if thing not in after.things]
    new = [thing.phrase() for thing in after.things if thing not in before.things]
    return (old or timed[:1])[0], (new or timed[1:])[0]


def texts(edit: Edit) -> dict[Phrasing, tuple[str, str]]:
    """Return (reference, query) in every phrasing."""
    return {"captions": (edit.reference, edit.query), "phrases": phrases(edit), "empty": ("", edit.query)}


def retrieved(edit: Edit, number: int) -> Scene:
    """Return scene `number` of the held-out stream, made to show exactly what the query says."""
    other = edit.other
    scene = sample_scene(number, "heldout", len(other.things))
    things = [
        replace(mine, noun=its.noun, colour=its.colour) for mine, its in zip(scene.things, other.things, strict=True)
    ]
    return replace(scene, things=tuple(things), ground=other.ground, time=other.time)


def entries(splits: tuple[Split, ...] = ("dev", "test")) -> Iterator[tuple[Split, Kind, list[Entry]]]:
    """Yield the items of each split and kind; no two share texts or a backdrop, nor with the tests' held-out edits."""
    tested = [sample_edit(kind, index) for kind, count in COUNTS.items() for index in range(count)]
    known = {(edit.reference, edit.query) for edit in tested}
    seeds = {edit.scene.seed for edit in tested}
    for split in splits:
        for position, kind in enumerate(KINDS):
            items: list[Entry] = []
            for number in range(STARTS[split], STARTS[split] + _ROOM):
                edit = sample_edit(kind, number)
                scene = retrieved(edit, _RETRIEVED[split] + position * _ROOM + len(items))
                used = (edit.reference, edit.query) in known or {edit.scene.seed, scene.seed} & seeds
                if used or edit.scene.seed == scene.seed:
                    continue
                known.add((edit.reference, edit.query))
                seeds |= {edit.scene.seed, scene.seed}
                items.append(Entry(edit, number, scene))
                if len(items) == PER_KIND:
                    break
            yield split, kind, items


def row(entry: Entry, digest: str) -> dict[str, Any]:
    """Return an item's row of the index; `digest` is that of the counterfactual's bytes."""
    edit, shown = entry.edit, entry.retrieved
    if caption(shown) != edit.query or {stream_of(edit.scene.seed), stream_of(shown.seed)} != {"heldout"}:
        raise ValueError(
            f"{edit.kind} {entry.number}: the retrieved scene is not what the query says, or was trained on"
        )
    facts = {"before": facts_to_json(facts_of(edit.scene)), "after": facts_to_json(facts_of(edit.other))}
    return {"number": entry.number, "texts": texts(edit), **facts, "sha256": digest}


def write_kind(split: Split, kind: Kind, items: list[Entry], artwork: Artwork, out: Path) -> None:
    """Draw and write the items of a kind; raises `ValueError` if a pixel differs outside the region, or none inside."""
    folder = out / split
    folder.mkdir(parents=True, exist_ok=True)
    inputs, regions, others, retrieved_pictures, rows = [], [], [], [], []
    for entry in items:
        edit = entry.edit
        before, after = render(edit.scene, artwork).picture, render(edit.other, artwork).picture
        region = true_region(edit.scene, edit.other, artwork)
        differs = (before != after).any(axis=-1)
        if (differs & ~region).any() or not differs.any():
            raise ValueError(
                f"{kind} {entry.number}: {int((differs & ~region).sum())} pixels differ outside the region"
            )
        inputs.append(before)
        regions.append(region)
        others.append(after * region[..., None])
        retrieved_pictures.append(render(entry.retrieved, artwork).picture)
        rows.append(row(entry, hashlib.sha256(after.tobytes()).hexdigest()))
    names = {key: folder / pattern.format(kind) for key, pattern in SHEETS.items()}
    save_pictures(inputs, names["inputs"])
    save_regions(regions, names["regions"])
    save_pictures(others, names["counterfactuals"])
    Image.fromarray(sheet(retrieved_pictures)).save(names["retrieved"], quality=90, method=6)
    head = {"schema": SCHEMA, "split": split, "kind": kind, "size": SIZE, "columns": COLUMNS}
    lines = ",\n".join(json.dumps(line) for line in rows)
    text = json.dumps(head)[:-1] + ', "items": [\n' + lines + "\n]}\n"
    write_atomic(folder / f"{kind}.json", text.encode(), force=True)


def main() -> None:
    """Make the truth bench."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.truth.make", description=__doc__)
    line.add_argument("--work", type=Path, required=True, help="folder of the artwork, fetched if it is not there")
    line.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = line.parse_args()
    artwork = FluentArtwork(fetch(args.work))
    for split, kind, items in entries():
        write_kind(split, kind, items, artwork, args.out)
        print(f"{split}/{kind}: {len(items)} items", file=sys.stderr, flush=True)
    files = [file for split in STARTS for file in (args.out / split).iterdir()]
    total = sum(file.stat().st_size for file in files)
    print(json.dumps({"items": 2 * len(KINDS) * PER_KIND, "bytes": total, "megabytes": round(total / 1e6, 2)}))


if __name__ == "__main__":
    main()
