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

Row = tuple[str, EditKind, str, str, str, Change]
_ROWS: tuple[Row, ...] = (
    ("horse", "object", "horse", "grass", "day", Change("object", "zebra")),
    ("apple", "object", "apple", "table", "day", Change("object", "orange")),
    ("car", "colour", "red car", "road", "day", Change("colour", "blue")),
    ("penguin", "ground", "penguin", "snow", "day", Change("ground", "sand")),
    ("house", "time", "house", "grass", "day", Change("time", "night")),
    ("owl-and-tree", "pair", "owl,tree", "sand", "day", Change("object", "panda", 0)),
    ("pumpkin", "removal", "pumpkin", "floor", "day", Change("removal")),
    ("moon", "addition", "", "moon", "day", Change("addition", "robot")),
    ("fox", "object", "fox", "snow", "day", Change("object", "owl")),
    ("ball", "colour", "blue ball", "sand", "day", Change("colour", "red")),
    ("strawberry", "object", "strawberry", "water", "day", Change("object", "duck")),
    ("cow", "ground", "cow", "road", "day", Change("ground", "grass")),
)
"""Name, kind, things, ground, time and change of every example; the first one is the demo's."""


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
    for number, (name, kind, things, ground, time, change) in enumerate(_ROWS):
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
