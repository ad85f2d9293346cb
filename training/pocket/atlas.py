"""Every sprite in one array: small enough to travel to a machine without the artwork, and to live on a GPU.

An atlas is itself an `Artwork`, so scenes can be rendered from it in the ordinary way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .artwork import SPRITE_SIZE, Artwork
from .words import COLOURS, NOUNS, RECOLOURABLE

ENTRIES: tuple[tuple[str, str | None], ...] = tuple(
    (noun, colour) for noun in NOUNS for colour in (COLOURS if noun in RECOLOURABLE else (None,))
)
"""Noun and colour of every sprite, in the atlas's order."""
NUMBERS = {entry: number for number, entry in enumerate(ENTRIES)}


class Atlas:
    """Sprites in the order of `ENTRIES`, each in the upper left corner of a square frame."""

    def __init__(self, sprites: NDArray[np.uint8], sizes: NDArray[np.int64]) -> None:
        """Take sprites as RGBA bytes (sprite, row, column, channel) and sizes as (sprite, [width, height])."""
        if len(sprites) != len(ENTRIES) or sizes.shape != (len(ENTRIES), 2):
            raise ValueError(f"an atlas has {len(ENTRIES)} sprites, this one {len(sprites)}")
        self.sprites, self.sizes = sprites, sizes

    def sprite(self, noun: str, colour: str | None = None) -> Image.Image:
        """Return a sprite; raises `KeyError` for an unknown noun, or a colour it is never drawn in."""
        number = NUMBERS[noun, colour]
        width, height = self.sizes[number]
        return Image.fromarray(self.sprites[number, :height, :width])

    def save(self, path: Path) -> None:
        """Write the atlas as a compressed NumPy archive."""
        np.savez_compressed(path, sprites=self.sprites, sizes=self.sizes)


def build_atlas(artwork: Artwork) -> Atlas:
    """Collect every sprite of an artwork; larger ones are scaled down to `SPRITE_SIZE`."""
    sprites = np.zeros((len(ENTRIES), SPRITE_SIZE, SPRITE_SIZE, 4), np.uint8)
    sizes = np.zeros((len(ENTRIES), 2), np.int64)
    for number, (noun, colour) in enumerate(ENTRIES):
        picture = artwork.sprite(noun, colour).convert("RGBA")
        picture.thumbnail((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.LANCZOS)
        sizes[number] = picture.size
        sprites[number, : picture.height, : picture.width] = np.asarray(picture)
    return Atlas(sprites, sizes)


def load_atlas(path: Path) -> Atlas:
    """Read what `Atlas.save` wrote."""
    with np.load(path) as file:
        return Atlas(file["sprites"], file["sizes"])
