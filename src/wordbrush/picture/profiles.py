"""ICC profiles made from numbers: primaries, white and a transfer curve, as files declare them without a profile.

A profile made here is version 4, three colorants and one curve for all channels, a few hundred bytes; equal numbers
give equal bytes. Primaries and curves of code points are those of ITU-T H.273, which PNG (`cICP`) and AVIF (`nclx`)
both use.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ADOBE", "PRIMARIES", "SRGB", "curve_of", "is_srgb_primaries", "matrix_profile", "power", "sampled"]

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white."""

_D65: Final = (0.3127, 0.3290)
_C: Final = (0.310, 0.316)
_P3: Final = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_SMPTE: Final = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)

SRGB: Final[Chromaticities] = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
ADOBE: Final[Chromaticities] = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *_D65)
PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: _SMPTE,
    7: _SMPTE,
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (*_P3, 0.314, 0.351),
    12: (*_P3, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
"""Colour primaries by their code point, but those of XYZ itself (10)."""

_D50: Final = np.array([0.9642, 1.0, 0.8249])
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SAMPLES: Final = 4096
_NEAR: Final = 0.0025  # chromaticities nearer than this are the same; files round them


def is_srgb_primaries(chromaticities: Sequence[float]) -> bool:
    """Tell whether primaries and white are those of sRGB, but for rounding."""
    return all(abs(one - other) < _NEAR for one, other in zip(chromaticities, SRGB, strict=True))


def power(exponent: float) -> bytes:
    """Return the curve linear = coded ** exponent, as a tag of a profile."""
    return _parametric(0, exponent)


def sampled(values: NDArray[np.floating]) -> bytes:
    """Return the curve through evenly spaced values in [0, 1], as a tag of a profile."""
    table = np.rint(np.clip(values, 0, 1) * 65_535).astype(">u2")
    return b"".join((b"curv", bytes(4), struct.pack(">I", len(table)), table.tobytes()))


def curve_of(transfer: int) -> bytes | None:
    """Return the curve of a transfer characteristic's code point, as a tag of a profile, or None for an unknown one.

    PQ (16) and HLG (18) are cut at their reference white of 203 cd/m² (ITU-R BT.2408), 75 % of the HLG signal.
    """
    if transfer in (1, 6, 11, 12, 14, 15):  # the BT.709 curve and its kin
        return _parametric(3, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
    known = {
        4: lambda: power(2.2),
        5: lambda: power(2.8),
        7: lambda: _parametric(3, 1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
        8: lambda: power(1.0),
        13: lambda: _parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        16: lambda: sampled(_pq(np.linspace(0, 1, _SAMPLES))),
        17: lambda: power(2.6),
        18: lambda: sampled(_hlg(np.linspace(0, 1, _SAMPLES)) / _hlg(np.array([0.75]))),
    }
    return known[transfer]() if transfer in known else None


def _pq(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light as a multiple of the reference white, by SMPTE ST 2084."""
    root = coded ** (1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return np.asarray(light ** (1 / 0.1593017578125) * (10_000 / 203))


def _hlg(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light of the scene in [0, 1], by ITU-R BT.2100."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    return np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)


def matrix_profile(name: str, chromaticities: Sequence[float], curve: bytes) -> bytes | None:
    """Return the bytes of an RGB profile.

    Args:
        name: what programs show for it, ASCII.
        chromaticities: x and y of red, green, blue and white.
        curve: of all three channels, see `power`, `sampled` and `curve_of`.

    Returns:
        The profile, or None where these primaries span no colours.
    """
    colorants = _colorants(np.asarray(chromaticities, np.float64).reshape(4, 2))
    if colorants is None:
        return None
    matrix, adaptation = colorants
    fields = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _fixed(b"XYZ ", _D50),
        b"chad": _fixed(b"sf32", adaptation),
        **{tag: _fixed(b"XYZ ", column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _file(fields)


def _colorants(chromaticities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the matrix from linear RGB to XYZ under D50, and the one that adapts the white to it (Bradford)."""
    if not np.isfinite(chromaticities).all() or (np.abs(chromaticities) > 2).any() or chromaticities[3, 1] < 0.01:
        return None
    x, y = chromaticities.T
    points = np.stack([x, y, 1 - x - y])
    primaries, white = points[:, :3], points[:, 3] / y[3]
    if abs(np.linalg.det(primaries)) < 1e-3:
        return None
    cone = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cone) @ _BRADFORD
    matrix = adaptation @ (primaries * np.linalg.solve(primaries, white))
    return (matrix, adaptation) if np.isfinite(matrix).all() and (np.abs(matrix) < 4).all() else None


def _parametric(kind: int, *numbers: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _numbers(numbers)


def _fixed(kind: bytes, numbers: NDArray[np.float64]) -> bytes:
    return kind + bytes(4) + _numbers(numbers.ravel().tolist())


def _numbers(numbers: Sequence[float]) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65_536) for number in numbers))


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded


def _file(fields: dict[bytes, bytes]) -> bytes:
    """Lay header, table and tags out; equal tags share their bytes."""
    body, offsets, entries = b"", dict[bytes, int](), b""
    start = 128 + 4 + 12 * len(fields)
    for tag, data in fields.items():
        if data not in offsets:
            offsets[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        entries += struct.pack(">4sII", tag, offsets[data], len(data))
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # the same always: no profile tells when a picture was opened
    words = (bytes(4), b"\x04\x30\0\0", b"mntr", b"RGB ", b"XYZ ", date, b"acsp")
    head = struct.pack(">I", start + len(body)) + b"".join(words)
    head = (head + bytes(28) + _numbers(_D50.tolist())).ljust(128, b"\0")
    return head + struct.pack(">I", len(fields)) + entries + body
