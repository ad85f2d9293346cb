"""Drawing of scenes: picture, silhouettes, shadows, and the true region of a change.

Everything is smooth: gradients and a few wide shapes, never pixel noise, so that a small autoencoder can spend its
capacity on the objects. Night falls on the backdrop only: objects are lit as by a lamp, so a change of time leaves
their pixels alone and its true region is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .artwork import Artwork
from .backdrop import backdrop
from .scenes import Scene, Thing

SIZE = 128
"""Pictures are this many pixels wide and high."""

Bool = NDArray[np.bool_]
Float = NDArray[np.float32]

_YY, _XX = (g.astype(np.float32) + 0.5 for g in np.mgrid[0:SIZE, 0:SIZE])
FAINT = 10
"""Alphas below this many 255ths are dropped, so a silhouette ends where the object visibly does."""


@dataclass(frozen=True)
class Rendering:
    """A drawn scene: `picture` (row, column, RGB) bytes, and for each thing its visible silhouette and its shadow."""

    picture: NDArray[np.uint8]
    silhouettes: tuple[Bool, ...]
    shadows: tuple[Bool, ...]

    @property
    def image(self) -> Image.Image:
        """The picture as a PIL image."""
        return Image.fromarray(self.picture)


def _place(thing: Thing, artwork: Artwork) -> tuple[Float, Float, tuple[float, float]]:
    """Return the thing's premultiplied colours and its alpha on the whole frame, and its width and foot in pixels."""
    sprite = artwork.sprite(thing.noun, thing.colour)
    if thing.flip:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = thing.size * SIZE / max(sprite.size)
    turned = sprite.convert("RGBa").rotate(thing.tilt, Image.Resampling.BILINEAR, expand=True)
    size = (max(1, round(turned.width * scale)), max(1, round(turned.height * scale)))
    small = np.asarray(turned.resize(size, Image.Resampling.BOX if scale < 0.4 else Image.Resampling.HAMMING))
    small = small.astype(np.float32) / 255.0
    left, top = round(thing.x * SIZE - size[0] / 2), round(thing.y * SIZE) - size[1]
    frame = np.zeros((SIZE, SIZE, 4), np.float32)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(SIZE, left + size[0]), min(SIZE, top + size[1])
    frame[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
    frame[frame[..., 3] < FAINT / 255.0] = 0.0
    return frame[..., :3], frame[..., 3], (float(size[0]), thing.y * SIZE)


def _shadow(width: float, foot: float, x: float, light: float) -> Float:
    """Return a soft ellipse at the foot, leaning with the light, zero outside its edge."""
    across = (_XX - x * SIZE - 0.12 * light * width) / (0.52 * width)
    down = (_YY - foot + 0.02 * SIZE) / (0.11 * width + 2.0)
    inside = np.maximum(0.0, 1.0 - across**2 - down**2)
    shade: Float = np.where(inside > 0.04, 0.5 * inside, 0.0).astype(np.float32)
    return shade


def render(scene: Scene, artwork: Artwork) -> Rendering:
    """Draw the scene at `SIZE` pixels; later things are drawn over earlier ones."""
    canvas = backdrop(scene.ground, scene.time, scene.horizon, scene.seed, SIZE)
    placed = [_place(thing, artwork) for thing in scene.things]
    shades = [_shadow(w, foot, t.x, scene.light) for t, (_, _, (w, foot)) in zip(scene.things, placed, strict=True)]
    for shade in shades:
        canvas = canvas * (1.0 - shade[..., None])
    visible: list[Bool] = []
    for colours, alpha, _ in placed:
        canvas = canvas * (1.0 - alpha[..., None]) + colours
        visible = [mask & (alpha < 1.0) for mask in visible]
        visible.append(alpha > 0.0)
    picture = (canvas.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    return Rendering(picture, tuple(visible), tuple(shade > 0.0 for shade in shades))


def true_region(scene: Scene, other: Scene, artwork: Artwork) -> Bool:
    """Return what must be edited to turn `scene` into `other`, from silhouettes alone, as (row, column).

    A changed, removed or added thing contributes its silhouettes and shadows in both scenes, minus what unchanged
    things drawn over it hide. A change of colour contributes the silhouette only, because the shadow stays. A change
    of ground or time is everything but the things: sky and walls belong to the ground, each ground has its own.
    """
    first, second = render(scene, artwork), render(other, artwork)
    things: Bool = np.zeros((SIZE, SIZE), np.bool_)
    for mask in (*first.silhouettes, *second.silhouettes):
        things = things | mask
    region: Bool = np.zeros_like(things)
    for here, there, drawn in ((scene, other, first), (other, scene, second)):
        for thing, silhouette, shadow in zip(here.things, drawn.silhouettes, drawn.shadows, strict=True):
            if thing in there.things:
                continue
            region = region | silhouette
            if not _recoloured(thing, there):
                region = region | shadow
    if (scene.ground, scene.time) != (other.ground, other.time):
        region = region | ~_opaque(scene, artwork)
    return region & ~_covered(scene, other, artwork)


def _recoloured(thing: Thing, other: Scene) -> bool:
    """Whether the other scene holds the same thing in another colour."""
    rest = [(t.noun, t.x, t.y, t.size, t.flip, t.tilt) for t in other.things]
    return (thing.noun, thing.x, thing.y, thing.size, thing.flip, thing.tilt) in rest


def _opaque(scene: Scene, artwork: Artwork) -> Bool:
    mask: Bool = np.zeros((SIZE, SIZE), np.bool_)
    for thing in scene.things:
        mask = mask | (_place(thing, artwork)[1] >= 1.0)
    return mask


def _covered(scene: Scene, other: Scene, artwork: Artwork) -> Bool:
    """Return where, in both scenes, an unchanged thing fully covers what lies behind it."""
    both: Bool = np.ones((SIZE, SIZE), np.bool_)
    for here, there in ((scene, other), (other, scene)):
        covered: Bool = np.zeros((SIZE, SIZE), np.bool_)
        for thing in here.things:
            alpha = _place(thing, artwork)[1]
            covered = covered | (alpha >= 1.0) if thing in there.things else covered & (alpha <= 0.0)
        both = both & covered
    return both
