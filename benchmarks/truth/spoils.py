"""Faults by code: each spoils a counterfactual the way edits fail, and tells where.

Every fault takes a case, a picture of another scene and random numbers, and returns `Spoiled`. Strength is random, from
faint to strong. A pixel counts as faulty where the change is plain, as unsure where it is faint or where a fault at
its border cannot be seen from inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wordbrush.evaluation.items import Bool, Bytes, Float

from .critic_cases import Case
from .spoil_places import backdrop, band, blob, box, drifted, plane, signed, soft, thing_of, waves

PLAIN: Final = 20.0
"""Change of a pixel, of 255, averaged over 3 x 3 pixels, from which it is a fault that anybody sees."""
FAINT: Final = 6.0
"""Change below which nobody sees anything."""
FEWEST: Final = 14
"""A spoiled picture with fewer plain pixels is not labelled."""


@dataclass(frozen=True)
class Spoiled:
    """A spoiled picture (height, width, RGB), where it is plainly faulty, and where it cannot be told."""

    picture: Bytes
    fault: Bool
    unsure: Bool

    @property
    def plain(self) -> bool:
        """Whether anybody would call this picture spoiled."""
        return int(self.fault.sum()) >= FEWEST


Fault = Callable[[Case, Bytes, np.random.Generator], Spoiled]


def _close(base: Bytes, picture: Float, where: Bool | None = None) -> Spoiled:
    """Round the picture; its faults are what differs plainly from the base, only in `where` if that is given."""
    made = picture.clip(0, 255).round().astype(np.uint8)
    apart = np.abs(made.astype(np.float32) - base).max(axis=-1)
    change = np.asarray(ndimage.uniform_filter(apart, 3), np.float32)
    fault, seen = change >= PLAIN, change >= FAINT
    if where is not None:
        fault = fault & where
    return Spoiled(made, fault, seen & ~fault)


def _mixed(base: Bytes, other: Float | Bytes | NDArray[np.float64], weight: Float) -> Float:
    under = base.astype(np.float32)
    return under + weight[..., None].astype(np.float32) * (np.asarray(other, np.float32) - under)


def _paint(case: Case, where: Bool, rng: np.random.Generator) -> Float:
    """Return a colour that an edit may leave: the old picture's, another place's, white, black, or any."""
    choice = rng.integers(5)
    if choice == 0 and where.any():
        return np.asarray(case.before[where].mean(axis=0), np.float32)
    if choice == 1:
        return np.full(3, rng.choice([20.0, 245.0]), np.float32)
    if choice == 2:
        return rng.uniform(0, 255, 3).astype(np.float32)
    y, x = rng.integers(case.after.shape[0], size=2)
    return np.asarray((case.before if choice == 3 else case.after)[y, x], np.float32)


def ghost(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Leave a thin line where another thing's outline was, whole or in pieces."""
    outline = drifted(thing_of(case, rng), rng) if rng.uniform() < 0.5 or not case.old.any() else case.old
    line = np.exp(-((signed(outline) / rng.uniform(0.6, 1.8)) ** 2)).astype(np.float32)
    weight = line * rng.uniform(0.15, 1.0)
    if rng.uniform() < 0.5:
        weight = weight * soft(blob(rng, rng.uniform(0.3, 0.8)), 2.0)
    draw = rng.uniform()
    if draw < 0.35:
        return _close(case.after, _mixed(case.after, case.before, weight))
    if draw < 0.75:
        shade = rng.choice([-1.0, 1.0]) * rng.uniform(20, 110)
        return _close(case.after, _mixed(case.after, case.after + shade, weight))
    return _close(case.after, _mixed(case.after, _paint(case, outline, rng), weight))


