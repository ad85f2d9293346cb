"""Reading masks from arrays, Pillow images and files, as float32 values (height, width) in [0, 1], with notes.

The rule is one for all; `numbers` says what numbers mean, `inks` what colours and transparency do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wordbrush.errors import MaskError, PictureError
from wordbrush.files import bounded_read
from wordbrush.picture.decode import decode, refusing, upright
from wordbrush.picture.guard import MAX_BYTES, MAX_PIXELS
from wordbrush.region.inks import of_alpha, of_colours, of_palette
from wordbrush.region.numbers import Advice, Reading, of_class, of_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["EXACT", "array_reading", "image_reading", "is_plain", "open_reading", "values_of"]

EXACT = "wordbrush-mask"
"""Text chunk of a PNG whose greys are strengths as they stand, although others would be read as something else."""

_ROUNDING = 1e-6
_PHOTOMETRIC = 262


def values_of(array: Any) -> NDArray[np.float32]:
    """Return floats in [0, 1] as they are. Raises MaskError."""
    array = _plane(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise MaskError(f"a mask holds true/false, whole numbers or floats, not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # false for NaN too
        hint = "; divide by 255 first" if 1 < high <= 255 else ""
        if hint and not np.mod(array, 1).any():
            hint += ", or turn labels of classes into whole numbers (.astype(int))"
        raise MaskError(f"a mask of floats lies in 0 ... 1, this one runs from {low:g} to {high:g}{hint}")
    return np.asarray(np.clip(array, 0, 1), dtype=np.float32)


def array_reading(array: Any, label: int | None = None) -> Reading:
    """Return the values of an array, and notes; the rule is in `Mask.from_array`. Raises MaskError."""
    array, advice = _plane(array), Advice(parameter=True)
    whole = np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_
    if label is not None and whole:
        return of_class(array, label)
    if array.dtype == np.bool_:
        return array.astype(np.float32), ()
    if whole:
        return of_numbers(array, int(np.iinfo(array.dtype).max), advice)
    if label is not None:
        raise MaskError(f"classes are whole numbers, and this mask holds {array.dtype}")
    return values_of(array), ()


def _plane(array: Any) -> NDArray[Any]:
    plane: NDArray[Any] = np.asarray(array)
    if plane.ndim == 3 and plane.shape[2] == 1:
        plane = plane[:, :, 0]
    if plane.ndim != 2 or plane.size == 0:
        raise MaskError(f"a mask is an array of shape (height, width) or (height, width, 1), not {plane.shape}")
    return plane


def image_reading(image: Image.Image, label: int | None = None) -> Reading:
    """Return the values of a Pillow image, turned upright by its EXIF, and notes; see `Mask.from_image`.

    Raises:
        MaskError: it cannot be decoded, or not be read as a mask.
    """
    try:
        with refusing("the mask picture", MAX_PIXELS):  # one opened lazily by the caller decodes only now
            image.load()
    except PictureError as error:
        raise MaskError(str(error)) from error
    return _image_reading(upright(image), label, Advice(parameter=True))


def _image_reading(image: Image.Image, label: int | None, advice: Advice) -> Reading:
    try:
        return _meaning(image, label, advice)
    except MaskError:
        raise
    except Exception as error:  # Pillow raises whatever odd modes and palettes lead it to
        raise MaskError(f"the mask picture cannot be read: {error}") from error


def _meaning(image: Image.Image, label: int | None, advice: Advice) -> Reading:
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("P", "PA"):
        reading = of_palette(image, label, advice)
        if reading is not None:
            return reading
    if image.mode == "F":
        return array_reading(np.asarray(image), label)
    if image.has_transparency_data and not image.mode.startswith("I"):
        reading = of_alpha(np.asarray(image.convert("RGBA")))
        if reading is not None:
            return _unlabelled(reading, label)
    numbers, notes = _numbers(image)
    if label is not None:
        return of_class(numbers, label)
    if numbers.dtype == np.bool_:
        return numbers.astype(np.float32), ()
    full = 65535 if image.mode.startswith("I") else 255
    values, more = of_numbers(numbers, full, advice, palette=image.mode == "P")
    return values, notes or more  # the levels of colours are no classes


def _numbers(image: Image.Image) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the numbers of a picture without transparency, of colours their levels, and notes."""
    if image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        return np.asarray(65535 - np.asarray(image)), ()  # white is zero, and Pillow turns 8 bits only
    if image.mode in ("1", "L") or image.mode.startswith("I"):
        return np.asarray(image), ()
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L")), ()  # Pillow knows no way from Lab to grey; its L is one
    return of_colours(np.asarray(image.convert("RGB")))


def _unlabelled(reading: Reading, label: int | None) -> Reading:
    if label is not None:
        raise MaskError(f"class {label} was asked for, but the mask has transparent parts in place of classes")
    return reading


def open_reading(source: str | Path | bytes, label: int | None = None, *, exact: bool = False) -> Reading:
    """Read a mask file or its bytes, upright by EXIF, and notes; the limits are those of `Mask.open`. Raises MaskError.

    The name of a file may end in `#` and the number of a class. With `exact` greys of 8 bits are strengths as they are.
    """
    if not isinstance(source, bytes) and label is None:
        source, label = _named(source)
    name, advice = ("the mask", Advice()) if isinstance(source, bytes) else (str(source), Advice(str(source)))
    data = bounded_read(source, MAX_BYTES, error=MaskError, kind="mask", advice="make the mask smaller")
    try:
        image, _, notes = decode(data, MAX_PIXELS)
        if (exact or EXACT in image.info) and image.mode == "L":
            return np.asarray(image, dtype=np.float32) / np.float32(255), ()
        values, more = _image_reading(image, label, advice)
    except (MaskError, PictureError) as error:
        raise MaskError(f"{name}: {error}") from error
    return values, (*notes, *more)


def is_plain(levels: NDArray[np.uint8]) -> bool:
    """Whether a grey picture of these levels is read as just these strengths, so that it needs no `EXACT`."""
    try:
        values, _ = of_numbers(levels, 255, Advice())
    except MaskError:
        return False
    return bool(np.array_equal(np.rint(values * 255), levels))


def _named(source: str | Path) -> tuple[str | Path, int | None]:
    """Split the class off the name of a file, unless there is a file of the whole name."""
    match = re.fullmatch(r"(.+)#(\d{1,9})", str(source), flags=re.DOTALL)
    if match is None:
        return source, None
    try:
        whole = Path(source).exists()
    except (OSError, ValueError):
        whole = False
    return (source, None) if whole else (match[1], int(match[2]))
