"""What the colours and the transparency of a mask picture mean; the table is in `Mask.open`.

People draw masks in a colour, on a transparent layer, or by erasing a part of the picture, and now and then they give a
photograph. Each is told from the others by what it looks like, and what could mean two things is refused with both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import MaskError
from wordbrush.region.numbers import MANY, Advice, Reading, counted, is_textured, listed, of_class

__all__ = ["of_alpha", "of_colours", "of_palette"]

CHROMA = 32
"""Largest difference of two channels of what still counts as grey."""

DARK = 40
"""Brightest channel of what counts as black."""

ONE_HUE = 25.0
"""Degrees by which the hues of one colour differ."""

_WHITE_ON_BLACK = "draw the mask in white on black"


def of_palette(image: Image.Image, label: int | None, advice: Advice) -> Reading | None:
    """Return what a palette picture means where its indices are classes; None where its colours count.

    Raises:
        MaskError: several classes, or two colours that could be classes as well as a drawing.
    """
    indices = np.asarray(image if image.mode == "P" else image.getchannel(0))
    if label is not None:
        return of_class(indices, label)
    counts = counted(indices)
    used = np.flatnonzero(counts)
    palette = np.zeros((256, 3), np.int16)
    colours = np.array(image.getpalette("RGB") or [], np.int16).reshape(-1, 3)
    palette[: len(colours)] = colours
    in_grey = np.ptp(palette[used], axis=1).max() <= CHROMA
    if in_grey or len(used) > MANY or (len(used) == 2 and used[0] != 0):
        return None
    held = f"its palette shows {listed(used, counts[used])}"
    if len(used) > 2:
        raise MaskError(
            f"{held}: labels of {len(used)} classes; {advice.choose(int(used[-1]))}; or, if it is a drawing, "
            f"{_WHITE_ON_BLACK}"
        )
    if len(used) == 2 and palette[0].max() > DARK and image.info.get("transparency") != 0:
        raise MaskError(
            f"{held}, and 0 is no black: it may be class {used[-1]} or a drawing in colours; "
            f"{advice.choose(int(used[-1]))}, or {_WHITE_ON_BLACK}"
        )
    notes = () if used[-1] <= 1 else (f"a palette of classes: {used[-1]} is edited, 0 is kept",)
    return (indices > 0).astype(np.float32), notes


def of_colours(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return the levels 0 ... 255 of a picture without transparency, and notes.

    Args:
        pixels: (height, width, RGB).

    Raises:
        MaskError: a colour photograph, or marks in one colour on a light ground.
    """
    brightest, chroma = _extremes(pixels)
    coloured = chroma > CHROMA
    share = float(coloured.mean())
    if share < 0.0005:
        return _luma(pixels), ()
    told = f"{share:.1%} of it is in colour".replace("%", " %")
    if share < 0.01:
        return _luma(pixels), (f"{told}: brightness is read as strength",)
    if _is_one_hue(pixels[coloured]):
        if float((~coloured & (brightest > 2 * CHROMA)).mean()) < 0.01:
            return brightest, ()  # of a drawing in pure blue the luminance is 29
        raise MaskError(f"{told}, on a light ground: either could be the part to edit; {_WHITE_ON_BLACK}")
    if _shades(pixels) > 32 and share > 0.05:
        raise MaskError(f"{told}: it is a picture, not a mask; if its brightness is meant, save it in grey")
    return _luma(pixels), (f"{told}, in several colours: brightness is read as strength",)


