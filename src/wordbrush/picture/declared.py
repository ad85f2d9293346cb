"""Colours that a file declares without an ICC profile, turned into one.

What counts, the first that there is:

| file | |
|---|---|
| PNG | `cICP`; ICC profile; `sRGB`; `gAMA` and `cHRM`; EXIF |
| TIFF | ICC profile; PrimaryChromaticities, WhitePoint and TransferFunction; EXIF |
| AVIF | ICC profile; `nclx`; EXIF |
| BMP | the embedded profile, or end points and gamma, of header versions 4 and 5 |
| JPEG, WebP | ICC profile; EXIF |

EXIF counts where it says Adobe RGB (ColorSpace 2, or interoperability R03), or gives primaries. What amounts to sRGB
stays without a profile, without a word.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from wordbrush.picture import profiles
from wordbrush.picture.salvage import jpeg_profile, png_chunks

__all__ = ["declared_profile"]

Declared = tuple[bytes | None, tuple[str, ...]]
"""A profile, None for sRGB; notes."""

_PLAIN: Final[Declared] = (None, ())
_SRGB_GAMMA: Final = (0.45, 0.46)  # of gAMA; 1/2.2 stands for sRGB where nothing else is said
_GAMMAS: Final = (0.1, 5.0)
_HDR: Final = {16: "PQ", 18: "HLG"}
_EXIF, _INTEROP, _COLOUR_SPACE, _GAMMA = 0x8769, 0xA005, 0xA001, 0xA500
_UNCALIBRATED: Final = 0xFFFF
_TRANSFER, _WHITE, _PRIMARIES = 301, 318, 319
_MOST_BOXES: Final = 4096


def declared_profile(image: Image.Image, data: bytes | None = None) -> Declared:
    """Return the ICC profile of a picture's colours, and what is to be said of them.

    Args:
        image: as opened, not yet converted.
        data: the file it was opened from; without it, what Pillow tells has to do.

    Returns:
        The profile, its own or one made of what the file declares; None where the colours are sRGB. Notes.
    """
    own, notes = _own_profile(image, data)
    if image.mode in ("CMYK", "LAB"):
        return own, notes
    chunks = _png_colours(image, data) if image.format == "PNG" else {}
    if "cicp" in chunks:
        return _coded(*chunks["cicp"])
    if own is not None:
        return own, notes
    code = next(_nclx(data), None) if image.format == "AVIF" and data is not None else None
    made = _container(image, data, chunks) if code is None else _coded(*code)
    if made == _PLAIN:
        made = _exif(image)
        if "srgb" in chunks or (code is not None and code[0] == 1):  # explicit, so that EXIF does not count
            made = None, ("colours read as sRGB: the file itself says so, and EXIF another",) if made[0] else ()
    return made[0], notes + made[1]


def _container(image: Image.Image, data: bytes | None, chunks: Mapping[str, Any]) -> Declared:
    """Read what a PNG, TIFF or BMP file itself says of its colours."""
    if image.format == "TIFF":
        return _tiff(image)
    if image.format == "BMP" and data is not None:
        return _bmp(data)
    if "srgb" in chunks:
        return _PLAIN
    return _gamma_and_primaries(chunks.get("gamma"), chunks.get("chromaticity"))


def _own_profile(image: Image.Image, data: bytes | None) -> Declared:
    if image.format == "JPEG" and data is not None:
        return jpeg_profile(data)
    profile = image.info.get("icc_profile", b"")
    if profile is None:  # so Pillow says that there is one it cannot unpack
        return None, ("ICC profile ignored: it is damaged",)
    return (profile if isinstance(profile, bytes) and profile else None), ()


def _coded(primaries: int, transfer: int, full: bool = True) -> Declared:
    """Read code points of ITU-T H.273; 2 is "unspecified" and stands for sRGB."""
    primaries, transfer = (1 if primaries == 2 else primaries), (13 if transfer == 2 else transfer)
    notes: tuple[str, ...] = () if full else ("colours of limited range are read as of full range",)
    if (primaries, transfer) == (1, 13):
        return None, notes
    name = f"H.273 primaries {primaries}, transfer {transfer}"
    points, curve = profiles.PRIMARIES.get(primaries), profiles.curve_of(transfer)
    profile = profiles.matrix_profile(name, points, curve) if points and curve else None
    if profile is None:
        return None, (*notes, f"colours read as sRGB: the file declares {name}, which is not known here")
    if transfer in _HDR:
        notes += (
            f"a picture of high dynamic range ({_HDR[transfer]}): read, and tagged in the result, up to its reference "
            "white of 203 cd/m²; all that is brighter counts as white",
        )
    return profile, notes


def _png_colours(image: Image.Image, data: bytes | None) -> dict[str, Any]:
    """Gather what the chunks of a PNG file say of its colours."""
    found: dict[str, Any] = {}
    if data is None:
        info = image.info  # texts of the file are in it, too, under whatever key they have
        if isinstance(info.get("srgb"), int):
            found["srgb"] = True
        if isinstance(info.get("gamma"), float):
            found["gamma"] = info["gamma"]
        if isinstance(info.get("chromaticity"), tuple):
            found["chromaticity"] = info["chromaticity"]
        return found
    for kind, start, end in png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind == b"cICP" and len(body) == 4:
            found.setdefault("cicp", (body[0], body[1], body[3] != 0))
        elif kind == b"sRGB":
            found["srgb"] = True
        elif kind == b"gAMA" and len(body) == 4:
            found.setdefault("gamma", struct.unpack(">I", body)[0] / 100_000)
        elif kind == b"cHRM" and len(body) == 32:
            found.setdefault("chromaticity", tuple(value / 100_000 for value in struct.unpack(">8I", body)))
    return found


def _gamma_and_primaries(gamma: float | None, chromaticity: Sequence[float] | None) -> Declared:
    """Read gAMA (the exponent of the coding, 1/2.2 say) and cHRM (x and y of white, red, green, blue) of a PNG file."""
    if gamma is None and chromaticity is None:
        return _PLAIN
    usual = gamma is None or _SRGB_GAMMA[0] <= gamma <= _SRGB_GAMMA[1]
    points = profiles.SRGB if chromaticity is None else (*chromaticity[2:], *chromaticity[:2])
    if gamma is not None and not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None, (f"colours read as sRGB: the file declares a gamma of {gamma:g}, which makes no sense",)
    if usual and len(points) == 8 and profiles.is_srgb_primaries(points):
        return _PLAIN
    return _made("PNG gamma and primaries", points, None if gamma is None else 1 / gamma)


def _made(name: str, points: Sequence[float], exponent: float | None) -> Declared:
    """Make a profile of primaries and an exponent, or of the curve of sRGB."""
    curve = profiles.curve_of(13) if exponent is None else profiles.power(exponent)
    profile = profiles.matrix_profile(name, points, curve or b"") if len(points) == 8 else None
    if profile is None:
        return None, ("colours read as sRGB: the file declares primaries that span no colours",)
    return profile, ()


def _exif(image: Image.Image) -> Declared:
    """Read what EXIF says of the colours; a damaged one says nothing."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(_EXIF)
        index = str(exif.get_ifd(_INTEROP).get(1) or "") if _INTEROP in inner else ""
        space = inner.get(_COLOUR_SPACE)
        gamma = float(inner.get(_GAMMA) or 0)
        points = _numbers(exif.get(_PRIMARIES), 6) + _numbers(exif.get(_WHITE), 2)
    except Exception:  # a broken side record must not lose the picture
        return _PLAIN
    if space == 2 or (space != 1 and index.startswith("R03")):
        return _made("Adobe RGB (1998)", profiles.ADOBE, 563 / 256)
    if space == _UNCALIBRATED:
        if len(points) == 8 and not profiles.is_srgb_primaries(points) and image.format != "TIFF":
            return _made("EXIF primaries", points, gamma if 1 <= gamma <= 5 else 2.2)
        return None, ("colours read as sRGB: EXIF says that they are another, but not which",)
    return _PLAIN


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    """Return so many numbers, or none."""
    if not isinstance(values, tuple) or len(values) != count:
        return ()
    return tuple(float(value) for value in values)


