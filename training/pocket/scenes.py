"""Scenes as data: what stands where, on what, when; sampling, captions, and one-change counterfactuals.

Streams. A scene belongs to the stream that its `seed` belongs to: SHA-256 of the seed's decimal digits, first byte
below `HELDOUT_BYTES` means "heldout", anything else "train". Sampling draws seeds until one fits the stream, and no
counterfactual changes the seed, so neither a held-out scene nor its counterfactual can ever be a training scene.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .words import COLOURS, GROUND_PHRASES, GROUNDS, NOUNS, RECOLOURABLE, with_article

Stream = Literal["train", "heldout"]
HELDOUT_BYTES = 16
"""Seeds whose hash begins with a byte below this one, 1 of 16, are held out."""
TILT = 8.0
"""Most degrees that a thing leans to either side."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene. Lengths are fractions of the frame; `x` is the middle, `y` the foot (0 is the top)."""

    noun: str
    x: float
    y: float
    size: float
    flip: bool = False
    tilt: float = 0.0
    colour: str | None = None

    def phrase(self, colour: bool = True) -> str:
        """Return the object with its article: "a red car", or "a car" without `colour`."""
        named = f"{self.colour} {self.noun}" if colour and self.colour else self.noun
        return with_article(named)


@dataclass(frozen=True)
class Scene:
    """A whole scene; rendering is a pure function of it and of the artwork.

    `things` go left to right. `horizon` is the height of the ground's edge, `light` in [-1, 1] leans the shadows,
    `seed` decides the backdrop's details.
    """

    things: tuple[Thing, ...]
    ground: str
    time: str
    horizon: float
    light: float
    seed: int


@dataclass(frozen=True)
class Change:
    """One change to a scene. `kind` is object, colour, ground, time, removal or addition; `index` names the thing."""

    kind: Literal["object", "colour", "ground", "time", "removal", "addition"]
    value: str = ""
    index: int = 0


def stream_of(seed: int) -> Stream:
    """Return the stream that scenes with this seed belong to."""
    return "heldout" if hashlib.sha256(str(seed).encode()).digest()[0] < HELDOUT_BYTES else "train"


def _seed_in(stream: Stream, rng: np.random.Generator) -> int:
    while True:
        seed = int(rng.integers(1 << 31))
        if stream_of(seed) == stream:
            return seed


def _thing(rng: np.random.Generator, noun: str, x: float, size: tuple[float, float]) -> Thing:
    return Thing(
        noun=noun,
        x=x,
        y=float(rng.uniform(0.82, 0.91)),
        size=float(rng.uniform(*size)),
        flip=bool(rng.integers(2)),
        tilt=float(rng.uniform(-TILT, TILT)),
        colour=str(rng.choice(COLOURS)) if noun in RECOLOURABLE else None,
    )


def sample_scene(index: int, stream: Stream, count: int | None = None) -> Scene:
    """Draw scene number `index` of a stream; `count` fixes the number of objects (else 4 % none, 75 % one, 21 % two).

    The same arguments always give the same scene.
    """
    rng = np.random.default_rng([index, 0 if stream == "train" else 1])
    seed = _seed_in(stream, rng)
    draw = float(rng.uniform())
    number = count if count is not None else (0 if draw < 0.04 else 1 if draw < 0.79 else 2)
    nouns = [str(noun) for noun in rng.choice(NOUNS, size=number, replace=False)]
    if number == 1:
        things = [_thing(rng, nouns[0], 0.5 + float(rng.uniform(-0.07, 0.07)), (0.56, 0.74))]
    else:
        spots = [0.27, 0.73]
        things = [_thing(rng, n, spots[i] + float(rng.uniform(-0.03, 0.03)), (0.39, 0.45)) for i, n in enumerate(nouns)]
    return Scene(
        things=tuple(things),
        ground=str(rng.choice(GROUNDS)),
        time="night" if rng.uniform() < 0.25 else "day",
        horizon=float(rng.uniform(0.42, 0.58)),
        light=float(rng.uniform(-1.0, 1.0)),
        seed=seed,
    )


def caption(scene: Scene) -> str:
    """Return the scene's plain caption: objects left to right, place, and time if it is night."""
    place = GROUND_PHRASES[scene.ground] + (" at night" if scene.time == "night" else "")
    objects = " and ".join(thing.phrase() for thing in scene.things)
    return f"{objects} on {place}" if objects else place


def counterfactual(scene: Scene, change: Change) -> Scene:
    """Return the scene with one thing changed; raises `ValueError` if the change does not apply or changes nothing."""
    if change.kind == "ground":
        changed = replace(scene, ground=change.value)
    elif change.kind == "time":
        changed = replace(scene, time=change.value)
    elif change.kind == "addition":
        changed = _add(scene, change.value)
    else:
        if not 0 <= change.index < len(scene.things):
            raise ValueError(f"the scene has {len(scene.things)} objects, none at index {change.index}")
        changed = _alter(scene, change)
    if changed == scene:
        raise ValueError(f"{change} changes nothing in this scene")
    return changed


def _alter(scene: Scene, change: Change) -> Scene:
    old = scene.things[change.index]
    before, after = scene.things[: change.index], scene.things[change.index + 1 :]
    if change.kind == "removal":
        return replace(scene, things=before + after)
    if change.kind == "colour":
        if old.colour is None or change.value not in COLOURS:
            raise ValueError(f"{old.noun} cannot be drawn in {change.value!r}")
        return replace(scene, things=(*before, replace(old, colour=change.value), *after))
    *words, noun = change.value.split()
    colour = words[0] if words else COLOURS[scene.seed % len(COLOURS)]
    new = replace(old, noun=noun, colour=colour if noun in RECOLOURABLE else None)
    return replace(scene, things=(*before, new, *after))


def _add(scene: Scene, value: str) -> Scene:
    """Add an object: to the middle of an empty scene, else to the side that is free."""
    rng = np.random.default_rng([scene.seed, 7])
    *words, noun = value.split()
    if len(scene.things) > 1:
        raise ValueError("a scene holds two objects at most")
    old = scene.things[0] if scene.things else None
    right = old is None or old.x < 0.5
    new = _thing(rng, noun, 0.73 if right else 0.27, (0.39, 0.45))
    if old is None:
        new = replace(new, x=0.5, size=0.6)
    if words and new.colour:
        new = replace(new, colour=words[0])
    things = (old, new) if old is not None and right else (new, old) if old is not None else (new,)
    return replace(scene, things=things)
