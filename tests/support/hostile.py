"""Files made by hand to be expensive: header-only giants, tables of millions of entries, bombs."""

import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.support.pictures import encode, scene


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, rows: bytes = b"", extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """Little-endian TIFF; tags map to (type, count, value or offset), and `data` follows the table."""
    body = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", following) + data


def grey_tiff(width: int, height: int, extra: int = 0) -> dict[int, tuple[int, int, int]]:
    """Tags of an 8-bit grey picture in one strip, with `extra` more tags to be added before its data."""
    offset = 8 + 2 + 12 * (8 + extra) + 4
    return {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, offset), 278: (4, 1, height), 279: (4, 1, width * height),
    }  # fmt: skip


ZEROS = zlib.compress(bytes(40_000_000), 9)


BOMBS: dict[str, Callable[[], bytes]] = {
    "png 30000x30000 1 bit": lambda: png(30_000, 30_000, bits=1, rows=zlib.compress(bytes(3751 * 30_000), 9)),
    "png header of 200 MP": lambda: png(20_000, 10_000),
    "png 8191x8191": lambda: png(8191, 8191, rows=ZEROS),
    "png 2^31-1 squared": lambda: png(2**31 - 1, 2**31 - 1),
    "webp 16384x16384": lambda: b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + b"\xff" * 3 + b"\x0f" + bytes(8),
    "webp animated canvas 2^24 wide": lambda: webp_canvas(2**24, 2**24),
    "webp canvas of 64 MP": lambda: webp_canvas(8000, 8000),
    "webp lossy header": lambda: b"RIFF\x20\0\0\0WEBPVP8 \x14\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(10),
    "jpeg 65535x65535": lambda: resized_jpeg(65535, 65535),
    "bmp 30000x30000": lambda: b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 30_000, -30_000, 1, 24, 0) + bytes(20),
    "tiff 60000x60000": lambda: tiff(grey_tiff(60_000, 60_000), bytes(100)),
    "avif 8000x8000": lambda: encode(Image.new("L", (64, 64)), "AVIF").replace(
        b"ispe" + bytes(4) + struct.pack(">II", 64, 64), b"ispe" + bytes(4) + struct.pack(">II", 8000, 8000)
    ),
}


def webp_canvas(width: int, height: int) -> bytes:
    inner = encode(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.fromarray(scene()), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def progressive_bomb() -> bytes:
    data = encode(Image.new("L", (4096, 4096)), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    return data[:start] + data[start:-2] * 200 + data[-2:]


def rle_bmp(width: int, height: int) -> bytes:
    body = (b"\x01\x05" * width + b"\0\0") * height
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(body), 0, 0, 14 + 40 + 1024) + head + bytes(1024) + body


STRUCTURES: dict[str, Callable[[], bytes]] = {
    "png of a million chunks": lambda: png(9, 9, extra=chunk(b"abCd", b"") * 1_000_000),
    "png profile bomb": lambda: png(9, 9, extra=chunk(b"iCCP", b"x\0\0" + ZEROS)),
    "jpeg of two thousand scans": progressive_bomb,
    "bmp of a million runs": lambda: rle_bmp(1000, 1000),
    "tiff of six million strips": lambda: tiff(
        {**grey_tiff(1, 6_000_000), 273: (4, 6_000_000, 200), 279: (4, 6_000_000, 200)}, bytes(24_000_000)
    ),
    "tiff of sixty thousand tags": lambda: b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(720_100),
    "tiff whose strips miss": lambda: tiff({**grey_tiff(6000, 6000), 278: (4, 1, 10)}, bytes(60_000)),
    "tiff strip beyond the end": lambda: tiff({**grey_tiff(6000, 6000), 273: (4, 1, 2**31)}, bytes(100)),
    "tiff without size": lambda: tiff({258: (3, 1, 8)}),
    "tiff table that is its own header": lambda: b"II*\0" + struct.pack("<I", 0) + bytes(10),
    "tiff table beyond the end": lambda: b"II*\0" + struct.pack("<I", 2**32 - 1),
    "bigtiff table beyond the end": lambda: b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**64 - 1),
    "bigtiff of 2^60 tags": lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60),
    "tiff tile wider than memory": lambda: tiff(
        {**grey_tiff(64, 64), 259: (3, 1, 8), 322: (4, 1, 2**31 - 16), 323: (4, 1, 2**31 - 16), 324: (4, 1, 8)}
    ),
    "png without rows": lambda: png(6000, 6000),
    "png of too few rows": lambda: png(6000, 6000, rows=zlib.compress(bytes(1_000_000))),
    "png of zero width": lambda: png(0, 9),
}
