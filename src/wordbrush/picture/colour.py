"""ICC profiles: from a picture's own colours to the sRGB a model sees, and back.

All conversions are littleCMS, relative colorimetric, no black point compensation.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ImageCms import ImageCmsProfile

from wordbrush.errors import PictureError

__all__ = ["STRIP", "Converter", "from_srgb", "profile_space", "settle", "to_srgb"]

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_MIN_PROFILE = 128  # bytes of an ICC header

STRIP = 1 << 20
"""Pixels that are converted at a time: more would take memory, and no less time."""

Converter = Callable[[Image.Image], Image.Image]


def profile_space(profile: bytes) -> str | None:
    """Tell the colour space of an ICC profile ("RGB", "GRAY", "CMYK", "Lab", ...), or None when it is damaged."""
    if len(profile) < _MIN_PROFILE:
        return None
    try:
        return str(ImageCmsProfile(BytesIO(profile)).profile.xcolor_space).strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _converter(mode: str, source: ImageCmsProfile, target: ImageCmsProfile) -> Converter:
    """Return what converts pictures of a mode to RGB, from profile `source` to `target`.

    Raises:
        PictureError: littleCMS cannot link the two profiles.
    """
    try:
        transform = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise PictureError("the picture's ICC profile cannot be used; remove it or convert to sRGB first") from error

    def convert(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # noqa: S101 - None only for in-place conversion
        return converted

    return convert


def _srgb() -> ImageCmsProfile:
    return ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _open(profile: bytes) -> ImageCmsProfile:
    try:
        return ImageCmsProfile(BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise PictureError("the picture's ICC profile is damaged; remove it or convert to sRGB first") from error


def to_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Convert pixels (height, width, 3) from an RGB profile to sRGB; without a profile they are sRGB already.

    Raises:
        PictureError: the profile is damaged.
    """
    return pixels if profile is None else _by_strips(pixels, _converter("RGB", _open(profile), _srgb()))


def from_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Convert sRGB pixels (height, width, 3) to an RGB profile; the inverse of `to_srgb` within its gamut.

    Raises:
        PictureError: the profile is damaged, or works in one direction only.
    """
    return pixels if profile is None else _by_strips(pixels, _converter("RGB", _srgb(), _open(profile)))


def _by_strips(pixels: NDArray[np.uint8], convert: Converter) -> NDArray[np.uint8]:
    out = np.empty_like(pixels)
    rows = max(1, STRIP // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        part = slice(top, top + rows)
        out[part] = np.asarray(convert(Image.fromarray(pixels[part])))
    return out


def settle(mode: str, profile: bytes | None) -> tuple[Converter, bytes | None, tuple[str, ...]]:
    """Say how a flattened picture is brought to 8-bit RGB, and which profile its pixels keep.

    An RGB profile that converts both ways stays with the pixels. Grey, CMYK and Lab are converted to sRGB here. A
    profile that is damaged or belongs to another colour space is dropped with a note.

    Args:
        mode: L, RGB, CMYK or LAB.
        profile: the ICC profile of the file, if any.

    Returns:
        What brings the picture, or a strip of it, to mode RGB; the RGB profile of its pixels (None = sRGB); notes.
    """
    if mode == "LAB":
        return _converter(mode, ImageCmsProfile(ImageCms.createProfile("LAB")), _srgb()), None, ()
    space = profile_space(profile) if profile else None
    if profile and space == "RGB" and mode in ("L", "RGB"):
        return _settle_rgb(profile)
    if profile and space == _SPACES[mode]:
        try:
            return _converter(mode, _open(profile), _srgb()), None, (f"{space} profile converted to sRGB",)
        except PictureError:
            space = None
    notes: tuple[str, ...] = ()
    if profile:
        reason = "is damaged" if space is None else f"is for {space}, the pixels are {mode}"
        notes = (f"ICC profile ignored: it {reason}",)
    if mode == "CMYK":
        notes += ("CMYK without a usable profile: colours are approximate",)
    return _plain, None, notes


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _settle_rgb(profile: bytes) -> tuple[Converter, bytes | None, tuple[str, ...]]:
    try:
        convert = _converter("RGB", _open(profile), _srgb())
    except PictureError:
        return _plain, None, ("ICC profile ignored: it is damaged",)
    try:
        _converter("RGB", _srgb(), _open(profile))
    except PictureError:
        notes = ("ICC profile works one way only: picture converted to sRGB",)
        return (lambda image: convert(_plain(image))), None, notes
    return _plain, profile, ()
