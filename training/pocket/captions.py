"""Captions of a scene: the plain one that edits are worded like, short variants, and long ones that name everything."""

from __future__ import annotations

from .scenes import Scene, Thing, caption
from .words import GROUND_PHRASES, with_article

CAPTIONS_PER_SCENE = 8


def captions(scene: Scene) -> list[str]:
    """Return `CAPTIONS_PER_SCENE` true descriptions, the plain one first and repeated for its weight.

    The last two are the long ones: object, colour, size, place, ground and time of day are all named.
    """
    place, when, plain = GROUND_PHRASES[scene.ground], _time(scene), caption(scene)
    told = f" {_daytime(scene)}"
    if not scene.things:
        bare = f"empty {_bare(place)}"
        return [plain, plain, f"a photo of {plain}", plain, f"{bare}{when}", plain, f"{bare}{told}", f"{place}{told}"]
    objects, loose = _objects(scene), _objects(scene, colour=False)
    stands = "standing" if len(scene.things) == 1 else "side by side"
    described = " and ".join(_described(scene, thing) for thing in scene.things)
    return [
        plain,
        plain,
        f"a photo of {objects} {stands} on {place}{when}",
        f"{place} with {objects}{when}",
        f"{loose} on {place}{when}",
        f"a photo of {objects}",
        f"{described} {stands} on {place}{told}",
        f"a photo of {place}{told} with {described}",
    ]


def size_word(thing: Thing) -> str:
    """Return the word for a thing's size: one of two objects is small, a lone one big or huge."""
    return "small" if thing.size < 0.5 else "big" if thing.size < 0.65 else "huge"


def _described(scene: Scene, thing: Thing) -> str:
    named = " ".join(word for word in (size_word(thing), thing.colour, thing.noun) if word)
    if len(scene.things) == 1:
        return f"{with_article(named)} in the middle"
    return f"{with_article(named)} on the {'left' if thing is scene.things[0] else 'right'}"


def _daytime(scene: Scene) -> str:
    return "at night" if scene.time == "night" else "by day"


def _objects(scene: Scene, colour: bool = True) -> str:
    return " and ".join(thing.phrase(colour) for thing in scene.things)


def _time(scene: Scene) -> str:
    return " at night" if scene.time == "night" else ""


def _bare(place: str) -> str:
    first, _, rest = place.partition(" ")
    return rest if first in ("a", "an", "the") else place
