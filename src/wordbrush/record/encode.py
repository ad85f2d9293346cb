"""Pixels into file bytes through Pillow: one place for formats, modes, limits and encoder switches."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from wordbrush.errors import OutputError
from wordbrush.picture.density import Density, info_density
from wordbrush.record.containers import PNG_XMP

__all__ = ["FORMATS", "encode_pixels"]

FORMATS = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".bmp": "BMP",
}
_LONGEST = {"WEBP": 16383, "JPEG": 65500, "AVIF": 65535}
_XMP_TAG = 700


def encode_pixels(image: Image.Image, kind: str, quality: int, carried: dict[str, Any]) -> bytes:
    """Return a file of Pillow format `kind` with the pixels, what `image.info` tells of them, and what is carried.

    Args:
        image: mode 1, L, LA, P, RGB or RGBA; of its `info` the `icc_profile` is written, and `dpi` or `aspect` where
            the format has a place for it (`dpi`: PNG, JPEG, TIFF, BMP; `aspect`: PNG, JPEG).
        kind: a value of `FORMATS`.
        quality: 1 ... 100, for JPEG and AVIF.
        carried: texts and xmp (PNG), xmp (TIFF, WebP, AVIF), exif (JPEG, WebP, AVIF), extra (JPEG).

    Raises:
        OutputError: the format cannot hold this picture.
    """
    if not 1 <= quality <= 100:
        raise OutputError(f"quality {quality} is outside 1 ... 100")
    profile, density = image.info.get("icc_profile"), info_density(image.info)
    clean = _clean(image)
    _check(clean, kind, profile)
    options = _options(kind, quality, carried)
    if profile:
        options["icc_profile"] = profile
    if density is not None and density.unit == "inch" and kind in ("PNG", "JPEG", "TIFF", "BMP"):
        options["dpi"] = (density.x, density.y)
    buffer = io.BytesIO()
    try:
        clean.save(buffer, kind, **options)
    except (OSError, ValueError, OverflowError, SystemError) as error:
        raise OutputError(f"the picture cannot be written as {kind}: {error}; save as .png instead") from error
    data = buffer.getvalue()
    return data if density is None or density.unit == "inch" else _with_aspect(data, kind, density)


def _with_aspect(data: bytes, kind: str, density: Density) -> bytes:
    """Write the shape of a pixel into the head of a file, for which Pillow has no option; to PNG and JPEG only."""
    x, y = round(density.x), round(density.y)
    if kind == "PNG":
        chunk = b"pHYs" + struct.pack(">IIB", x, y, 0)
        return data[:33] + struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    if kind == "JPEG" and data[6:11] == b"JFIF\0":
        return data[:13] + struct.pack(">BHH", 0, x, y) + data[18:]
    return data


def _clean(image: Image.Image) -> Image.Image:
    """Return the pixels alone: Pillow would copy comments and tags of an opened file into the new one."""
    widened = {"1": "L", "P": "RGBA" if image.has_transparency_data else "RGB"}.get(image.mode)
    if widened is None and image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise OutputError(f"a picture of mode {image.mode} is not written; convert it to RGB first")
    clean = image.convert(widened) if widened else image.copy()
    clean.info = {}
    return clean


def _check(image: Image.Image, kind: str, profile: bytes | None) -> None:
    if kind in ("JPEG", "BMP") and image.mode in ("LA", "RGBA"):
        raise OutputError(f"{kind} cannot hold the transparency of this picture; save as .png or .webp")
    if kind == "BMP" and profile:
        raise OutputError("BMP cannot hold the colour profile of this picture; save as .png or .webp")
    if kind == "AVIF" and not features.check("avif"):
        raise OutputError("the installed Pillow cannot write AVIF; save as .png or .webp")
    longest = _LONGEST.get(kind)
    if longest and max(image.size) > longest:
        raise OutputError(
            f"{image.width} × {image.height} is too large for {kind} (longest side {longest}); save as .png"
        )


def _options(kind: str, quality: int, carried: dict[str, Any]) -> dict[str, Any]:
    if kind == "PNG":
        return {"compress_level": 6, "pnginfo": _png_info(carried)}
    if kind == "TIFF":
        tags = {_XMP_TAG: carried["xmp"]} if "xmp" in carried else {}
        return {"compression": "tiff_adobe_deflate", "tiffinfo": tags}
    if kind == "WEBP":
        # `exact` keeps the colours under full transparency, which are the input's too.
        return {"lossless": True, "exact": True, "quality": 80, "method": 4, **carried}
    if kind == "JPEG":
        return {"quality": quality, "subsampling": "4:4:4", **carried}
    if kind == "AVIF":
        # Tiling by the number of cores would make the bytes depend on the machine.
        return {"quality": quality, "subsampling": "4:4:4", "autotiling": False, "max_threads": 1, **carried}
    return {}


def _png_info(carried: dict[str, Any]) -> PngInfo:
    info = PngInfo()
    for keyword, text in carried.get("texts", ()):
        info.add_text(keyword, text)
    if "xmp" in carried:
        info.add_itxt(PNG_XMP, carried["xmp"])
    return info
