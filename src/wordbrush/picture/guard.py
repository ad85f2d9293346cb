"""Cheap checks on the bytes of a picture, before any decoder sees them.

Every format has a way to make a small file cost minutes or gigabytes: a canvas that is allocated when the file is
opened, tables with millions of entries that are walked in Python, thousands of progressive scans over the same pixels.
The checks here read headers and marker positions only, so their own cost is bounded by the entries they allow.
"""

import re
import struct
from collections.abc import Callable

from wordbrush.errors import PictureError
from wordbrush.picture.limits import reading_limits

__all__ = [
    "MAX_JPEG_FILL",
    "MAX_JPEG_SEGMENTS",
    "MAX_PNG_CHUNKS",
    "MAX_SIDE",
    "SUPPORTED",
    "check_bytes",
    "check_size",
    "sniff",
]

SUPPORTED = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")

MAX_SIDE = 65_535
"""Most pixels of one side, the most that JPEG and AVIF can say; rows of one pixel cost as much as rows of thousands."""

MAX_PNG_CHUNKS = 50_000  # Pillow walks chunks in Python at some microseconds each
MAX_JPEG_FILL = 65_536  # bytes between segments; Pillow walks them one at a time in Python
MAX_JPEG_SEGMENTS = 10_000
MAX_JPEG_SCANS = 100  # encoders write about ten; libtiff refuses more than this too
MAX_JPEG_WORK = 1_200_000_000  # scans x pixels: every scan visits every block again
MAX_TIFF_TAGS = 1_000
MAX_TIFF_VALUES = 65_536  # strips, tiles: one Python object and one decoder each
MAX_TIFF_TRANSFER = 3 * 65_536  # the transfer function of 16-bit colour
TIFF_TRANSFER = 301
MAX_RLE_PIXELS = 8_000_000  # Pillow decodes run-length BMP in Python
MAX_RLE_BYTES = 1_000_000

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"8BPS", "a Photoshop document"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file, perhaps an SVG drawing"),
    (b"\0\0\1\0", "an icon"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"PK\x03\x04", "a zip archive"),
    (b"v/1\x01", "an OpenEXR picture"),
)


