"""Where a picture file keeps text, byte by byte: written through Pillow, read back without decoding a pixel.

The record (ASCII JSON, so that no text in it needs an encoding) is kept

- in PNG as text chunks `wordbrush`, `wordbrush.2`, ... of at most 60 KiB each, to be joined in this order;
- in JPEG, WebP, TIFF and AVIF inside the XMP packet, as the property `wordbrush:record` of our own namespace. A JPEG
  packet above one segment uses the ExtendedXMP segments of the XMP specification, part 3.
"""

from __future__ import annotations

import hashlib
import html
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO
from xml.sax.saxutils import escape

from wordbrush.errors import ProvenanceError
from wordbrush.picture.guard import MAX_JPEG_FILL, MAX_JPEG_SEGMENTS, MAX_PNG_CHUNKS

__all__ = ["KEY", "MAX_RECORD", "PNG_XMP", "find_record", "jpeg_segments", "record_parts", "user_comment", "xmp_text"]

KEY = "wordbrush"
PNG_XMP = "XML:com.adobe.xmp"
MAX_RECORD = 8 << 20
MAX_PACKETS = 1_000
MAX_PACKET = 6 * MAX_RECORD + (1 << 20)
"""Most bytes of an XMP packet: a record of which every character is written as an entity, and what stands around it."""

_PART = 60 << 10
_NAMESPACE = "https://wordbrush.invalid/ns/1.0/"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_ELEMENT = re.compile(rb"<wordbrush:record>([^<]*)</wordbrush:record>|[\s]wordbrush:record=(?:\"([^\"]*)\"|'([^']*)')")
_GUID = re.compile(rb"xmpNote:HasExtendedXMP(?:=[\"']|>)([0-9A-F]{32})")


def xmp_text(creator: str, source_type: str | None, record: str = "", extended: str = "") -> bytes:
    """Return an XMP packet (UTF-8) with the creator tool, the IPTC digital source type and our record.

    Args:
        creator: name and version of the tool.
        source_type: IRI of the IPTC digital source type, or None to leave it out.
        record: our JSON, or nothing.
        extended: id of the ExtendedXMP that belongs to this packet, or nothing.
    """
    lines = [f"<xmp:CreatorTool>{escape(creator)}</xmp:CreatorTool>"]
    if source_type:
        lines.append(f"<Iptc4xmpExt:DigitalSourceType>{escape(source_type)}</Iptc4xmpExt:DigitalSourceType>")
    if extended:
        lines.append(f"<xmpNote:HasExtendedXMP>{extended}</xmpNote:HasExtendedXMP>")
    if record:
        lines.append(f"<wordbrush:record>{escape(record)}</wordbrush:record>")
    body = "\n  ".join(lines)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        ' <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmlns:wordbrush="{_NAMESPACE}">\n  {body}\n </rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n'
        '<?xpacket end="w"?>'
    ).encode()


def user_comment(text: str) -> bytes:
    """Return an EXIF block that holds `text` as the UserComment (UTF-16, big endian) and nothing else."""
    comment = b"UNICODE\0" + text.encode("utf-16-be", "replace")
    head = b"MM\0*" + struct.pack(">I", 8)
    pointer = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)  # one entry: where the Exif directory is
    entries = struct.pack(">HHHI4sHHIII", 2, 0x9000, 7, 4, b"0232", 0x9286, 7, len(comment), 56, 0)
    return b"Exif\0\0" + head + pointer + entries + comment


def record_parts(record: str) -> list[tuple[str, str]]:
    """Cut a record into PNG text chunks: (keyword, text) each."""
    parts = [record[at : at + _PART] for at in range(0, len(record), _PART)]
    return [(KEY if number == 1 else f"{KEY}.{number}", part) for number, part in enumerate(parts, 1)]


def jpeg_segments(creator: str, source_type: str | None, record: str) -> bytes:
    """Return the APP1 segments with the XMP packet, split by the rule of ExtendedXMP when one does not hold it."""
    packet = xmp_text(creator, source_type, record)
    if len(packet) <= _PART:
        return _segment(_XMP + packet)
    rest = xmp_text(creator, None, record)
    # The specification names MD5; it is a name for the packet, no protection.
    guid = hashlib.md5(rest, usedforsecurity=False).hexdigest().upper()
    pieces = [_segment(_XMP + xmp_text(creator, source_type, extended=guid))]
    for at in range(0, len(rest), _PART):
        head = _EXTENDED + guid.encode() + struct.pack(">II", len(rest), at)
        pieces.append(_segment(head + rest[at : at + _PART]))
    return b"".join(pieces)


def _segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def find_record(file: BinaryIO) -> str | None:
    """Return the record kept in a picture file, or None. Only heads of chunks and what may be a record are read.

    Args:
        file: open for reading and seeking, at its start.

    Raises:
        ProvenanceError: not a file of a kind that can carry one, or the record in it is damaged.
    """
    head = file.read(12)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _from_png(file)
    if head.startswith(b"\xff\xd8\xff"):
        return _from_xmp(_jpeg_packets(file))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _from_xmp(_webp_packets(file))
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or head[4:12] in (b"ftypavif", b"ftypavis"):
        return _from_xmp(_scanned_packets(file))
    raise ProvenanceError("this is not a PNG, JPEG, WebP, TIFF or AVIF file, so it carries no wordbrush record")


