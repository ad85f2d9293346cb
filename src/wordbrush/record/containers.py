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
from xml.sax.saxutils import escape

from wordbrush.errors import ProvenanceError

__all__ = ["KEY", "MAX_RECORD", "PNG_XMP", "find_record", "jpeg_segments", "record_parts", "user_comment", "xmp_text"]

KEY = "wordbrush"
PNG_XMP = "XML:com.adobe.xmp"
MAX_RECORD = 8 << 20
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


def find_record(data: bytes) -> str | None:
    """Return the record kept in the bytes of a picture file, or None.

    Raises:
        ProvenanceError: not a file of a kind that can carry one, or the record in it is damaged.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _from_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _from_xmp(_jpeg_packets(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _from_xmp(_webp_packets(data))
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or data[4:12] in (b"ftypavif", b"ftypavis"):
        return _from_xmp(_scanned_packets(data))
    raise ProvenanceError("this is not a PNG, JPEG, WebP, TIFF or AVIF file, so it carries no wordbrush record")


def _from_png(data: bytes) -> str | None:
    parts: dict[int, bytes] = {}
    position, total = 8, 0
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if kind == b"IEND" or end + 4 > len(data):
            break
        if kind in (b"tEXt", b"zTXt", b"iTXt") and data.startswith(KEY.encode(), position + 8, end):
            number, text = _png_text(kind, data[position + 8 : end], MAX_RECORD - total)
            if number:
                if zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
                    raise ProvenanceError("the wordbrush record of this PNG is damaged (checksum)")
                parts.setdefault(number, text)
                total += len(text)
        position = end + 4
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


def _jpeg_packets(data: bytes) -> Iterator[bytes]:
    extended: dict[bytes, dict[int, bytes]] = {}
    position, main_guid = 2, b""
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] not in (0xDA, 0xD9):
        if data[position + 1] == 0xFF:  # padding in front of a marker
            position += 1
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        body = data[position + 4 : position + 2 + length]
        if data[position + 1] == 0xE1 and body.startswith(_XMP):
            yield body[len(_XMP) :]
            match = _GUID.search(body)
            main_guid = match[1] if match else main_guid
        elif data[position + 1] == 0xE1 and body.startswith(_EXTENDED) and len(body) >= len(_EXTENDED) + 40:
            guid, offset = body[len(_EXTENDED) : len(_EXTENDED) + 32], struct.unpack_from(">I", body, 71)[0]
            extended.setdefault(guid, {})[offset] = body[len(_EXTENDED) + 40 :]
        position += 2 + max(length, 2)
    pieces = extended.get(main_guid, {})
    packet = b"".join(pieces[offset] for offset in sorted(pieces))
    if main_guid and hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() != main_guid:
        raise ProvenanceError("the extended XMP of this JPEG is damaged or incomplete")
    yield packet


def _webp_packets(data: bytes) -> Iterator[bytes]:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"XMP ":
            yield data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _scanned_packets(data: bytes) -> Iterator[bytes]:
    """Search for XMP packets anywhere in a file: they are made to be found without knowing its format."""
    start = data.find(b"<x:xmpmeta")
    while start >= 0:
        end = data.find(b"</x:xmpmeta>", start)
        if end < 0:
            return
        yield data[start:end]
        start = data.find(b"<x:xmpmeta", end)


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
