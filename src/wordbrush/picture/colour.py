"""ICC profiles: from a picture's own colours to the sRGB a model sees, and back.

All conversions are littleCMS, relative colorimetric, no black point compensation.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ImageCms import ImageCmsProfile

from wordbrush.errors import PictureError

__all__ = ["from_srgb", "profile_space", "settle", "to_srgb"]

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_MIN_PROFILE = 128  # bytes of an ICC header


def profile_space(profile: bytes) -> str | None:
    """Tell the colour space of an ICC profile ("RGB", "GRAY", "CMYK", "Lab", ...), or None when it is damaged."""
    if len(profile) < _MIN_PROFILE:
        return None
    try:
        return str(ImageCmsProfile(BytesIO(profile)).profile.xcolor_space).strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _convert(image: Image.Image, source: ImageCmsProfile, target: ImageCmsProfile) -> Image.Image:
    """Convert `image` to mode RGB from profile `source` to `target`.

    Raises:
        PictureError: littleCMS cannot link the two profiles.
    """
    try:
        converted = ImageCms.profileToProfile(
            image, source, target, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise PictureError("the picture's ICC profile cannot be used; remove it or convert to sRGB first") from error
    assert converted is not None  # noqa: S101 - None only for in-place conversion
    return converted


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
    if profile is None:
        return pixels
    return np.asarray(_convert(Image.fromarray(pixels), _open(profile), _srgb()))


def from_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Convert sRGB pixels (height, width, 3) to an RGB profile; the inverse of `to_srgb` within its gamut.

    Raises:
        PictureError: the profile is damaged, or works in one direction only.
    """
    if profile is None:
        return pixels
    return np.asarray(_convert(Image.fromarray(pixels), _srgb(), _open(profile)))


def settle(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Bring a flattened picture to 8-bit RGB and decide which profile its pixels keep.

    An RGB profile that converts both ways stays with the pixels. Grey, CMYK and Lab are converted to sRGB here. A
    profile that is damaged or belongs to another colour space is dropped with a note.

    Args:
        image: mode L, RGB, CMYK or LAB.
        profile: the ICC profile of the file, if any.

    Returns:
        The picture in mode RGB, the RGB profile of its pixels (None = sRGB), notes.
    """
    if image.mode == "LAB":
        return _lab(image), None, ()
    space = profile_space(profile) if profile else None
    if profile and space == "RGB" and image.mode in ("L", "RGB"):
        return _settle_rgb(image.convert("RGB"), profile)
    if profile and space == _SPACES[image.mode]:
        try:
            return _convert(image, _open(profile), _srgb()), None, (f"{space} profile converted to sRGB",)
        except PictureError:
            space = None
    notes: tuple[str, ...] = ()
    if profile:
        reason = "is damaged" if space is None else f"is for {space}, the pixels are {image.mode}"
        notes = (f"ICC profile ignored: it {reason}",)
    if image.mode == "CMYK":
        notes += ("CMYK without a usable profile: colours are approximate",)
    return image.convert("RGB"), None, notes


def _settle_rgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    probe = np.zeros((1, 1, 3), np.uint8)
    try:
        to_srgb(probe, profile)
    except PictureError:
        return image, None, ("ICC profile ignored: it is damaged",)
    try:
        from_srgb(probe, profile)
    except PictureError:
        converted = _convert(image, _open(profile), _srgb())
        return converted, None, ("ICC profile works one way only: picture converted to sRGB",)
    return image, profile, ()


def _lab(image: Image.Image) -> Image.Image:
    return _convert(image, ImageCmsProfile(ImageCms.createProfile("LAB")), _srgb())
