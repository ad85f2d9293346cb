"""Writes the example pictures: never-trained scenes, the texts of their edits, and the truth of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from .artwork import Artwork
from .edits import Edit, EditKind
from .render import render, true_region
from .scenes import Change, Scene, Thing, counterfactual, sample_scene
from .store import save_json

Row = tuple[str, int, EditKind, str, str, str, Change]
_ROWS: tuple[Row, ...] = (
    ("fox", 8, "object", "fox", "snow", "day", Change("object", "penguin")),
    ("apple", 28, "object", "apple", "floor", "day", Change("object", "pumpkin")),
    ("cactus", 25, "object", "cactus", "sand", "day", Change("object", "penguin")),
    ("pumpkin-on-grass", 26, "object", "pumpkin", "grass", "day", Change("object", "panda")),
    ("car", 2, "colour", "red car", "road", "day", Change("colour", "blue")),
    ("penguin", 3, "ground", "penguin", "snow", "day", Change("ground", "sand")),
    ("house", 4, "time", "house", "grass", "day", Change("time", "night")),
    ("owl-and-tree", 5, "pair", "owl,tree", "sand", "day", Change("object", "panda", 0)),
    ("pumpkin", 6, "removal", "pumpkin", "floor", "day", Change("removal")),
    ("moon", 7, "addition", "", "moon", "day", Change("addition", "robot")),
    ("horse", 0, "object", "horse", "grass", "day", Change("object", "zebra")),
    ("ball", 9, "colour", "blue ball", "sand", "day", Change("colour", "red")),
    ("strawberry", 10, "object", "strawberry", "water", "day", Change("object", "duck")),
    ("cow", 11, "ground", "cow", "road", "day", Change("ground", "grass")),
)
"""Name, scene number, kind, things, ground, time and change of every example; the first one is the demo's."""


def _scene(number: int, things: str, ground: str, time: str) -> Scene:
    """Return a held-out scene with the given things in the places that sampling chose."""
    wanted = [thing.split() for thing in things.split(",") if thing]
    scene = sample_scene(9_000_000 + number, "heldout", len(wanted))
    placed: list[Thing] = []
    for words, thing in zip(wanted, scene.things, strict=True):
        placed.append(replace(thing, noun=words[-1], colour=words[0] if len(words) == 2 else None))
    return replace(scene, things=tuple(placed), ground=ground, time=time)


def example_edits() -> list[tuple[str, Edit]]:
    """Return every example's file name, without its ending, and its edit."""
    made = []
    for name, number, kind, things, ground, time, change in _ROWS:
        scene = _scene(number, things, ground, time)
        made.append((name, Edit(kind, scene, counterfactual(scene, change))))
    return made


def write(folder: Path, artwork: Artwork) -> None:
    """Write ``NAME.png``, ``truth/NAME-region.png`` (1 bit), ``truth/NAME-after.png`` and ``examples.json``."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    listed = []
    for name, edit in example_edits():
        render(edit.scene, artwork).image.save(folder / f"{name}.png", optimize=True)
        render(edit.other, artwork).image.save(folder / "truth" / f"{name}-after.png", optimize=True)
        region = Image.fromarray(true_region(edit.scene, edit.other, artwork))
        region.save(folder / "truth" / f"{name}-region.png", optimize=True)
        listed.append(
            {
                "file": f"{name}.png",
                "from": edit.reference,
                "to": edit.query,
                "kind": edit.kind,
                "region": f"truth/{name}-region.png",
                "after": f"truth/{name}-after.png",
            }
        )
    save_json(listed, folder / "examples.json")
