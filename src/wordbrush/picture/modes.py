"""Flatten any Pillow mode to 8 bits, in strips of a picture, so that little memory is taken beside it.

What becomes of each mode (documented, tested):

| mode | becomes |
|---|---|
| 1, L, LA, RGB, RGBA, P, PA | as they are; palettes and transparent colours are resolved |
| I;16 in any byte order | round(v / 257), never clipped |
| 16-bit RGB(A), LA | Pillow itself keeps the high byte, v // 256, at most one level below round(v / 257) |
| I | 0..255 as 8 bit, 0..65535 as 16 bit, else refused |
| F | 0..1 times 255, else 0..255 as they are, else refused; NaN and infinity refused |
| YCbCr, HSV, RGBX | converted to RGB |
| CMYK, LAB | kept here, converted to sRGB with or without profile in `wordbrush.picture.colour` |
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import PictureError
from wordbrush.picture.colour import STRIP

__all__ = ["flattener", "strips"]

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "LAB", "YCbCr", "HSV")
_PHOTOMETRIC = 262

Part = tuple[Image.Image, NDArray[np.uint8] | None]
"""8-bit L, RGB, CMYK or LAB, and alpha (height, width) or None."""


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield a picture in strips of full width with the row each begins at: what is made of them takes little memory."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def flattener(image: Image.Image) -> tuple[Callable[[Image.Image], Part], tuple[str, ...]]:
    """Say how any mode is brought to 8-bit L, RGB, CMYK or LAB plus alpha.

    Returns:
        What does it to a strip of the picture; notes.

    Raises:
        PictureError: the mode has no documented meaning, or its values lie outside every documented range.
    """
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", None)
        inverted = tags is not None and tags.get(_PHOTOMETRIC) == 0  # white is zero; Pillow inverts 8 bits only
        return (lambda strip: _sixteen(strip, inverted)), ("16-bit grey scaled to 8 bits",)
    if image.mode in ("I", "F"):
        top = _range(image)
        return (lambda strip: _wide(strip, top)), (f"mode {image.mode} values taken as 0..{top:g}",)
    if image.mode not in _MODES:
        raise PictureError(f"pictures of mode {image.mode!r} are not supported; convert to RGB first")
    return _flat, ()


def _flat(image: Image.Image) -> Part:
    if image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info:
        image = _resolve(image)
    if image.mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "RGBA"):
        *colours, alpha = image.split()
        return colours[0] if len(colours) == 1 else Image.merge("RGB", colours), np.array(alpha)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _resolve(image: Image.Image) -> Image.Image:
    """Turn a transparent colour or palette entry into an alpha channel; one that makes no sense is dropped."""
    try:
        return image.convert("RGBA" if image.mode in ("P", "RGB") else "LA")
    except (ValueError, TypeError, OverflowError, IndexError):
        plain = image.copy()
        plain.info.pop("transparency", None)
        return plain


def _sixteen(image: Image.Image, inverted: bool) -> Part:
    values = np.asarray(image).astype(np.uint32)
    clear = image.info.get("transparency")
    alpha = np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    if inverted:
        values = 65_535 - values
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)), alpha


def _range(image: Image.Image) -> float:
    """Return the smallest documented range that holds all values of a picture of mode I (int32) or F (float32)."""
    low, high = math.inf, -math.inf
    for _, strip in strips(image):
        values: NDArray[Any] = np.asarray(strip)
        if not np.isfinite(values).all():
            raise PictureError("the picture has NaN or infinite values; replace them first")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    ranges = (255.0, 65_535.0) if image.mode == "I" else (1.0, 255.0)
    top = next((top for top in ranges if high <= top), None)
    if top is None or low < 0:
        raise PictureError(
            f"the picture's values run from {low:g} to {high:g}; mode {image.mode} is read in 0..{ranges[0]:g} or "
            f"0..{ranges[1]:g}: rescale it first"
        )
    return top


def _wide(image: Image.Image, top: float) -> Part:
    values: NDArray[Any] = np.asarray(image)
    return Image.fromarray((values * (255.0 / top) + 0.5).astype(np.uint8)), None  # never negative: rounds half up
