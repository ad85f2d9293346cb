"""Sound pictures with something broken beside their pixels open, and the note names what was left out."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.support.hostile import chunk
from tests.support.pictures import LOSSLESS, distance, encode, rgb_profile, scene
from tests.support.side_records import SCENE, bad, exif, in_jpeg, in_png, segment, tiff_with
from wordbrush.errors import PictureError
from wordbrush.picture.picture import Picture

SIDE = {
    b"pHYs": struct.pack(">IIB", 11811, 11811, 1), b"tIME": bytes(7), b"tEXt": b"Title\0horse", b"zTXt": b"x\0\0zz",
    b"iTXt": b"x\0\0\0\0\0y", b"bKGD": bytes(6), b"sBIT": b"\x08\x08\x08", b"eXIf": exif(1)[6:], b"prVt": b"?" * 50,
    b"dSIG": b"?" * 9,
}  # fmt: skip
COLOUR = {
    b"gAMA": struct.pack(">I", 100_000), b"sRGB": b"\0", b"cICP": b"\x0c\x0d\0\1", b"cHRM": bytes(32),
    b"iCCP": b"x\0\0" + zlib.compress(rgb_profile()),
}  # fmt: skip


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [*SIDE])
def test_a_side_chunk_with_a_wrong_checksum_is_named_and_left_out(kind: bytes, late: bool) -> None:
    picture = Picture.open(in_png(bad(kind, SIDE[kind]), late=late))
    assert distance(picture.pixels, scene()) == 0
    assert picture.notes == (f"PNG chunk {kind.decode()} ignored: its checksum is wrong",)
    assert picture.density is None
    assert Picture.open(in_png(chunk(kind, SIDE[kind]), late=late)).notes == ()


@pytest.mark.parametrize("kind", [*COLOUR])
def test_of_a_colour_chunk_it_is_said_what_is_assumed(kind: bytes) -> None:
    picture = Picture.open(in_png(bad(kind, COLOUR[kind])))
    assert picture.icc_profile is None
    assert picture.notes[0].startswith(f"PNG chunk {kind.decode()} ignored: its checksum is wrong; colours are read")
    assert len(picture.notes) == 1


def test_another_declaration_takes_the_place_of_a_damaged_one() -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", 55_556))
    picture = Picture.open(in_png(bad(b"iCCP", COLOUR[b"iCCP"]), gamma))
    assert picture.icc_profile == Picture.open(in_png(gamma)).icc_profile is not None


def test_several_damaged_chunks_are_told_once_each_and_the_sound_ones_count() -> None:
    density = chunk(b"pHYs", SIDE[b"pHYs"])
    data = in_png(bad(b"tEXt", b"a\0b"), bad(b"tEXt", b"c\0d"), density, bad(b"tIME", bytes(7)))
    picture = Picture.open(data)
    assert [note.split()[2] for note in picture.notes] == ["tEXt", "tIME"]
    assert picture.density is not None
    assert picture.density.x == 300


def test_a_damaged_transparency_is_told_to_be_taken_as_opaque() -> None:
    palette = SCENE.quantize(8)
    head = encode(palette)
    place = head.index(b"IDAT") - 4
    picture = Picture.open(head[:place] + bad(b"tRNS", b"\0\x80") + head[place:])
    assert picture.alpha is None
    assert picture.notes == ("PNG chunk tRNS ignored: its checksum is wrong; the picture is taken as opaque",)


@pytest.mark.parametrize("kind", [b"pHYs", b"sRGB", b"gAMA", b"cHRM", b"tIME", b"tRNS", b"iCCP", b"acTL", b"fcTL"])
@pytest.mark.parametrize("body", [b"", b"xyz"])
def test_nonsense_in_a_side_chunk_is_left_out_too(kind: bytes, body: bytes) -> None:
    picture = Picture.open(in_png(chunk(kind, body)))
    assert distance(picture.pixels, scene()) == 0
    assert len(picture.notes) == 1
    assert kind.decode() in picture.notes[0]


@pytest.mark.parametrize("late", [False, True])
def test_a_text_too_large_to_unpack_costs_nothing(late: bool) -> None:
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(40_000_000), 9))
    picture = Picture.open(in_png(bomb, late=late))
    assert distance(picture.pixels, scene()) == 0
    assert "ignored" in picture.notes[0]


def test_a_file_that_ends_within_a_text_behind_the_pixels_is_whole() -> None:
    data = in_png(chunk(b"tEXt", b"k\0" + b"x" * 900), late=True)[:-400]
    picture = Picture.open(data)
    assert distance(picture.pixels, scene()) == 0
    assert picture.notes == ("PNG chunk tEXt ignored: the file ends within it",)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_what_holds_the_pixels_together_is_refused_by_name(kind: bytes) -> None:
    data = bytearray(encode(SCENE.quantize(8)))
    data[data.index(kind) + 6] ^= 1
    with pytest.raises(PictureError, match=f"chunk {kind.decode()}: its checksum is wrong"):
        Picture.open(bytes(data))


def test_an_animation_whose_head_is_damaged_is_a_single_picture() -> None:
    data = bytearray(encode(SCENE, save_all=True, append_images=[SCENE.rotate(180)]))
    data[data.index(b"acTL") + 9] ^= 1
    picture = Picture.open(bytes(data))
    assert distance(picture.pixels, scene()) == 0
    assert picture.notes == ("PNG chunk acTL ignored: its checksum is wrong; the picture is taken as a single one",)


def mpf(count: int) -> bytes:
    """Return the multi-picture segment of a phone with so many pictures."""
    entries = b"".join(struct.pack(">IIIHH", 0x030000, 1000, 0, 0, 0) for _ in range(count))
    body = b"MM\0*" + struct.pack(">IH", 8, 3) + struct.pack(">HHI4s", 0xB000, 7, 4, b"0100")
    body += struct.pack(">HHII", 0xB001, 4, 1, count) + struct.pack(">HHII", 0xB002, 7, len(entries), 50) + bytes(4)
    return b"MPF\0" + body + entries


@pytest.mark.parametrize("make", [
    lambda: encode(SCENE, "MPO", save_all=True, append_images=[SCENE.rotate(180)], quality=100, subsampling=0),
    lambda: in_jpeg(segment(0xE2, mpf(2))),
    lambda: in_jpeg(segment(0xE2, mpf(2)[:40])),
    lambda: in_jpeg(segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff")),
    lambda: in_jpeg(segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'), segment(0xE2, mpf(2)))
    + encode(SCENE, "JPEG"),
    lambda: in_jpeg() + bytes(3000),
    lambda: in_jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\xff"), segment(0xFE, b"\xff\x00")),
    lambda: in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe")),
])  # fmt: skip
def test_further_pictures_of_a_phone_and_makers_data_are_no_news(make: object) -> None:
    picture = Picture.open(make())  # type: ignore[operator]
    assert distance(picture.pixels, scene()) <= 3
    assert picture.notes == ()


def icc_parts(profile: bytes, count: int) -> list[bytes]:
    size = -(-len(profile) // count)
    parts = [profile[at : at + size] for at in range(0, len(profile), size)]
    return [segment(0xE2, b"ICC_PROFILE\0" + bytes((n, count)) + part) for n, part in enumerate(parts, 1)]


def test_a_profile_in_parts_is_joined_in_order_or_told_to_be_incomplete() -> None:
    parts = icc_parts(rgb_profile(), 3)
    assert Picture.open(in_jpeg(parts[2], parts[0], parts[1])).icc_profile == rgb_profile()
    broken = Picture.open(in_jpeg(*parts[:2]))
    assert broken.icc_profile is None
    assert broken.notes == ("ICC profile ignored: parts of it are missing",)
    other = Picture.open(in_jpeg(*parts[:2], segment(0xE1, exif(2))))
    assert other.icc_profile is not None, "EXIF says what the profile cannot"


@pytest.mark.parametrize(("segments", "words"), [
    ((segment(0xE0, b"JFIF\0"),), "JPEG segments"),
    ((segment(0xEE, b"Adobe\0"),), "JPEG segments"),
    ((segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),), "EXIF"),
])  # fmt: skip
def test_a_jpeg_with_a_broken_segment_opens_with_a_note(segments: tuple[bytes, ...], words: str) -> None:
    picture = Picture.open(in_jpeg(*segments))
    assert distance(picture.pixels, scene()) <= 3
    assert words in picture.notes[0]


@pytest.mark.parametrize("mend", [
    lambda data, at: data[: at + 20],
    lambda data, at: data[: at + 4] + b"\xff\xff\xff\x7f" + data[at + 8 :],
    lambda data, at: data[:at] + b"EXIF" + struct.pack("<I", 5) + b"abcde",
])  # fmt: skip
def test_a_webp_with_a_broken_record_opens_with_a_note(mend: object) -> None:
    data = encode(SCENE.convert("RGBA"), "WEBP", lossless=True, exif=exif(1), icc_profile=rgb_profile())
    picture = Picture.open(mend(data, data.index(b"EXIF")))  # type: ignore[operator]
    assert distance(picture.pixels, scene()) == 0
    assert picture.notes == ("WebP chunks beside the pixels ignored: they are damaged",)


@pytest.mark.parametrize("tag", [270, 274, 282, 283, 296, 301, 305, 318, 319, 700, 33432, 34665, 34675])
@pytest.mark.parametrize("kind", [2, 3, 5, 12, 99])
def test_a_tiff_with_a_broken_tag_opens(tag: int, kind: int) -> None:
    beyond = tiff_with(tag, kind, 3, b"", value=2**31)
    inside = tiff_with(tag, kind, 5, bytes(range(40)))
    for data in (beyond, inside):
        picture = Picture.open(data)
        assert picture.size == (48, 32)
        assert distance(picture.pixels, scene()) == 0


def test_truncated_pixels_stay_refused() -> None:
    for fmt in ("PNG", "JPEG", "WEBP", "TIFF"):
        noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
        data = encode(Image.fromarray(noise), fmt, **LOSSLESS[fmt])
        with pytest.raises(PictureError, match=r"cut short|damaged"):
            Picture.open(data[: len(data) // 2])
