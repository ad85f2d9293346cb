"""Files with records beside their pixels that no library here writes: chunks, segments, tags and boxes made by hand."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.support.pictures import LOSSLESS, encode, scene

__all__ = ["SCENE", "avif_coded", "bad", "bmp_v5", "exif", "in_jpeg", "in_png", "segment", "tiff_with"]

SCENE = Image.fromarray(scene())


def in_png(*chunks: bytes, image: Image.Image = SCENE, late: bool = False) -> bytes:
    """Return a PNG with chunks before its pixels, or after them."""
    data = encode(image)
    place = len(data) - 12 if late else 33
    return data[:place] + b"".join(chunks) + data[place:]


def bad(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk whose checksum is wrong."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ 0x5A5A)


def segment(code: int, body: bytes) -> bytes:
    """Return a JPEG segment."""
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def in_jpeg(*segments: bytes, image: Image.Image = SCENE) -> bytes:
    """Return a JPEG with segments at its start."""
    data = encode(image, "JPEG", **LOSSLESS["JPEG"])
    return data[:2] + b"".join(segments) + data[2:]


def exif(space: int | None = None, index: str = "") -> bytes:
    """Return EXIF with a ColorSpace and an interoperability index, and nothing else."""
    entries = [] if space is None else [struct.pack(">HHIHH", 0xA001, 3, 1, space, 0)]
    inner = 8 + 2 + 12 + 4
    interop = inner + 2 + 12 * (len(entries) + bool(index)) + 4
    if index:
        entries.append(struct.pack(">HHII", 0xA005, 4, 1, interop))
    body = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x8769, 4, 1, inner, 0)
    body += struct.pack(">H", len(entries)) + b"".join(entries) + bytes(4)
    if index:
        body += struct.pack(">HHHI4sI", 1, 1, 2, 4, index.encode().ljust(4, b"\0"), 0)
    return b"Exif\0\0" + body


def avif_coded(primaries: int, transfer: int, **options: object) -> bytes:
    """Return an AVIF whose `nclx` box has these code points."""
    data = encode(SCENE, "AVIF", **LOSSLESS["AVIF"], **options)
    place = data.index(b"nclx") + 4
    return data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]


def bmp_v5(space: bytes, corners: tuple[float, ...] = (0.0,) * 9, gamma: float = 0.0, profile: bytes = b"") -> bytes:
    """Return a BMP with a header of version 5; corners are X, Y, Z of red, green and blue."""
    plain = encode(SCENE, "BMP")
    pixels = plain[struct.unpack_from("<I", plain, 10)[0] :]
    head = struct.pack("<IiiHHIIiiII", 124, SCENE.width, SCENE.height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    head += bytes(16) + space + struct.pack("<9i", *(round(value * 2**30) for value in corners))
    head += struct.pack("<3I", *[round(gamma * 65_536)] * 3)
    head += struct.pack("<IIII", 4, 124 + len(pixels) if profile else 0, len(profile), 0)
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + pixels + profile


def tiff_with(tag: int, kind: int, count: int, data: bytes, value: int | None = None) -> bytes:
    """Return a little-endian TIFF with one more tag; its data are put at the end, unless a value stands for them."""
    plain = encode(SCENE, "TIFF")
    start = struct.unpack_from("<I", plain, 4)[0]
    count_of = struct.unpack_from("<H", plain, start)[0]
    entries = [plain[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count_of)]
    kept = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != tag]
    kept.append(struct.pack("<HHII", tag, kind, count, len(plain) if value is None else value))
    kept.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    table = struct.pack("<H", len(kept)) + b"".join(kept) + bytes(4)
    return plain[:4] + struct.pack("<I", len(plain) + len(data)) + plain[8:] + data + table
