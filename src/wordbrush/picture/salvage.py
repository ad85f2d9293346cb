"""A sound picture opens whatever has happened to what lies beside its pixels.

Decoders give a whole file up for one wrong byte in a text or in the print size. Here a file is cut into its chunks, and
those that are damaged, or that a decoder stumbled over, are left out; each that is missed gets a note.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from wordbrush.errors import PictureError
from wordbrush.picture.guard import MAX_PNG_CHUNKS

__all__ = ["Variant", "jpeg_profile", "jpeg_segments", "png_chunks", "reduced", "variants"]

Notes = tuple[str, ...]
Variant = tuple[bytes, Notes]
"""The bytes of a file with some chunks left out, and what is to be said of it."""

_CRITICAL: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ANIMATION: Final = (b"acTL", b"fcTL", b"fdAT")
_COLOUR: Final = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_LENGTHS: Final = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"tIME": 7, b"acTL": 8}
_MOST_KINDS: Final = 20  # of chunks that are left out one after another to find which one a decoder stumbles over
_PIXELS_OF_WEBP: Final = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_PIXELS_OF_TIFF: Final = (  # first and last tags
    (254, 259), (262, 262), (266, 266), (273, 273), (277, 280), (284, 284), (292, 293), (317, 317), (320, 325),
    (330, 332), (338, 339), (347, 347), (512, 532),
)  # fmt: skip
_EXIF: Final = "EXIF ignored: it is damaged"


def variants(data: bytes, kind: str) -> Iterator[Variant]:
    """Yield a file as it is, less what is damaged; then with less and less beside its pixels, for decoders that fail.

    Args:
        data: the whole file, checked by `guard`.
        kind: its format.

    Raises:
        PictureError: what holds the pixels together is damaged.
    """
    make = _VARIANTS.get(kind)
    if make is None:
        yield data, ()
    else:
        yield from make(data)


def reduced(data: bytes, kind: str) -> Variant | None:
    """Return a file without what decoders read after its pixels, for those that open it and fail later, or None."""
    if kind == "PNG":
        return _without_late_chunks(data)
    return list(_tiff(data))[-1] if kind == "TIFF" else None


class Chunk(NamedTuple):
    """One chunk of a file: its kind, and where it lies from its first byte to behind its last."""

    kind: bytes
    start: int
    end: int


# ---- PNG


def png_chunks(data: bytes) -> list[Chunk]:
    """List the chunks of a PNG file, checksums included, up to its end; the last may be cut short."""
    chunks: list[Chunk] = []
    position = 8
    while position + 8 <= len(data) and len(chunks) < MAX_PNG_CHUNKS:
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append(Chunk(kind, position, min(position + 12 + length, len(data))))
        position += 12 + length
        if kind == b"IEND":
            break
    return chunks


def _png(data: bytes) -> Iterator[Variant]:
    chunks = png_chunks(data)
    faults = {index: fault for index, chunk in enumerate(chunks) if (fault := _png_fault(data, chunk))}
    kinds = {chunks[index].kind: fault for index, fault in faults.items()}
    if kinds.keys() & set(_ANIMATION):  # the others make no sense without it
        faults |= {index: "" for index, chunk in enumerate(chunks) if chunk.kind in _ANIMATION}
    notes = tuple(_png_note(kind, fault) for kind, fault in kinds.items())
    sound = [chunk for index, chunk in enumerate(chunks) if index not in faults]
    yield (_joined(data, 8, sound) if faults else data), notes
    # Which one a decoder stumbles over is found by leaving out one kind at a time.
    others = list(dict.fromkeys(chunk.kind for chunk in sound if chunk.kind not in _CRITICAL))
    for kind in others[:_MOST_KINDS]:
        left = [chunk for chunk in sound if chunk.kind != kind]
        yield _joined(data, 8, left), (*notes, _png_note(kind, "it is damaged"))
    left = [chunk for chunk in sound if chunk.kind in (*_CRITICAL, b"tRNS")]
    yield _joined(data, 8, left), (*notes, "PNG chunks beside the pixels ignored: they are damaged")


def _without_late_chunks(data: bytes) -> Variant | None:
    """Return a PNG file without what follows its pixels, or None where nothing does."""
    chunks = png_chunks(data)
    last = max((index for index, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), default=len(chunks))
    late = [chunk for chunk in chunks[last + 1 :] if chunk.kind != b"IEND"]
    return (_cut(data, late), ("PNG chunks behind the pixels ignored: they are damaged",)) if late else None


def _png_fault(data: bytes, chunk: Chunk) -> str:
    """Return what is wrong with a chunk, or nothing.

    Raises:
        PictureError: the chunk is one that the pixels cannot be read without.
    """
    if chunk.kind in (b"IDAT", b"IEND"):  # checked by the decoder, as far as it matters
        return ""
    length = struct.unpack_from(">I", data, chunk.start)[0]
    body = data[chunk.start + 4 : chunk.start + 8 + length]
    if len(data) < chunk.start + 12 + length:  # of what holds the pixels, the decoder tells
        return "" if chunk.kind in _CRITICAL else "the file ends within it"
    fault = ""
    if zlib.crc32(body) != struct.unpack_from(">I", data, chunk.end - 4)[0]:
        fault = "its checksum is wrong"
    elif length != _LENGTHS.get(chunk.kind, length):
        fault = "its length is wrong"
    if fault and chunk.kind in _CRITICAL:
        raise PictureError(f"the PNG file is damaged in its chunk {chunk.kind.decode()}: {fault}")
    return fault


def _png_note(kind: bytes, fault: str) -> str:
    name = kind.decode("ascii", "backslashreplace")
    after = ""
    if kind in _COLOUR:
        after = "; colours are read by what else the file says, or as sRGB"
    elif kind == b"tRNS":
        after = "; the picture is taken as opaque"
    elif kind in _ANIMATION:
        after = "; the picture is taken as a single one"
    return f"PNG chunk {name} ignored: {fault}{after}"


# ---- JPEG


def jpeg_segments(data: bytes) -> list[Chunk]:
    """List the segments of a JPEG file up to its first scan; their kinds are the markers' second bytes."""
    segments, position = [], 2
    while 0 <= (start := data.find(b"\xff", position)) < len(data) - 4:
        code = data[start + 1]
        if code == 0xFF:
            position = start + 1
            continue
        if code in (0xD9, 0xDA):
            break
        if code in (0x00, 0x01) or 0xD0 <= code <= 0xD8:  # carry nothing
            position = start + 2
            continue
        position = start + 2 + max(struct.unpack_from(">H", data, start + 2)[0], 2)
        segments.append(Chunk(data[start + 1 : start + 2], start, min(position, len(data))))
    return segments


