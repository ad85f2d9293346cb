"""Turn a scene into the facts of the evaluation."""

from __future__ import annotations

from typing import Literal, cast

from training.pocket.scenes import Scene
from wordbrush.evaluation.items import SLOTS, Facts, Slot, Thing


def slots_of(scene: Scene) -> tuple[Slot, ...]:
    """Return the slot of each thing: the middle, or left and right; a lone thing at a side keeps its side."""
    if len(scene.things) > 1:
        return ("left", "right")
    return tuple(SLOTS[0 if thing.x < 0.35 else 2 if thing.x > 0.65 else 1] for thing in scene.things)


def facts_of(scene: Scene) -> Facts:
    """Return the facts of a scene: things by slot, ground and time."""
    things = zip(slots_of(scene), scene.things, strict=True)
    time = cast("Literal['day', 'night']", scene.time)
    return Facts({slot: Thing(thing.noun, thing.colour) for slot, thing in things}, scene.ground, time)
