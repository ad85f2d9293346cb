"""Small pictures, their encodings, and ICC profiles made by hand so that their closed form is known."""

import itertools
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {},
    "BMP": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
TOLERANCE = {"JPEG": 3, "AVIF": 4}


def scene(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """A smooth picture without symmetry."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    return np.stack([40 + 180 * x, 30 + 200 * y, 128 + 90 * np.sin(3 * x + 5 * y)], -1).astype(np.uint8)


def encode(image: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def distance(a: NDArray[Any], b: NDArray[Any]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    described = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    table = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    offset, entries, body = 132 + 12 * len(table), b"", b""
    for name, data in table.items():
        entries += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x02400000, kind, space, pcs, bytes(12), b"acsp")
    illuminant = xyz(0.9642, 1, 0.8249)[8:]
    return (head + bytes(28) + illuminant).ljust(128, b"\0") + struct.pack(">I", len(table)) + entries + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def rgb_profile(primaries: tuple[tuple[float, ...], ...] = P3) -> bytes:
    colours = {name: xyz(*row) for name, row in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return profile(b"RGB ", {**colours, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))})


def one_way_profile(space: bytes, channels: int, corner: Callable[[tuple[int, ...]], tuple[int, int, int]]) -> bytes:
    """A profile with a device-to-Lab table only; `corner` gives 8-bit Lab for each corner of the device cube."""
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"".join(bytes(corner(c)) for c in itertools.product((0, 1), repeat=channels))
    lut = b"mft1" + bytes(4) + bytes((channels, 3, 2, 0)) + matrix + ramp * channels + table + ramp * 3
    return profile(space, {b"A2B0": lut}, b"scnr", b"Lab ")


def p3_to_srgb(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    linear: NDArray[np.float64] = (pixels / 255.0) ** 2.2 @ np.array(P3) @ np.linalg.inv(np.array(SRGB))
    linear = np.clip(linear, 0, 1)
    return 255.0 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