def _jpeg(data: bytes) -> Iterator[Variant]:
    """Leave out profiles (read by `jpeg_profile`), further pictures and maker's data; APP0, 1 and 14 are of use."""
    segments = jpeg_segments(data)

    def without(*codes: int) -> bytes:
        dropped = [segment for segment in segments if segment.kind[0] in codes]
        return _cut(data, dropped) if dropped else data

    side = (*range(0xE2, 0xEE), 0xEF)
    yield without(*side), ()
    yield without(*side, 0xE1), (_EXIF,)
    yield without(*side, 0xE0, 0xE1, 0xEE), ("JPEG segments beside the pixels ignored: they are damaged",)


def jpeg_profile(data: bytes) -> tuple[bytes | None, Notes]:
    """Join the ICC profile of a JPEG file from its parts; a note where some are missing."""
    head, parts, counts = b"ICC_PROFILE\0", dict[int, bytes](), set[int]()
    for code, start, end in jpeg_segments(data):
        body = data[start + 4 : end]
        if code == b"\xe2" and body.startswith(head) and len(body) >= len(head) + 2:
            parts.setdefault(body[len(head)], body[len(head) + 2 :])
            counts.add(body[len(head) + 1])
    if not parts:
        return None, ()
    if sorted(parts) != list(range(1, max(counts) + 1)):
        return None, ("ICC profile ignored: parts of it are missing",)
    return b"".join(parts[number] for number in sorted(parts)), ()


# ---- WebP, TIFF, AVIF


def _webp(data: bytes) -> Iterator[Variant]:
    yield data, ()
    known, position = (*_PIXELS_OF_WEBP, b"ICCP", b"EXIF", b"XMP "), 12
    chunks: list[Chunk] = []
    while position + 8 <= len(data) and len(chunks) < MAX_PNG_CHUNKS:
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind not in known and data[position - 1 : position + 3] in known:  # an odd length without its padding
            position -= 1
            continue
        chunks.append(Chunk(kind, position, min(position + 8 + length, len(data))))
        position += 8 + length + length % 2
    body = b"WEBP"
    for kind, start, end in chunks:
        if kind in _PIXELS_OF_WEBP:
            chunk = data[start:end]
            if kind == b"VP8X" and len(chunk) > 8:
                chunk = chunk[:8] + bytes([chunk[8] & ~0x2C]) + chunk[9:]  # no profile, EXIF or XMP follows
            body += chunk + bytes(len(chunk) % 2)
    yield b"RIFF" + struct.pack("<I", len(body)) + body, ("WebP chunks beside the pixels ignored: they are damaged",)


def _tiff(data: bytes) -> Iterator[Variant]:
    yield data, ()
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    wide, step, skip = ("Q", 20, 8) if big else ("I", 12, 2)
    first = struct.unpack_from(order + wide, data, 8 if big else 4)[0] + skip
    counted = order + ("Q" if big else "H")
    count = struct.unpack_from(counted, data, first - skip)[0]
    entries = [data[first + index * step : first + (index + 1) * step] for index in range(count)]
    tags = [struct.unpack_from(order + "H", entry)[0] for entry in entries]
    kept = [entry for tag, entry in zip(tags, entries, strict=True) if any(a <= tag <= b for a, b in _PIXELS_OF_TIFF)]
    table = struct.pack(counted, len(kept)) + b"".join(kept) + bytes(8 if big else 4)
    lean = data[: first - skip] + table + data[first - skip + len(table) :]
    yield lean, ("TIFF tags beside the pixels ignored: they are damaged",)


def _avif(data: bytes) -> Iterator[Variant]:
    yield data, ()
    # Pillow reads EXIF while opening an AVIF and fails on a damaged one; hidden from it, the picture is fine.
    start = data.find(b"infe", 0, 65_536)
    while start >= 0:
        if data[start + 12 : start + 16] == b"Exif":
            yield data[: start + 12] + b"skip" + data[start + 16 :], (_EXIF,)
        start = data.find(b"infe", start + 4, 65_536)


_VARIANTS: Final[dict[str, Callable[[bytes], Iterator[Variant]]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "TIFF": _tiff,
    "AVIF": _avif,
}


def _joined(data: bytes, head: int, chunks: list[Chunk]) -> bytes:
    return b"".join((data[:head], *(data[start:end] for _, start, end in chunks)))


def _cut(data: bytes, dropped: list[Chunk]) -> bytes:
    pieces, position = [], 0
    for _, start, end in dropped:
        pieces.append(data[position:start])
        position = end
    return b"".join((*pieces, data[position:]))
