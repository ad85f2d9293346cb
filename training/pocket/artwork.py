"""Sprites of the scenes: fetched once with npm, unpacked safely, cropped, and recoloured on request.

The artwork is the MIT-licensed npm package ``@lobehub/fluent-emoji-3d``: 256-pixel WebP pictures with alpha.
Everything that draws scenes asks the small `Artwork` protocol for sprites, so tests draw their own.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from .words import COLOUR_HUES, NOUN_FILES

PACKAGE = "@lobehub/fluent-emoji-3d"
VERSION = "1.1.0"
SPRITE_SIZE = 128
"""Sprites are kept with their longer side at this many pixels: the largest one drawn is smaller."""

_MAX_MEMBER_BYTES = 2_000_000


class Artwork(Protocol):
    """Anything that hands out RGBA sprites by noun and optional colour word."""

    def sprite(self, noun: str, colour: str | None = None) -> Image.Image:
        """Return the sprite cropped to its visible pixels; raises `KeyError` for an unknown noun."""
        ...


class FluentArtwork:
    """Sprites of an unpacked artwork package."""

    def __init__(self, folder: Path) -> None:
        """Use the WebP files in `folder` (the package's ``assets``)."""
        missing = [noun for noun, name in NOUN_FILES.items() if not (folder / f"{name}.webp").is_file()]
        if missing:
            raise FileNotFoundError(f"no artwork for {', '.join(missing)} in {folder}: run the fetch stage")
        self._folder = folder
        self._cached = lru_cache(maxsize=None)(self._load)

    def sprite(self, noun: str, colour: str | None = None) -> Image.Image:
        """Return the sprite of `noun`, its main hue moved to `colour` if one is given."""
        return self._cached(noun, colour)

    def _load(self, noun: str, colour: str | None) -> Image.Image:
        with Image.open(self._folder / f"{NOUN_FILES[noun]}.webp") as file:
            picture = file.convert("RGBA")
        box = picture.getchannel("A").point([0] * 16 + [255] * 240).getbbox()
        picture = picture.crop(box)
        scale = SPRITE_SIZE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        return recolour(picture, colour) if colour else picture


def recolour(sprite: Image.Image, colour: str) -> Image.Image:
    """Turn the sprite's commonest saturated hue, and hues near it, to the hue of a colour word.

    Only pixels within an eighth of the colour circle of that hue move: windows, wheels and stems keep theirs.
    """
    hsv = np.asarray(sprite.convert("RGB").convert("HSV")).astype(np.float32) / 255.0
    alpha = np.asarray(sprite.getchannel("A"))
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    vivid = (saturation > 0.35) & (value > 0.25) & (alpha > 128)
    if not vivid.any():
        return sprite
    votes, edges = np.histogram(hue[vivid], bins=24, range=(0.0, 1.0), weights=saturation[vivid])
    smooth = votes + np.roll(votes, 1) + np.roll(votes, -1)
    main = float(edges[int(smooth.argmax())] + 0.5 / 24)
    offset = (hue - main + 0.5) % 1.0 - 0.5
    chosen = (np.abs(offset) < 0.125) & (saturation > 0.2)
    hsv[..., 0] = np.where(chosen, (COLOUR_HUES[colour] + 0.3 * offset) % 1.0, hue)
    gain = 1.12 if colour == "yellow" else 1.0
    hsv[..., 2] = np.where(chosen, np.minimum(1.0, value * gain), value)
    rgb = Image.fromarray((hsv * 255.0).round().astype(np.uint8), "HSV").convert("RGB")
    rgb.putalpha(sprite.getchannel("A"))
    return rgb


def fetch(work: Path) -> Path:
    """Download the artwork package with npm into `work` unless it is there; return its assets folder."""
    assets = work / "art" / "package" / "assets"
    if all((assets / f"{name}.webp").is_file() for name in NOUN_FILES.values()):
        return assets
    downloads = work / "npm"
    downloads.mkdir(parents=True, exist_ok=True)
    archive = downloads / f"lobehub-fluent-emoji-3d-{VERSION}.tgz"
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("npm is needed to fetch the artwork; install Node.js or place the package by hand")
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(downloads)]
        subprocess.run(command, check=True)
    _unpack(archive, work / "art")
    return assets


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the plain files of `archive`; links, devices, huge members and outside paths are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.size > _MAX_MEMBER_BYTES:
                raise ValueError(f"{member.name} in {archive.name} is {member.size} bytes: refused")
            if member.isfile():
                tar.extract(member, folder, filter="data")
