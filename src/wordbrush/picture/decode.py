"""Decode hostile bytes with Pillow, and flatten any Pillow mode to 8 bits.

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

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from wordbrush.errors import PictureError
from wordbrush.picture.guard import check_bytes, check_size

__all__ = ["decode", "flatten", "quiet", "refusing", "upright"]

MAX_NOTES = 5

_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Warning filters and Pillow's limits belong to the whole process: one opening at a time may bend them.
_LOCK = threading.RLock()


@contextmanager
def quiet(max_pixels: int) -> Iterator[list[str]]:
    """Collect warnings as texts and hold Pillow to this call's limits instead of the process's.

    Args:
        max_pixels: Pillow's own bomb limit is lifted to this when it is lower, because size is checked here.

    Yields:
        A list that holds the distinct warnings after the block, at most five, without those about size.
    """
    texts: list[str] = []
    with _LOCK:
        limit, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if limit is not None and limit < max_pixels:
                Image.MAX_IMAGE_PIXELS = max_pixels
            ImageFile.LOAD_TRUNCATED_IMAGES = False  # half a picture is not a picture
            try:
                yield texts
            finally:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, truncated
        messages = [str(w.message)[:200] for w in caught if not issubclass(w.category, Image.DecompressionBombWarning)]
        texts.extend(list(dict.fromkeys(messages))[:MAX_NOTES])


@contextmanager
def refusing(what: str, max_pixels: int) -> Iterator[list[str]]:
    """`quiet`, and turn every exception into a PictureError that begins with `what`.

    Raises:
        PictureError: whatever went wrong inside.
    """
    try:
        with quiet(max_pixels) as texts:
            yield texts
    except PictureError:
        raise
    except UnidentifiedImageError as error:  # its own text is the address of a buffer
        raise PictureError(f"{what} is damaged in its header, or of a variant that cannot be read") from error
    except Exception as error:  # decoders raise nearly every built-in exception on damaged files
        lines = str(error).splitlines() or [type(error).__name__]
        raise PictureError(f"{what} is damaged or cut short ({lines[0][:120]})") from error


def decode(data: bytes, max_pixels: int) -> tuple[Image.Image, str, tuple[str, ...]]:
    """Open a file's bytes, check, decode its first frame and turn it upright.

    Args:
        data: the whole file.
        max_pixels: most pixels allowed; checked before decoding.

    Returns:
        The decoded upright picture in its own mode, the format, notes.

    Raises:
        PictureError: whatever is wrong with the file; no other exception leaves this function.
    """
    name = check_bytes(data, max_pixels)
    with refusing(f"the {name} file", max_pixels) as texts:
        image = _open(data, name)
        check_size(*image.size, max_pixels)
        deep = ";16" in str(image.tile) and not image.mode.startswith("I")
        notes = _frame_notes(image)
        if image.format == "TIFF":
            _check_tiles(image)
        image.load()
        check_size(*image.size, max_pixels)
        turned = upright(image)
    if deep:
        notes += ("16-bit colour read as its high 8 bits",)
        if turned.mode == "RGB" and turned.info.pop("transparency", None) is not None:
            notes += ("transparent 16-bit colour ignored",)
    return turned, name, (*notes, *(f"file warning: {text}" for text in texts))


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    try:
        return Image.open(BytesIO(data), formats=(name,))
    except Exception:
        # Pillow reads EXIF while opening an AVIF and fails on a damaged one; hidden from it, the picture is fine.
        hidden = re.sub(rb"(infe[\x02\x03].{7})Exif", rb"\1skip", data[:65_536], count=1, flags=re.DOTALL)
        if name != "AVIF" or hidden == data[:65_536]:
            raise
        return Image.open(BytesIO(hidden + data[65_536:]), formats=(name,))


def _check_tiles(image: ImageFile.ImageFile) -> None:
    """Refuse a TIFF whose strips or tiles do not cover the picture: Pillow would leave the rest black."""
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (tile.extents for tile in image.tile) if box)
    if covered < image.width * image.height:
        raise PictureError("the TIFF file holds fewer pixels than its size says; it is damaged or cut short")


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    if not getattr(image, "is_animated", False):
        return ()
    if image.format == "TIFF":  # counting the pages would walk a chain the file controls
        return ("several pages: first one used",)
    return (f"animation: first of {getattr(image, 'n_frames', 1)} frames used",)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says; a damaged or absent EXIF turns nothing."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a broken side record must not lose the picture
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = dict(image.info)
    return turned


def flatten(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None, tuple[str, ...]]:
    """Bring any mode to 8-bit L, RGB, CMYK or LAB plus alpha.

    Returns:
        The picture, alpha (height, width) or None, notes.

    Raises:
        PictureError: the mode has no documented meaning, or its values lie outside every documented range.
    """
    if image.mode.startswith("I;16"):
        return _sixteen(image)
    if image.mode in ("I", "F"):
        return _wide(image)
    if image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info:
        image = _resolve(image)
    if image.mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "RGBA"):
        *colours, alpha = image.split()
        return colours[0] if len(colours) == 1 else Image.merge("RGB", colours), np.array(alpha), ()
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None, ()
    if image.mode == "1":
        return image.convert("L"), None, ()
    if image.mode in ("P", "RGBX", "YCbCr", "HSV"):
        return image.convert("RGB"), None, ()
    raise PictureError(f"pictures of mode {image.mode!r} are not supported; convert to RGB first")


def _resolve(image: Image.Image) -> Image.Image:
    """Turn a transparent colour or palette entry into an alpha channel; one that makes no sense is dropped."""
    try:
        return image.convert("RGBA" if image.mode in ("P", "RGB") else "LA")
    except (ValueError, TypeError, OverflowError, IndexError):
        plain = image.copy()
        plain.info.pop("transparency", None)
        return plain


def _sixteen(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None, tuple[str, ...]]:
    values = np.asarray(image).astype(np.uint32)
    clear = image.info.get("transparency")
    alpha = np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(_PHOTOMETRIC) == 0:  # white is zero; Pillow inverts 8 bits only
        values = 65_535 - values
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)), alpha, ("16-bit grey scaled to 8 bits",)


def _wide(image: Image.Image) -> tuple[Image.Image, None, tuple[str, ...]]:
    """Scale mode I (int32) or F (float32) by the smallest documented range that holds all values."""
    values: NDArray[Any] = np.asarray(image)
    if not np.isfinite(values).all():
        raise PictureError("the picture has NaN or infinite values; replace them first")
    low, high = float(values.min()), float(values.max())
    ranges = (255.0, 65_535.0) if image.mode == "I" else (1.0, 255.0)
    top = next((top for top in ranges if high <= top), None)
    if top is None or low < 0:
        raise PictureError(
            f"the picture's values run from {low:g} to {high:g}; mode {image.mode} is read in 0..{ranges[0]:g} or "
            f"0..{ranges[1]:g}: rescale it first"
        )
    scaled = (values * (255.0 / top) + 0.5).astype(np.uint8)  # never negative: rounds half up
    return Image.fromarray(scaled), None, (f"mode {image.mode} values taken as 0..{top:g}",)
