"""Decode hostile bytes with Pillow: one opening at a time, quietly, with its colours and its density told one way."""

import contextlib
import ctypes
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

from wordbrush.errors import InputError, PictureError
from wordbrush.picture.declared import declared_profile
from wordbrush.picture.density import Density, file_density
from wordbrush.picture.guard import check_bytes, check_size
from wordbrush.picture.salvage import reduced, variants

__all__ = ["decode", "quiet", "refusing", "settled", "upright"]

MAX_NOTES = 5

_ORIENTATION = 0x0112
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
    with _LOCK, _silent_libtiff():
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
def _silent_libtiff() -> Iterator[None]:
    """Take libtiff's own handlers away, which write straight to the process's standard error.

    Where Pillow carries libtiff inside itself, without names to be found (Windows), they stay.
    """
    setters = []
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.restype, setter.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
            setters.append((setter, setter(None)))
    try:
        yield
    finally:
        for setter, handler in setters:
            setter(handler)


@contextmanager
def refusing(what: str, max_pixels: int) -> Iterator[list[str]]:
    """`quiet`, and turn every exception into a PictureError that begins with `what`.

    Raises:
        PictureError: whatever went wrong inside.
    """
    try:
        with quiet(max_pixels) as texts:
            yield texts
    except InputError:
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
        image, read, density, deep, notes = _loaded(data, name, max_pixels)
        turned, info, colours = settled(image, density, data if name == "JPEG" else read)
        turned.info = info
    if deep:
        notes += ("16-bit colour read as its high 8 bits",)
        if turned.mode == "RGB" and turned.info.pop("transparency", None) is not None:
            notes += ("transparent 16-bit colour ignored",)
    notes += colours
    return turned, name, (*notes, *(f"file warning: {text}" for text in texts))


def _loaded(
    data: bytes, name: str, max_pixels: int
) -> tuple[ImageFile.ImageFile, bytes, Density | None, bool, tuple[str, ...]]:
    """Decode a file, if need be with less and less beside its pixels.

    Returns:
        The picture, what of the file it was read from, its density, whether its colours have 16 bits, notes.

    Raises:
        Exception: whatever the decoder raised at the whole file.
    """
    image, read, notes = _opened(data, name)
    check_size(*image.size, max_pixels)
    deep = ";16" in str(image.tile) and not image.mode.startswith("I")
    density = file_density(image)
    notes += _frame_notes(image)
    if image.format == "TIFF":
        _check_tiles(image)
    try:
        _first_frame_only(image)
        image.load()
    except Exception:
        less = reduced(read, name)
        if less is None:
            raise
        try:
            image, read, more = _opened(less[0], name)
            image.load()
        except Exception:  # it was not that: the first reason is the right one
            less = None
        if less is None:
            raise
        notes += more + less[1]
    check_size(*image.size, max_pixels)
    return image, read, density, deep, notes


def _opened(data: bytes, name: str) -> tuple[ImageFile.ImageFile, bytes, tuple[str, ...]]:
    first: Exception | None = None
    for variant, notes in variants(data, name):
        try:
            return Image.open(BytesIO(variant), formats=(name,)), variant, notes
        except Exception as error:  # decoders raise nearly every built-in exception on damaged files
            first = first or error
    raise first or UnidentifiedImageError


def _first_frame_only(image: ImageFile.ImageFile) -> None:
    """Let Pillow's WebP decoder go, which holds two canvases, once it has given the first frame."""
    take = getattr(image, "_get_next", None)
    if image.format != "WEBP" or take is None:
        return

    def once() -> Any:
        frame = take()
        image._decoder = None  # type: ignore[attr-defined]
        return frame

    image._get_next = once  # type: ignore[attr-defined]


def settled(
    image: Image.Image, density: Density | None, data: bytes | None = None
) -> tuple[Image.Image, dict[Any, Any], tuple[str, ...]]:
    """Turn a decoded picture upright; tell its profile and its density one way, whatever way the file tells them.

    Args:
        image: as opened and decoded; not changed.
        density: what `file_density` found before it was decoded.
        data: the file, if it came from one.

    Returns:
        The picture; its `info`, with `icc_profile`, and `dpi` or `aspect`, only where it has them; notes.
    """
    profile, notes = declared_profile(image, data)
    turned = upright(image)
    if density is not None and turned.size != image.size:
        density = density.turned
    told = ("icc_profile", "dpi", "aspect")
    info: dict[Any, Any] = {key: value for key, value in image.info.items() if key not in told}
    info |= {} if profile is None else {"icc_profile": profile}
    info |= {} if density is None else density.as_info()
    return turned, info, notes


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
