"""Works out the ceilings of the mask's IoU: ``python -m benchmarks.truth.ceilings --work FOLDER``.

The true region of an edit holds what vanishes and what appears; a picture shows only the first. The ceiling of an item
is the IoU with the true region of what its input shows of it: the old thing's silhouette, with its shadow where that
goes too; for grounds and times everything but the things. It is what a perfect segmenter of the old thing would get,
and what no method can be expected to exceed but by luck. An addition replaces nothing that could be found: 0.

The scenes are drawn again, and each must be the bench's own input to the byte. `ceilings.json` is the only file
written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np

from training.pocket.artwork import Artwork, FluentArtwork, fetch
from training.pocket.edits import Edit, sample_edit
from training.pocket.render import Bool, Rendering, render
from wordbrush.evaluation.items import KINDS, Kind, Split
from wordbrush.evaluation.metrics import iou
from wordbrush.evaluation.truth import CEILINGS, SCHEMA, load_truth
from wordbrush.files import write_atomic

BENCH: Final = Path(__file__).parent
SPLITS: Final[tuple[Split, ...]] = ("dev", "test")


def shown(edit: Edit, drawn: Rendering) -> Bool:
    """Return what the input shows of what must change, (row, column); `drawn` is the edit's scene."""
    region: Bool = np.zeros(drawn.picture.shape[:2], np.bool_)
    if edit.kind in ("ground", "time"):
        for silhouette in drawn.silhouettes:
            region |= silhouette
        return ~region
    for thing, silhouette, shadow in zip(edit.scene.things, drawn.silhouettes, drawn.shadows, strict=True):
        if thing not in edit.other.things:
            region |= silhouette if edit.kind == "colour" else silhouette | shadow
    return region


def ceilings(split: Split, kind: Kind, artwork: Artwork) -> list[float]:
    """Return the ceiling of each item of a kind; raises `ValueError` where a scene is not the item's input."""
    index = json.loads((BENCH / split / f"{kind}.json").read_text(encoding="utf-8"))
    values = []
    for item, row in zip(load_truth(BENCH, split, [kind]), index["items"], strict=True):
        edit = sample_edit(kind, row["number"])
        drawn = render(edit.scene, artwork)
        if not np.array_equal(drawn.picture, item.picture):
            raise ValueError(f"{item.id}: the scene drawn again is not the bench's input; is the artwork the same?")
        values.append(round(iou(shown(edit, drawn) & item.region, item.region), 4))
    return values


def main() -> None:
    """Write the ceilings of the bench."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.truth.ceilings", description=__doc__)
    line.add_argument("--work", type=Path, required=True, help="folder of the artwork, fetched if it is not there")
    artwork = FluentArtwork(fetch(line.parse_args().work))
    found = {split: {kind: ceilings(split, kind, artwork) for kind in KINDS} for split in SPLITS}
    for split, kinds in found.items():
        print(split, {kind: round(float(np.mean(values)), 3) for kind, values in kinds.items()}, file=sys.stderr)
    write_atomic(BENCH / CEILINGS, (json.dumps({"schema": SCHEMA, **found}) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
