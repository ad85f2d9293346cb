"""Held-out edits: a scene, its counterfactual, the two texts and the true region, for each kind of change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from .scenes import Change, Scene, Stream, caption, counterfactual, sample_scene
from .words import COLOURS, GROUNDS, NOUNS, RECOLOURABLE

EditKind = Literal["object", "ground", "colour", "pair", "time", "removal", "addition"]
KINDS: Final[tuple[EditKind, ...]] = ("object", "ground", "colour", "pair", "time", "removal", "addition")
_OFFSETS: Final = {kind: 1_000_000 * (number + 1) for number, kind in enumerate(KINDS)}
"""Each kind numbers its scenes from its own offset, far from those that training uses."""


@dataclass(frozen=True)
class Edit:
    """An edit task: turn `scene`, described by `reference`, into `other`, described by `query`."""

    kind: EditKind
    scene: Scene
    other: Scene

    @property
    def reference(self) -> str:
        """The text of the picture as it is."""
        return caption(self.scene)

    @property
    def query(self) -> str:
        """The text of the picture as it shall be."""
        return caption(self.other)


def _other(rng: np.random.Generator, words: tuple[str, ...], without: set[str]) -> str:
    return str(rng.choice([word for word in words if word not in without]))


def _noun(rng: np.random.Generator, scene: Scene) -> str:
    """Return a noun that is not in the scene, with a colour word if it takes one."""
    noun = _other(rng, NOUNS, {thing.noun for thing in scene.things})
    return f"{rng.choice(COLOURS)} {noun}" if noun in RECOLOURABLE else noun


def sample_edit(kind: EditKind, index: int, stream: Stream = "heldout") -> Edit:
    """Draw edit number `index` of a kind; the same arguments always give the same edit."""
    number = _OFFSETS[kind] + index
    rng = np.random.default_rng([number, 5])
    count = {"pair": 2, "addition": 0}.get(kind, 1)
    scene = sample_scene(number, stream, count)
    if kind == "colour":
        thing = replace(scene.things[0], noun=str(rng.choice(RECOLOURABLE)), colour=str(rng.choice(COLOURS)))
        scene = replace(scene, things=(thing,))
        change = Change("colour", _other(rng, COLOURS, {str(thing.colour)}))
    elif kind == "ground":
        scene = replace(scene, time="day")
        change = Change("ground", _other(rng, GROUNDS, {scene.ground}))
    elif kind == "time":
        scene = replace(scene, time="day", ground=_other(rng, GROUNDS, {"moon"}))
        change = Change("time", "night")
    elif kind == "removal":
        change = Change("removal")
    elif kind == "addition":
        change = Change("addition", _noun(rng, scene))
    else:
        change = Change("object", _noun(rng, scene), int(rng.integers(2)) if kind == "pair" else 0)
    return Edit(kind, scene, counterfactual(scene, change))