def _tiff(image: Image.Image) -> Declared:
    """Read the colorimetry of TIFF 6.0, section 20: without a transfer function the gamma is 2.2."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    try:
        points = _numbers(tags.get(_PRIMARIES), 6) + (_numbers(tags.get(_WHITE), 2) or profiles.SRGB[6:])
        table = np.asarray(tags.get(_TRANSFER, ()), np.float64) / 65_535
    except Exception:  # values of a damaged tag
        return None, ("colours read as sRGB: the TIFF tags that declare them are damaged",)
    points = points if len(points) == 8 else ()
    if table.ndim == 1 and table.size >= 256:
        mean = table.reshape(3, -1).mean(0) if table.size % 3 == 0 else table  # one table, or one a channel
        places = np.linspace(0, len(mean) - 1, min(len(mean), 4096))
        curve = profiles.sampled(np.interp(places, np.arange(len(mean)), mean))
        profile = profiles.matrix_profile("TIFF transfer function", points or profiles.SRGB, curve)
        return (profile, ()) if profile else _made("", (), None)
    if not points or profiles.is_srgb_primaries(points):
        return _PLAIN
    return _made("TIFF primaries", points, 2.2)


def _bmp(data: bytes) -> Declared:
    """Read end points and gamma (version 4), or the embedded profile (version 5), of a BMP file's header."""
    size = struct.unpack_from("<I", data, 14)[0]
    if size < 108 or len(data) < 14 + size:
        return _PLAIN
    space = data[70:74]
    if size >= 124 and space == b"DEBM":  # PROFILE_EMBEDDED, little endian
        offset, length = struct.unpack_from("<II", data, 126)
        return data[14 + offset : 14 + offset + length] or None, ()
    if size >= 124 and space == b"KNIL":
        return None, ("colours read as sRGB: the profile lies in another file",)
    corners = np.array(struct.unpack_from("<9i", data, 74), np.float64).reshape(3, 3) / 2**30
    gamma = sum(struct.unpack_from("<3I", data, 110)) / 3 / 65_536
    if space != bytes(4) or not (corners.sum(axis=1) > 0).all():
        return _PLAIN
    points = np.vstack([corners, corners.sum(axis=0)])
    points = (points / points.sum(axis=1, keepdims=True))[:, :2]
    exponent = max(gamma, 1 / gamma) if _GAMMAS[0] <= gamma <= _GAMMAS[1] else None
    if profiles.is_srgb_primaries(points.ravel().tolist()) and (exponent is None or abs(exponent - 2.2) < 0.05):
        return _PLAIN
    return _made("BMP end points", points.ravel().tolist(), exponent)