def sniff(data: bytes) -> str:
    """Name the format of a file from its first bytes; its name and suffix are never believed.

    Args:
        data: the whole file.

    Returns:
        One of `SUPPORTED`.

    Raises:
        PictureError: the file is empty or of another format; the message lists the supported ones.
    """
    if not data:
        raise PictureError("the picture is empty (0 bytes); give a file with a picture in it")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    brands = data[8:256] if data[4:8] == b"ftyp" else b""
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    head = data.lstrip()
    kinds = [label for magic, label in _REFUSED if head.startswith(magic) or data.startswith(magic)]
    kind = "a HEIF picture or a video" if brands else kinds[0] if kinds else "not a picture format known here"
    raise PictureError(f"the file is {kind}; supported are {', '.join(SUPPORTED)}: convert it to PNG first")


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture without pixels, with more than `max_pixels`, or with a side longer than `MAX_SIDE`.

    Raises:
        PictureError: naming the size, the limit and the way out.
    """
    if width < 1 or height < 1:
        raise PictureError(f"the picture has no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise PictureError(
            f"the picture has {width}x{height} pixels ({width * height / 1e6:,.2f} megapixels); the limit is "
            f"{max_pixels / 1e6:,.2f} megapixels: {reading_limits().advice(0)}"
        )
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"the picture has {width}x{height} pixels; no side may be longer than {MAX_SIDE:,}: cut it")


def check_bytes(data: bytes, max_pixels: int) -> str:
    """Check what can be checked without decoding.

    Args:
        data: the whole file.
        max_pixels: most pixels (width x height) allowed.

    Returns:
        The format, one of `SUPPORTED`.

    Raises:
        PictureError: unsupported format, too many pixels, or a structure made to be expensive.
    """
    name = sniff(data)
    guard = _GUARDS.get(name)
    if guard is not None:
        try:
            guard(data, max_pixels)
        except (struct.error, IndexError, OverflowError) as error:
            raise PictureError(f"the {name} file is cut short or damaged in its header") from error
    return name


def _guard_png(data: bytes, max_pixels: int) -> None:
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height, max_pixels)
    position = 8
    for _ in range(MAX_PNG_CHUNKS):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            return
        position += 12 + length
    raise PictureError(f"the PNG file has more than {MAX_PNG_CHUNKS} chunks; save it again with an ordinary encoder")


def _guard_jpeg(data: bytes, max_pixels: int) -> None:
    marker = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # those left out carry no segment, or are escaped data
    pixels, scans, position, fill = 0, 0, 2, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        match = marker.search(data, position)
        if match is None:
            return
        code, start = data[match.start() + 1], match.end()
        fill += 0 if scans else match.start() - position
        if fill > MAX_JPEG_FILL:
            raise PictureError(f"the JPEG file has more than {MAX_JPEG_FILL:,} bytes of padding; save it again as PNG")
        if code == 0xD9:
            return
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, start + 3)
            check_size(width, max(height, 1), max_pixels)  # a height of 0 may follow in a DNL segment
            pixels = max(pixels, width * height)
        scans += code == 0xDA
        if scans > MAX_JPEG_SCANS or scans * pixels > MAX_JPEG_WORK:
            raise PictureError(f"the JPEG file repeats its pixels in {scans} scans or more; save it again as PNG")
        if start + 2 > len(data):
            return
        position = start + max(struct.unpack_from(">H", data, start)[0], 2)
    raise PictureError(f"the JPEG file has more than {MAX_JPEG_SEGMENTS} segments; save it again as PNG")


def _guard_webp(data: bytes, max_pixels: int) -> None:
    # Pillow's decoder reserves its canvas, twice, while opening.
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_size(width, height, max_pixels)
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        check_size((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, max_pixels)
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        check_size(width & 0x3FFF, height & 0x3FFF, max_pixels)


def _guard_bmp(data: bytes, max_pixels: int) -> None:
    header = struct.unpack_from("<I", data, 14)[0]
    if header < 40:
        return  # the OS/2 header has no compression field
    width, height = struct.unpack_from("<ii", data, 18)
    check_size(abs(width), abs(height), max_pixels)
    compression = struct.unpack_from("<I", data, 30)[0]
    if compression in (1, 2) and (abs(width * height) > MAX_RLE_PIXELS or len(data) > MAX_RLE_BYTES):
        raise PictureError(
            f"the BMP file is run-length coded and larger than {MAX_RLE_PIXELS // 1_000_000} megapixels or "
            f"{MAX_RLE_BYTES // 1_000_000} MB; save it as PNG"
        )


def _guard_tiff(data: bytes, max_pixels: int) -> None:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    entry, step = (order + "HHQ", 20) if big else (order + "HHI", 12)
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    if count > MAX_TIFF_TAGS:
        raise PictureError(f"the TIFF file has {count} tags, more than {MAX_TIFF_TAGS}; save it again as PNG")
    first = start + (8 if big else 2)
    sides: dict[int, int] = {}
    for index in range(count):
        position = first + index * step
        tag, kind, values = struct.unpack_from(entry, data, position)
        most = MAX_TIFF_TRANSFER if tag == TIFF_TRANSFER else MAX_TIFF_VALUES
        if values > most and kind not in (1, 2, 6, 7):  # bytes and text are read in one piece
            raise PictureError(f"TIFF tag {tag} has {values} values, more than {most}; save it again as PNG")
        if tag in (256, 257):
            form = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            sides[tag] = struct.unpack_from(order + form, data, position + (12 if big else 8))[0]
    check_size(sides.get(256, 0), sides.get(257, 0), max_pixels)


_GUARDS: dict[str, Callable[[bytes, int], None]] = {
    "PNG": _guard_png,
    "JPEG": _guard_jpeg,
    "WEBP": _guard_webp,
    "BMP": _guard_bmp,
    "TIFF": _guard_tiff,
}
