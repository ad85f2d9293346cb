"""Writes the held-out edits that quality is measured on: per kind a sheet of inputs, a sheet of true regions, texts.

Sheets are `COLUMNS` pictures wide, in reading order. A fresh machine can score a model with them without the artwork.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from .artwork import Artwork, FluentArtwork, fetch
from .edits import EditKind, sample_edit
from .render import SIZE, render, true_region
from .store import save_json

COLUMNS = 10
COUNTS: dict[EditKind, int] = {"object": 50, "ground": 50, "colour": 50, "pair": 24, "time": 24}


def sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """Lay equal pictures out in reading order, `COLUMNS` a row; missing ones at the end are zero."""
    rows = -(-len(pictures) // COLUMNS)
    page = np.zeros((rows * SIZE, COLUMNS * SIZE, *pictures[0].shape[2:]), pictures[0].dtype)
    for number, picture in enumerate(pictures):
        top, left = number // COLUMNS * SIZE, number % COLUMNS * SIZE
        page[top : top + SIZE, left : left + SIZE] = picture
    return page


def save_pictures(pictures: list[np.ndarray], path: Path) -> None:
    """Write pictures as one lossless WebP sheet."""
    Image.fromarray(sheet(pictures)).save(path, lossless=True, quality=100, method=6)


def save_regions(regions: list[np.ndarray], path: Path) -> None:
    """Write regions as one PNG sheet of one bit a pixel."""
    Image.fromarray(sheet(regions)).save(path, optimize=True)


def write_kind(kind: EditKind, count: int, artwork: Artwork, folder: Path) -> list[dict[str, str]]:
    """Write ``KIND-inputs.webp`` (lossless) and ``KIND-regions.png`` (1 bit); return the texts."""
    edits = [sample_edit(kind, index) for index in range(count)]
    save_pictures([render(edit.scene, artwork).picture for edit in edits], folder / f"{kind}-inputs.webp")
    save_regions([true_region(edit.scene, edit.other, artwork) for edit in edits], folder / f"{kind}-regions.png")
    return [{"reference": edit.reference, "query": edit.query} for edit in edits]


def write(folder: Path, artwork: Artwork) -> None:
    """Write every kind and ``heldout.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {}
    for kind, count in COUNTS.items():
        texts = write_kind(kind, count, artwork, folder)
        kinds[kind] = {"inputs": f"{kind}-inputs.webp", "regions": f"{kind}-regions.png", "edits": texts}
    save_json({"size": SIZE, "columns": COLUMNS, "kinds": kinds}, folder / "heldout.json")


def main() -> None:
    """Write the held-out edits."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.heldout", description=__doc__)
    line.add_argument("--work", type=Path, required=True)
    line.add_argument("--out", type=Path, default=Path("tests/pocket/heldout"))
    args = line.parse_args()
    write(args.out, FluentArtwork(fetch(args.work)))


if __name__ == "__main__":
    main()
