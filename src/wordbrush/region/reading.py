"""Reading masks from arrays, Pillow images and files, as float32 values (height, width) in [0, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wordbrush.errors import MaskError, PictureError
from wordbrush.files import bounded_read
from wordbrush.picture.decode import decode, refusing
from wordbrush.picture.limits import reading_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["array_values", "image_values", "open_values"]

_ROUNDING = 1e-6


def array_values(array: Any) -> NDArray[np.float32]:
    """Return the values of an array; the rule is in `Mask.from_array`. Raises MaskError."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.size == 0:
        raise MaskError(f"a mask is an array of shape (height, width) or (height, width, 1), not {array.shape}")
    if array.dtype == np.bool_:
        return np.asarray(array, dtype=np.float32)
    if np.issubdtype(array.dtype, np.integer):
        return _integer_values(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise MaskError(f"a mask holds true/false, whole numbers or floats, not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # false for NaN too
        hint = "; divide by 255 first" if 1 < high <= 255 else ""
        raise MaskError(f"a mask of floats lies in 0 ... 1, this one runs from {low:g} to {high:g}{hint}")
    return np.asarray(np.clip(array, 0, 1), dtype=np.float32)


def _integer_values(array: NDArray[Any]) -> NDArray[np.float32]:
    low, high, full = int(array.min()), int(array.max()), int(np.iinfo(array.dtype).max)
    if low < 0:
        raise MaskError(f"a mask of {array.dtype} runs from 0 to {full}, this one has {low}")
    if high <= 1:
        return array.astype(np.float32)  # labels: nobody means one part in 255
    if high * 510 < full:
        raise MaskError(
            f"a mask of {array.dtype} runs from 0 to {full}, this one ends at {high}, which is nothing; "
            "turn it into bool, uint8 or floats in 0 ... 1 first"
        )
    return (array / full).astype(np.float32)


def image_values(image: Image.Image) -> NDArray[np.float32]:
    """Return the values of a Pillow image of any mode; the rule is in `Mask.from_image`. Raises MaskError."""
    try:
        with refusing("the mask picture", reading_limits().pixels):  # one opened lazily by the caller decodes only now
            image.load()
        if image.mode == "La":
            image = image.convert("LA")
        if image.has_transparency_data:
            return _with_alpha(image.convert("RGBA"))
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_values(image)
        return np.asarray(_grey(image), dtype=np.float32) / np.float32(255)
    except MaskError:
        raise
    except PictureError as error:
        raise MaskError(str(error)) from error
    except Exception as error:  # Pillow raises whatever odd modes and palettes lead it to
        raise MaskError(f"the mask picture cannot be read: {error}") from error


def _grey(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return image.getchannel("L")  # Pillow knows no way from Lab to grey; its L is one
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB").convert("L")


def _deep_values(image: Image.Image) -> NDArray[np.float32]:
    """Read more than 8 bits: 16-bit grey (also where Pillow widens it to `I`), or floats in [0, 1]."""
    array = np.asarray(image)
    if image.mode == "F":
        return array_values(array)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise MaskError(f"a grey mask picture of mode {image.mode} runs from 0 to 65535, this one from {low} to {high}")
    return (array / 65535).astype(np.float32)


def _with_alpha(image: Image.Image) -> NDArray[np.float32]:
    pixels = np.asarray(image)
    alpha = pixels[:, :, 3]
    shown = alpha > 0
    varies = bool(alpha.min() != alpha.max())
    if varies and all(np.ptp(pixels[:, :, channel][shown]) == 0 for channel in range(3)):
        return alpha.astype(np.float32) / np.float32(255)
    grey = np.asarray(image.convert("RGB").convert("L"), dtype=np.float32)
    return np.asarray(grey * alpha / np.float32(255 * 255), dtype=np.float32)


def open_values(source: str | Path | bytes) -> NDArray[np.float32]:
    """Read a mask file or its bytes, upright by EXIF; the limits are those of `Mask.open`. Raises MaskError."""
    name = "the mask" if isinstance(source, bytes) else str(source)
    limits = reading_limits()
    data = bounded_read(source, limits.size, error=MaskError, kind="mask", advice=limits.advice(1))
    try:
        image, _, _ = decode(data, limits.pixels)
        return image_values(image)
    except (MaskError, PictureError) as error:
        raise MaskError(f"{name}: {error}") from error