def rim(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Lay a band of another colour along a silhouette, inside or outside."""
    outline = thing_of(case, rng)
    width = rng.uniform(2.0, 6.0)
    start = rng.choice([0.0, -width, -width / 2])
    weight = soft(band(outline, start, start + width), 0.5) * rng.uniform(0.3, 1.0)
    if rng.uniform() < 0.6:
        weight = weight * soft(blob(rng, rng.uniform(0.25, 0.8)), 1.5)
    other = case.before if rng.uniform() < 0.3 else _paint(case, outline, rng)
    return _close(case.after, _mixed(case.after, other, weight))


def halo(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Let the surroundings of a silhouette glow or darken, fading outwards."""
    outline = thing_of(case, rng)
    away = np.maximum(signed(outline), 0.0)
    weight = np.exp(-away / rng.uniform(2.5, 9.0)) * ~outline * rng.uniform(0.2, 0.8)
    return _close(case.after, _mixed(case.after, _paint(case, outline, rng), weight.astype(np.float32)))


def clip(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Cut a thing off by another silhouette, a box, a line or a hole."""
    base, thing = (case.after, case.new) if case.new.any() else (case.before, case.old)
    ground = backdrop(case) if case.new.any() else case.after
    draw = rng.uniform()
    if draw < 0.4 and case.new.any() and case.old.any() and (case.new & ~case.old).sum() > 60:
        allowed = signed(case.old) <= rng.uniform(-2.0, 4.0)
    elif draw < 0.6:
        allowed = box(rng, thing)
    elif draw < 0.8:
        allowed = plane(rng, thing)
    else:
        allowed = blob(rng, rng.uniform(0.5, 0.85))
    gone = thing & ~allowed
    weight = soft(gone, rng.choice([0.0, 0.7, 1.5])) * thing
    cut = (np.abs(signed(allowed)) <= 5.0) & (np.abs(signed(gone)) <= 5.0)
    made = _close(base, _mixed(base, ground, weight), cut)
    if gone.sum() > 0.93 * thing.sum():  # nearly nothing is left: a small speck, not a clipped thing
        return Spoiled(made.picture, made.fault & False, made.fault | made.unsure)
    return made


def double(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Draw the thing a second time, a little aside, before or behind, whole or transparent."""
    base, thing = (case.after, case.new) if case.new.any() else (case.before, case.old)
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(4.0, 20.0)
    by = (round(far * np.sin(angle)), round(far * np.cos(angle)))
    copy, copied = np.roll(base, by, (0, 1)), np.roll(thing, by, (0, 1))
    weight = soft(copied & ~thing if rng.uniform() < 0.5 else copied, 0.6) * rng.uniform(0.3, 1.0)
    return _close(base, _mixed(base, copy, weight))


def flat(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Fill a region with one colour."""
    where = _somewhere(case, rng)
    draw = rng.uniform()
    if draw < 0.4:
        colour = case.after[where].mean(axis=0)
    elif draw < 0.6:
        colour = case.after[band(where, 0.0, 3.0)].mean(axis=0)
    else:
        colour = _paint(case, where, rng)
    weight = soft(where, rng.choice([0.0, 1.0, 2.5])) * rng.uniform(0.7, 1.0)
    return _close(case.after, _mixed(case.after, colour, weight))


def dark(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Multiply a region: day pasted as night, or a region too dark or too light."""
    base = case.before if case.kind == "time" else case.after
    where = ~thing_of(case, rng) if case.kind in ("time", "ground") or rng.uniform() < 0.4 else _somewhere(case, rng)
    factor = rng.uniform(0.2, 0.75, 1) if rng.uniform() < 0.75 else rng.uniform(1.3, 2.5, 1)
    if rng.uniform() < 0.3:
        factor = factor * rng.uniform(0.8, 1.2, 3)
    weight = soft(where, rng.choice([0.0, 0.7, 2.5]))
    return _close(base, _mixed(base, base * factor, weight))


def blur(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Blur a region, mostly a thing."""
    sigma = rng.uniform(1.2, 4.5)
    blurred = ndimage.gaussian_filter(case.after.astype(np.float32), (sigma, sigma, 0))
    return _close(case.after, _mixed(case.after, blurred, soft(_upon_thing(case, rng), 1.5)))


def smear(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Drag a region's paint along a line."""
    angle, far = rng.uniform(0, np.pi), rng.uniform(6.0, 22.0)
    step = np.array([np.sin(angle), np.cos(angle)])
    base = case.after.astype(np.float32)
    copies = [np.roll(base, tuple(np.round(step * t).astype(int)), (0, 1)) for t in np.linspace(0, far, 8)]
    return _close(case.after, _mixed(case.after, np.mean(copies, axis=0), soft(_upon_thing(case, rng), 1.5)))


def melt(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Bend a region out of shape, smoothly or in pieces that are pushed aside."""
    size, width = case.after.shape[:2], rng.uniform(3.5, 8.0)
    noise = np.stack([waves(rng, width), waves(rng, width)])
    bend = np.tanh(noise / np.abs(noise).max() * rng.uniform(0.5, 8.0))
    shift = bend / np.abs(bend).max() * rng.uniform(3.0, 13.0) * soft(_upon_thing(case, rng), 3.0)
    grid = np.mgrid[: size[0], : size[1]] + shift
    planes = np.moveaxis(case.after.astype(np.float32), -1, 0)
    bent = [ndimage.map_coordinates(colour, grid, order=1, mode="nearest") for colour in planes]
    return _close(case.after, np.stack(bent, axis=-1).astype(np.float32))


def leftover(case: Case, _: Bytes, rng: np.random.Generator) -> Spoiled:
    """Leave the old picture in part: thinly over the whole region, or wholly in a piece of it."""
    if rng.uniform() < 0.6:
        weight = soft(case.region, 0.7) * rng.uniform(0.12, 0.6)
    else:
        weight = soft(case.region & blob(rng, rng.uniform(0.15, 0.7)), rng.choice([0.5, 1.5, 4.0]))
    return _close(case.after, _mixed(case.after, case.before, weight))


def seam(case: Case, other: Bytes, rng: np.random.Generator) -> Spoiled:
    """Join two grounds, times or exposures along an edge, hard or feathered; the fault is the edge."""
    draw = rng.uniform()
    if draw < 0.35 and case.kind in ("ground", "time"):
        second = case.before.astype(np.float32)
    elif draw < 0.7:
        second = other.astype(np.float32)
    else:
        second = case.after * rng.choice([rng.uniform(0.6, 0.9), rng.uniform(1.1, 1.5)]) + rng.uniform(-15, 15, 3)
    shape = rng.integers(4)
    if shape == 0:
        where = blob(rng, rng.uniform(0.15, 0.7))
    elif shape == 1:
        where = plane(rng, None)
    elif shape == 2:
        where = signed(thing_of(case, rng)) <= rng.uniform(2.0, 14.0)
    else:
        where = box(rng, None)
    feather = rng.choice([0.0, 0.8, 2.0, 4.0])
    near = np.abs(signed(where)) <= 3.0 + 1.5 * feather
    return _close(case.after, _mixed(case.after, second, soft(where, feather)), near)


def _somewhere(case: Case, rng: np.random.Generator) -> Bool:
    """Return a region that an edit may have touched; never empty."""
    draw = rng.uniform()
    if draw < 0.35:
        where = case.region
    elif draw < 0.6:
        where = signed(thing_of(case, rng)) <= rng.uniform(-2.0, 6.0)
    elif draw < 0.8:
        where = blob(rng, rng.uniform(0.06, 0.3))
    else:
        where = box(rng, None)
    return where if where.any() else blob(rng, 0.2)


def _upon_thing(case: Case, rng: np.random.Generator) -> Bool:
    """Return a region over a thing, the whole of it or a part."""
    where = signed(thing_of(case, rng)) <= rng.uniform(1.0, 6.0)
    if rng.uniform() < 0.5:
        part = where & blob(rng, rng.uniform(0.3, 0.7))
        where = part if part.sum() > 100 else where
    return where


FAULTS: Final[dict[str, Fault]] = {
    made.__name__: made
    for made in (ghost, rim, halo, clip, double, flat, dark, blur, smear, melt, leftover, seam)
}
"""Every fault by its name."""