def _chunks(file: BinaryIO, start: int, head: str, tail: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, length and place of the body of each chunk; `head` is how kind and length stand in front of it.

    Raises:
        ProvenanceError: there are more chunks than pictures have.
    """
    size = struct.calcsize(head)
    for _ in range(MAX_PNG_CHUNKS):
        file.seek(start)
        front = file.read(size)
        fields = struct.unpack(head, front) if len(front) == size else (b"", 0)
        kind, length = fields if isinstance(fields[0], bytes) else fields[::-1]
        if not kind.strip().isalnum():  # the end, or no chunk any more
            return
        yield kind, length, start + size
        start += size + length + (length % 2 if tail == 0 else tail)
    raise ProvenanceError(f"the file has more than {MAX_PNG_CHUNKS} chunks, so no wordbrush record is looked for in it")


def _from_png(file: BinaryIO) -> str | None:
    parts: dict[int, bytes] = {}
    total = 0
    for kind, length, start in _chunks(file, 8, ">I4s", 4):
        if kind == b"IEND":
            break
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            file.seek(start)
            if file.read(len(KEY)) != KEY.encode():
                continue
            file.seek(start)
            chunk = file.read(min(length + 4, MAX_RECORD + 100))
            number, text = _png_text(kind, chunk[:length], MAX_RECORD - total)
            if number:
                if chunk[length:] != struct.pack(">I", zlib.crc32(kind + chunk[:length])):
                    raise ProvenanceError("the wordbrush record of this PNG is damaged (checksum)")
                parts.setdefault(number, text)
                total += len(text)
    if not parts:
        return None
    if sorted(parts) != list(range(1, len(parts) + 1)):
        raise ProvenanceError("the wordbrush record of this PNG is incomplete")
    return _decoded(b"".join(parts[number] for number in sorted(parts)))


def _png_text(kind: bytes, chunk: bytes, room: int) -> tuple[int, bytes]:
    """Return (number of the part, its bytes); number 0 for somebody else's chunk."""
    keyword, _, rest = chunk.partition(b"\0")
    match = re.fullmatch(rb"wordbrush(?:\.([2-9]|[1-9][0-9]{1,3}))?", keyword)
    if match is None:
        return 0, b""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    elif packed:
        rest = rest[1:]
    if packed:
        rest = _unpacked(rest, room)
    if len(rest) > room:
        raise ProvenanceError(f"the wordbrush record of this PNG is larger than {MAX_RECORD:,} bytes")
    return int(match[1] or 1), rest


def _unpacked(data: bytes, room: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, room + 1)
    except zlib.error as error:
        raise ProvenanceError("the wordbrush record of this PNG is damaged (compression)") from error


def _jpeg_packets(file: BinaryIO) -> Iterator[bytes]:
    extended: dict[bytes, dict[int, bytes]] = {}
    main_guid, total = b"", 0
    for body in _application_segments(file):
        if body.startswith(_XMP):
            yield body[len(_XMP) :]
            match = _GUID.search(body)
            main_guid = match[1] if match else main_guid
        elif body.startswith(_EXTENDED) and len(body) >= len(_EXTENDED) + 40:
            guid, offset = body[len(_EXTENDED) : len(_EXTENDED) + 32], struct.unpack_from(">I", body, 71)[0]
            extended.setdefault(guid, {})[offset] = body[len(_EXTENDED) + 40 :]
            total += len(body)
            if total > MAX_PACKET:
                raise ProvenanceError(f"the XMP of this JPEG is larger than {MAX_PACKET:,} bytes")
    pieces = extended.get(main_guid, {})
    packet = b"".join(pieces[offset] for offset in sorted(pieces))
    if main_guid and hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() != main_guid:
        raise ProvenanceError("the extended XMP of this JPEG is damaged or incomplete")
    yield packet


def _application_segments(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bodies of the APP1 segments in front of the pixels.

    Raises:
        ProvenanceError: there is more padding between segments than pictures have.
    """
    position, fill = 2, 0
    for _ in range(MAX_JPEG_SEGMENTS + MAX_JPEG_FILL):
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return
        if head[1] == 0xFF:  # padding in front of a marker
            position, fill = position + 1, fill + 1
            if fill > MAX_JPEG_FILL:
                break
            continue
        length = max(struct.unpack_from(">H", head, 2)[0], 2)
        if head[1] == 0xE1:
            yield file.read(length - 2)
        position += 2 + length
    raise ProvenanceError("this JPEG has more segments or padding than pictures have")


def _webp_packets(file: BinaryIO) -> Iterator[bytes]:
    for kind, length, start in _chunks(file, 12, "<4sI", 0):
        if kind == b"XMP ":
            file.seek(start)
            yield file.read(min(length, MAX_PACKET))


def _scanned_packets(file: BinaryIO) -> Iterator[bytes]:
    """Search for XMP packets anywhere in a file: they are made to be found without knowing its format."""
    left = file.seek(0, 2)  # not a byte more, should the file grow
    file.seek(0)
    first, last, kept, found = b"<x:xmpmeta", b"</x:xmpmeta>", b"", 0
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        left -= len(piece)
        window, end = kept + piece, 0
        while (start := window.find(first, end)) >= 0 and (end := window.find(last, start)) >= 0:
            yield window[start:end]
            found += 1
        if found > MAX_PACKETS or (start >= 0 and len(window) - start > MAX_PACKET):
            return
        kept = window[start:] if start >= 0 else window[-len(first) :]


def _from_xmp(packets: Iterator[bytes]) -> str | None:
    for packet in packets:
        match = _ELEMENT.search(packet)
        if match is not None:
            text = next(group for group in match.groups() if group is not None)
            if len(text) > 6 * MAX_RECORD:
                raise ProvenanceError(f"the wordbrush record of this file is larger than {MAX_RECORD:,} bytes")
            return html.unescape(_decoded(text))
    return None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProvenanceError("the wordbrush record of this file is not text") from error