def of_alpha(pixels: NDArray[np.uint8]) -> Reading | None:
    """Return what a picture with transparency means; None where it is opaque, so that its colours count.

    Args:
        pixels: (height, width, RGBA).

    Raises:
        MaskError: it could mean one thing as well as its opposite.
    """
    alpha, colours = pixels[:, :, 3], pixels[:, :, :3]
    low, high = int(alpha.min()), int(alpha.max())
    if low >= 247:
        return None
    if low == high:
        return _evenly_clear(colours, low)
    firm = colours[alpha >= min(24, high)]  # fainter pixels have hardly a colour
    edge = float(np.concatenate((alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])).mean()) / 255
    drawn = alpha.astype(np.float32) / np.float32(255)
    if np.ptp(firm, axis=0).max() <= 24:
        return _one_ink(drawn, edge, dark=int(firm.max()) <= DARK)
    levels = _luma(firm[None])[0]
    grey = float((_extremes(firm)[1] > CHROMA).mean()) < 0.01
    if grey and float(((levels <= 16) | (levels >= 239)).mean()) >= 0.9:
        note = "black, white and transparent parts: white is edited, black and transparent is kept"
        return _luma(colours).astype(np.float32) / np.float32(255) * drawn, (note,)
    if is_textured(levels[None]) if grey else _shades(firm) > 8:
        return _erased(drawn, "a picture")
    raise MaskError(
        "it has a few flat colours and transparent parts: a drawing on a transparent layer, where the drawn part is "
        f"edited, or a picture whose erased part is edited; {_WHITE_ON_BLACK}"
    )


def _evenly_clear(colours: NDArray[np.uint8], alpha: int) -> Reading:
    """Return what is equally transparent everywhere: brightness times opacity."""
    if alpha == 0 and np.ptp(colours, axis=(0, 1)).max() > 24:
        raise MaskError(
            "it is transparent everywhere: all of it is erased, or the colours beneath are the mask; "
            f"{_WHITE_ON_BLACK}"
        )
    if alpha == 0:
        return np.zeros(colours.shape[:2], np.float32), ("it is transparent everywhere",)
    levels, notes = of_colours(colours)
    note = f"it is transparent by {1 - alpha / 255:.0%} everywhere, and so much weaker".replace("%", " %")
    return levels.astype(np.float32) * np.float32(alpha / (255 * 255)), (*notes, note)


def _one_ink(drawn: NDArray[np.float32], edge: float, *, dark: bool) -> Reading:
    """Return a drawing in one colour on a transparent layer, or the hole in a black sheet.

    Args:
        drawn: opacity (height, width) in [0, 1].
        edge: mean opacity along the four sides.
        dark: whether the colour is black, as that of the sheets in which image-editing interfaces want a hole.
    """
    if dark and edge >= 0.75:
        return _erased(drawn, "black")
    share = f"{drawn.mean():.1%}".replace("%", " %")
    if dark and edge > 0.5:
        raise MaskError(
            f"black on transparent, opaque along {100 * edge:.0f} % of the sides: a drawing, where black ({share}) is "
            f"edited, or a sheet whose erased part is; {_WHITE_ON_BLACK}"
        )
    if dark or edge >= 0.75:
        ink = "black" if dark else "one colour"
        note = f"a drawing in {ink} on transparent: what is drawn ({share}) is edited, not what is transparent"
        return drawn, (note,)
    return drawn, ()


def _erased(drawn: NDArray[np.float32], what: str) -> Reading:
    hole = 1 - drawn
    share = f"{hole.mean():.1%}".replace("%", " %")
    return hole, (f"{what} with an erased part: the erased part ({share}) is edited, what is visible is kept",)


def _extremes(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the brightest channel of (..., RGB), and how far the darkest lies below it."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    return brightest, brightest - np.minimum(np.minimum(red, green), blue)


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luminance (ITU-R 601) of (height, width, RGB)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))


def _is_one_hue(colours: NDArray[np.uint8]) -> bool:
    """Whether coloured pixels (count, RGB) have one hue, but for a few."""
    red, green, blue = (colours[:: 1 + len(colours) // 200_000, channel].astype(np.float32) for channel in range(3))
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    mean = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean())
    apart = np.abs((angle - mean + np.pi) % (2 * np.pi) - np.pi)
    return float((apart <= np.radians(ONE_HUE)).mean()) >= 0.97


def _shades(colours: NDArray[np.uint8]) -> int:
    """Return how many different colours, at 4 bits a channel, hold at least one part in 2,000."""
    flat = colours.reshape(-1, 3)
    few = flat[:: 1 + len(flat) // 1_000_000].astype(np.int64) >> 4
    counts = np.bincount((few[:, 0] << 8) | (few[:, 1] << 4) | few[:, 2])
    return int((counts >= len(few) / 2000).sum())
