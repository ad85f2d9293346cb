"""From what people call a mask (arrays, Pillow images, files) to float32 values (height, width) in [0, 1]."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wordbrush.errors import MaskError, PictureError
from wordbrush.picture.guard import SUPPORTED, check_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["MAX_BYTES", "MAX_PIXELS", "array_values", "image_values", "open_values"]

MAX_PIXELS = 50_000_000
MAX_BYTES = 25_000_000
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
    except Exception as error:  # Pillow's decoders raise whatever the broken file leads them to
        raise MaskError(f"the mask picture cannot be decoded: {error}") from error


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
    from PIL import Image, ImageOps, UnidentifiedImageError

    data, name = _bytes_of(source)
    try:
        kind = check_bytes(data, MAX_PIXELS)  # structures made to be expensive never reach a decoder
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            _check_pixels(image.size, name)
            orientation = _orientation(image)
            image.load()
            upright = ImageOps.exif_transpose(image) if orientation != 1 else image
    except MaskError:
        raise
    except PictureError as error:
        raise MaskError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MaskError(f"{name}: more than {MAX_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise MaskError(f"{name}: not a picture wordbrush reads ({', '.join(SUPPORTED)})") from error
    except Exception as error:  # Pillow's decoders raise whatever the broken file leads them to
        raise MaskError(f"{name}: the mask picture cannot be decoded: {error}") from error
    return image_values(upright)


def _check_pixels(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise MaskError(f"{name}: {size[0]} × {size[1]} is more than {MAX_PIXELS:,} pixels; make it smaller")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _bytes_of(source: str | Path | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        _check_bytes(len(source), "the mask")
        return source, "the mask"
    path = Path(source)
    try:
        there = path.stat()
        regular = stat.S_ISREG(there.st_mode)
        data = path.read_bytes() if regular and there.st_size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MaskError(f"{str(path)!r}: the mask file cannot be read ({reason})") from error
    if not regular:
        raise MaskError(f"{path}: this is not a file")
    _check_bytes(there.st_size, str(path))
    return data, str(path)


def _check_bytes(count: int, name: str) -> None:
    if count > MAX_BYTES:
        raise MaskError(f"{name}: {count:,} bytes are more than {MAX_BYTES:,}; make the mask smaller")