def _nclx(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield primaries and transfer of the `nclx` boxes of an AVIF file, those of the primary item first."""
    meta = next((body for kind, body in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        return
    inside = dict(_boxes(data, meta[0] + 4, meta[1]))
    within = dict(_boxes(data, *inside.get(b"iprp", (0, 0))))
    properties = list(_boxes(data, *within.get(b"ipco", (0, 0))))
    wanted = _properties_of(data, inside.get(b"pitm"), within.get(b"ipma"))
    order = sorted(range(len(properties)), key=lambda index: index + 1 not in wanted)
    for index in order:
        kind, (start, end) = properties[index]
        if kind == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 10:
            yield struct.unpack_from(">HH", data, start + 4)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the boxes of an ISO base media file: kind, and where the body begins and ends."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        last = end if size == 0 else min(start + size, end)
        if last < start + head:
            return
        yield kind, (start + head, last)
        start = last


def _properties_of(data: bytes, pitm: tuple[int, int] | None, ipma: tuple[int, int] | None) -> set[int]:
    """Return the numbers of the properties of the primary item, from 1 on."""
    if pitm is None or ipma is None:
        return set()
    try:
        item = struct.unpack_from(">I" if data[pitm[0]] else ">H", data, pitm[0] + 4)[0]
        version, flags = data[ipma[0]], data[ipma[0] + 3]
        count, position = struct.unpack_from(">I", data, ipma[0] + 4)[0], ipma[0] + 8
        for _ in range(min(count, _MOST_BOXES)):
            number = struct.unpack_from(">I" if version else ">H", data, position)[0]
            position += 4 if version else 2
            many, step = data[position], 2 if flags & 1 else 1
            body = data[position + 1 : position + 1 + many * step]
            position += 1 + many * step
            if number == item:
                mask = 0x7FFF if step == 2 else 0x7F
                return {int.from_bytes(body[i : i + step], "big") & mask for i in range(0, len(body), step)}
    except (struct.error, IndexError):
        pass
    return set()
