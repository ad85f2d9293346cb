"""What a perfect artist's rms would be: ``python -m benchmarks.truth.artist --work FOLDER``.

A counterfactual shows the new thing as the old one stood: as far tilted, facing the same side, of one size. No text
says so. The artist here paints a flawless new thing at the right place, into the true region and nowhere else, and has
to guess the rest: the mean rms over its guesses is what flawless drawing alone comes to. A lower rms is won by keeping
the old pose.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from training.pocket.artwork import Artwork, FluentArtwork, fetch
from training.pocket.edits import Edit, sample_edit
from training.pocket.render import render, true_region
from training.pocket.scenes import TILT, Thing
from wordbrush.evaluation.intervals import interval_over
from wordbrush.evaluation.items import Kind

BENCH: Final = Path(__file__).parent
KINDS: Final[tuple[Kind, ...]] = ("object", "colour", "pair", "addition")
Guess = Callable[[Thing, np.random.Generator], Thing]


def facing(thing: Thing, rng: np.random.Generator) -> Thing:
    """Return the thing facing either side."""
    return replace(thing, flip=bool(rng.integers(2)))


def leaning(thing: Thing, rng: np.random.Generator) -> Thing:
    """Return it facing either side, with a tilt as scenes have it, in degrees."""
    return replace(facing(thing, rng), tilt=float(rng.uniform(-TILT, TILT)))


def sized(thing: Thing, rng: np.random.Generator) -> Thing:
    """Return it as `leaning` does, up to a tenth larger or smaller."""
    turned = leaning(thing, rng)
    return replace(turned, size=turned.size * float(rng.uniform(0.9, 1.1)))


GUESSES: Final[Mapping[str, Guess]] = {
    "side unknown": facing,
    "side and tilt": leaning,
    "side, tilt, size within a tenth": sized,
}


def artist_rms(edit: Edit, artwork: Artwork, guess: Guess, *, draws: int = 16, seed: int = 0) -> float:
    """Return the mean rms, in levels of 255, of the artist's pictures to the counterfactual over `draws` guesses."""
    rng = np.random.default_rng(seed)
    before, truth = (render(scene, artwork).picture.astype(np.float64) for scene in (edit.scene, edit.other))
    region = true_region(edit.scene, edit.other, artwork)[..., None]
    values = []
    for _ in range(draws):
        things = tuple(thing if thing in edit.scene.things else guess(thing, rng) for thing in edit.other.things)
        painted = render(replace(edit.other, things=things), artwork).picture
        values.append(np.sqrt(np.mean((np.where(region, painted, before) - truth) ** 2)))
    return float(np.mean(values))


def main() -> None:
    """Print a table: a line for each kind, mean and interval for each guess."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.truth.artist", description=__doc__)
    line.add_argument("--work", type=Path, required=True, help="folder of the artwork, fetched if it is not there")
    line.add_argument("--split", choices=["dev", "test"], default="test")
    line.add_argument("--limit", type=int, default=30, help="items a kind")
    args = line.parse_args()
    artwork = FluentArtwork(fetch(args.work))
    print("| kind | n |", " | ".join(GUESSES), "|")
    print("|", " | ".join(["---"] * (2 + len(GUESSES))), "|")
    for kind in KINDS:
        rows = json.loads((BENCH / args.split / f"{kind}.json").read_text(encoding="utf-8"))["items"][: args.limit]
        cells = []
        for guess in GUESSES.values():
            values = [artist_rms(sample_edit(kind, row["number"]), artwork, guess) for row in rows]
            mean = interval_over({kind: values})
            cells.append(f"{mean.mean:.1f} [{mean.low:.1f}, {mean.high:.1f}]")
        print(f"| {kind} | {len(rows)} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
