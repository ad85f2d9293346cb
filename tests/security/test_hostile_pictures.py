"""Hostile pictures end in a typed error, soon, without large memory and without any other exception.

Time is process time, so that a busy machine does not fail the tests.
"""

import random
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.hostile import BOMBS, STRUCTURES, ZEROS, chunk, grey_tiff, png, rle_bmp, tiff
from tests.support.pictures import LOSSLESS, encode, rgb_profile, scene
from wordbrush.errors import MaskError, PictureError, ProvenanceError
from wordbrush.picture.guard import MAX_SIDE
from wordbrush.picture.picture import MAX_BYTES, SUPPORTED, Picture
from wordbrush.record.provenance import read_provenance
from wordbrush.region.mask import Mask

SECONDS = 1.0
MEGABYTES = 300


@contextmanager
def soon(seconds: float = SECONDS) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def refused(data: bytes, match: str | None = None, **limits: int) -> str:
    with soon(), pytest.raises(PictureError, match=match) as caught:
        Picture.open(data, **limits)
    message = str(caught.value)
    assert "\n" not in message
    assert " at 0x" not in message, "no addresses of buffers"
    return message


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BOMBS])
def test_too_many_pixels_are_refused_before_decoding(name: str) -> None:
    message = refused(BOMBS[name](), max_pixels=50_000_000)
    if not name.startswith(("avif", "webp lossy", "png 2^31")):
        assert "megapixels" in message


def test_bombs_take_no_memory() -> None:
    code = """
import resource, sys
from tests.support.hostile import BOMBS, STRUCTURES
from wordbrush.picture.picture import Picture
from wordbrush.errors import PictureError
files = [make() for make in (*BOMBS.values(), *STRUCTURES.values())]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in files:
    try:
        Picture.open(data, max_pixels=50_000_000)
    except PictureError:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert int(done.stdout) < MEGABYTES


def test_limits_can_be_changed() -> None:
    data = encode(Image.fromarray(scene(100, 100)))
    refused(data, "100x100 pixels", max_pixels=9_999)
    assert Picture.open(data, max_pixels=10_000).size == (100, 100)
    refused(data, "MB", max_bytes=len(data) - 1)
    assert Picture.open(data, max_bytes=len(data)).size == (100, 100)
    for source in (scene(100, 100), Image.fromarray(scene(100, 100))):
        with pytest.raises(PictureError, match="100x100 pixels"):
            Picture.open(source, max_pixels=9_999)


def test_limits_of_pillow_make_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(scene(100, 100)))
    for limit in (6_000, 4_000, 1):  # where Pillow alone would warn, or raise
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert Picture.open(data).notes == ()
        assert limit == Image.MAX_IMAGE_PIXELS
        refused(data, "megapixels", max_pixels=9_999)


def test_half_a_picture_is_refused_whatever_the_process_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    refused(encode(Image.fromarray(scene()), "JPEG")[:-300])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_odd_sizes_open() -> None:
    for size in ((1, 1), (1, 5000), (5000, 1), (7071, 7071)):
        data = encode(Image.new("L", size, 77), compress_level=1)
        with soon(5):
            assert Picture.open(data).size == size


# --- files --------------------------------------------------------------------------------------------------------


def test_big_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # sparse: reading it would take all memory
    with soon(0.1), pytest.raises(PictureError, match=r"50000.0 MB; the limit is 200.0 MB"):
        Picture.open(path)
    refused(bytes(MAX_BYTES + 1), "MB")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names: list[str | Path] = [
        tmp_path,
        tmp_path / "pipe",
        tmp_path / "none.png",
        tmp_path / "loop",
        "/dev/zero",
        "a\0b",
        "x" * 5000,
    ]
    for source in (*names, "https://example.com/horse.png", ""):
        with soon(0.1), pytest.raises(PictureError):
            Picture.open(source)
    (tmp_path / "empty.png").touch()
    with pytest.raises(PictureError, match=r"empty.png: the picture is empty"):
        Picture.open(tmp_path / "empty.png")


DISGUISED = {
    "GIF": encode(Image.new("L", (9, 9)), "GIF"),
    "Photoshop": b"8BPS\0\1" + bytes(100),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "PDF": encode(Image.new("L", (9, 9)), "PDF"),
    "SVG": b"  <svg xmlns='http://www.w3.org/2000/svg'/>",
    "XML": b"<?xml version='1.0'?><svg/>",
    "icon": encode(Image.new("L", (16, 16)), "ICO"),
    "JPEG 2000": encode(Image.new("L", (16, 16)), "JPEG2000"),
    "HEIF": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    "zip": b"PK\x03\x04" + bytes(50),
    "not a picture format": b"hello, world",
    "not a picture": encode(Image.new("L", (9, 9)), "PPM"),
}


@pytest.mark.parametrize("kind", [*DISGUISED])
def test_disguised_formats_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "horse.png"
    path.write_bytes(DISGUISED[kind])
    with soon(), pytest.raises(PictureError, match=kind) as caught:
        Picture.open(path)
    assert all(name in str(caught.value) for name in SUPPORTED)


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF", "TIFF LZW", "BMP", "AVIF"])
def test_truncated_files_are_refused(fmt: str) -> None:
    options = {"compression": "tiff_lzw"} if "LZW" in fmt else LOSSLESS[fmt]
    rng = np.random.default_rng(0)
    noisy = (scene(120, 90) // 2 + rng.integers(0, 100, (90, 120, 3), np.uint8)).astype(np.uint8)
    data = encode(Image.fromarray(noisy), fmt.split(maxsplit=1)[0], **options)
    Picture.open(data)
    for percent in range(0, 100, 5):
        refused(data[: len(data) * percent // 100])


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    side = {"exif": exif, "icc_profile": rgb_profile()}
    picture = Image.fromarray(scene())
    files = [encode(picture.convert(mode), "PNG", **side) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    files += [encode(picture.convert(mode), "JPEG", **side) for mode in ("L", "RGB", "CMYK")]
    files += [encode(picture, "JPEG", progressive=True, **side)]
    files += [encode(picture.convert("RGBA"), "WEBP", lossless=lossless, **side) for lossless in (False, True)]
    files += [encode(picture.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGBA", "CMYK", "F", "I;16")]
    files += [encode(picture, "TIFF", compression=f"tiff_{how}", **side) for how in ("lzw", "deflate", "jpeg")]
    files += [encode(picture.convert(mode), "BMP") for mode in ("1", "P", "RGB")]
    files += [encode(picture.convert("RGBA"), "AVIF", **side)]
    more = [picture.rotate(90)]
    return files + [encode(picture, fmt, save_all=True, append_images=more) for fmt in ("PNG", "WEBP", "TIFF", "AVIF")]


def test_byte_flips_open_or_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    files, draw = seeds(), random.Random(20)  # noqa: S311 - reproducible damage, not secrets
    opened = 0
    for index in range(330):
        data = bytearray(files[index % len(files)])
        reach = min(len(data), draw.choice([64, 400, len(data)]))  # headers break in more ways than pixels
        for _ in range(draw.choice([1, 1, 2, 5, 20])):
            data[draw.randrange(reach)] = draw.choice([0, 1, 128, 255, draw.randrange(256)])
        with soon():
            try:
                picture = Picture.open(bytes(data))
            except PictureError:
                continue
            opened += 1
            assert picture.srgb.shape == picture.pixels.shape == (picture.size[1], picture.size[0], 3)
            assert picture.alpha is None or picture.alpha.shape == picture.pixels.shape[:2]
    assert 50 < opened < 300
    assert capfd.readouterr().err == ""


def test_random_bytes_after_each_signature() -> None:
    draw = random.Random(3)  # noqa: S311
    heads = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"BM"]
    heads += [b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8L", b"RIFF\xff\0\0\0WEBPVP8X", b"\0\0\0\x20ftypavif"]
    for head in heads:
        for length in (0, 1, 4, 10, 30, 300):
            refused(head + draw.randbytes(length))


# --- structures made to be expensive ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*STRUCTURES])
def test_expensive_structures_are_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    refused(STRUCTURES[name]())
    capfd.readouterr()


def test_text_bombs_are_refused_or_ignored() -> None:
    row = zlib.compress(bytes(10) * 9)
    for kind, prefix in ((b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")):
        for copies in (1, 100):
            data = png(9, 9, rows=row, extra=chunk(kind, prefix + ZEROS) * copies)
            with soon():
                try:
                    assert Picture.open(data).size == (9, 9)
                except PictureError:
                    continue


def test_endless_pages_and_frames_cost_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    pixels = bytes(81)
    itself = tiff(grey_tiff(9, 9), pixels, following=8)
    garbage = tiff(grey_tiff(9, 9), pixels, following=3)
    for data in (itself, garbage):
        with soon():
            assert Picture.open(data).size == (9, 9)
    frames = [Image.new("L", (8, 8), i % 256) for i in range(2000)]
    for fmt in ("PNG", "WEBP"):
        data = encode(frames[0], fmt, save_all=True, append_images=frames[1:])
        with soon():
            assert Picture.open(data).notes[0].startswith("animation: first of ")
    capfd.readouterr()


def test_run_length_bmp_of_ordinary_size_opens() -> None:
    picture = Picture.open(rle_bmp(100, 100))
    assert picture.size == (100, 100)


def test_warnings_become_notes_even_when_warnings_are_errors() -> None:
    tags = {**grey_tiff(9, 9, extra=1), 274: (3, 40_000, 100)}  # an orientation of 40 000 values in a tiny file
    data = tiff(tags, bytes(81))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = Picture.open(data).notes
    assert len(notes) >= 1
    assert all(note.startswith("file warning: ") for note in notes)


def test_lazily_opened_images_fail_with_the_same_error() -> None:
    data = encode(Image.fromarray(scene()), "JPEG")
    with Image.open(BytesIO(data[:-100])) as image, soon(), pytest.raises(PictureError, match="PIL image"):
        Picture.open(image)


# --- small files that fit every limit and would cost much -----------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 2_000_000), (2_000_000, 1), (3, MAX_SIDE + 1)])
def test_thin_pictures_are_refused_before_decoding(size: tuple[int, int]) -> None:
    width, height = size
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    data = png(width, height, bits=1, rows=rows)
    assert "no side may be longer" in refused(data)
    with soon(0.2), pytest.raises(MaskError, match="no side may be longer"):
        Mask.open(data)
    with pytest.raises(PictureError, match="no side"):
        Picture.open(np.zeros((height, width), np.uint8))
    assert Picture.open(png(1, MAX_SIDE, bits=1, rows=zlib.compress(bytes(2 * MAX_SIDE)))).size == (1, MAX_SIDE)


@pytest.mark.parametrize("filling", [b"\xff", b"\0", b"\xff\x01", b"\xff\xd3", b"ab", b"\xff\xfe\0\2"])
@pytest.mark.parametrize("place", [2, 20])
def test_padding_between_the_segments_of_a_jpeg_is_bounded(filling: bytes, place: int) -> None:
    plain = encode(Image.fromarray(scene()), "JPEG")
    data = plain[:place] + filling * (12_000_000 // len(filling)) + plain[place:]
    words = "JPEG file has more than|not a picture format"  # the latter where the signature itself is broken up
    refused(data, words)
    with soon(), pytest.raises(MaskError, match=words):
        Mask.open(data)
    with soon(), pytest.raises(ProvenanceError):
        read_provenance(data)
    few = plain[:2] + b"\xff" * 1000 + plain[2:]
    assert Picture.open(few).notes == ()


MEMORY = """
import sys, zlib
from PIL import Image
from tests.support.hostile import png
from tests.support.pictures import encode
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask
side = 5000
rows = lambda bits: zlib.compress(bytes((1 + (side * bits + 7) // 8) * side), 9)
files = {
    "grey": lambda: png(side, side, bits=1, rows=rows(1)),
    "deep": lambda: png(side, side, bits=16, rows=rows(16)),
    "colour": lambda: png(side, side, colour=2, rows=rows(24)),
    "alpha": lambda: png(side, side, colour=6, rows=rows(32)),
    "webp": lambda: encode(Image.new("RGB", (side, side)), "WEBP", lossless=True, quality=0, method=0),
}
data = files[sys.argv[1]]()
Picture.open(png(9, 9, rows=zlib.compress(bytes(90)))).srgb
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
open("/proc/self/clear_refs", "w").write("5")
before = peak()
(Mask.open(data).rounded().area if sys.argv[2] == "mask" else Picture.open(data).srgb)
print((peak() - before) // 1000)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak of memory")
@pytest.mark.parametrize(("kind", "what", "bytes_a_pixel"), [
    ("grey", "picture", 5), ("deep", "picture", 6), ("colour", "picture", 8), ("alpha", "picture", 9),
    ("webp", "picture", 13), ("grey", "mask", 17),
])  # fmt: skip
def test_one_open_picture_takes_little_more_than_its_pixels(kind: str, what: str, bytes_a_pixel: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, kind, what],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(done.stdout) < 25 * bytes_a_pixel + 10


# --- what a picture can make a reader of records do -----------------------------------------------------------------


SPARSE = {"png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF\0\0\0\0WEBP", "tif": b"II*\0", "jpg": b"\xff\xd8\xff"}


@pytest.mark.parametrize("ending", [*SPARSE])
@pytest.mark.parametrize("size", [MAX_BYTES // 2, 1 << 40])
def test_records_are_looked_for_in_giants_without_reading_them(ending: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / f"s.{ending}"
    path.write_bytes(SPARSE[ending])
    with path.open("r+b") as file:
        file.truncate(size)
    words = "there is no wordbrush record" if size <= MAX_BYTES else r"the limit is 200\.0 MB"
    with soon(0.5), pytest.raises(ProvenanceError, match=words):
        read_provenance(path)


def test_endless_chunks_and_packets_end_soon() -> None:
    chunks = png(9, 9, extra=chunk(b"abCd", b"") * 300_000)
    webp = b"RIFF\0\0\0\0WEBP" + b"abcd\0\0\0\0" * 500_000
    packets = b"II*\0" + b"<x:xmpmeta</x:xmpmeta>" * 500_000
    for data in (chunks, webp, packets, b"II*\0" + b"<x:xmpmeta" * 3_000_000):
        with soon(2), pytest.raises(ProvenanceError):
            read_provenance(data)


# --- noise ----------------------------------------------------------------------------------------------------------


def fax(compression: int) -> bytes:
    """Return a TIFF of fax data that is none, over which libtiff complains line by line."""
    draw = random.Random(7)  # noqa: S311
    body, offset = draw.randbytes(4000), 8 + 2 + 12 * 9 + 4
    tags = {**grey_tiff(256, 256, extra=1), 258: (3, 1, 1), 259: (3, 1, compression), 262: (3, 1, 0), 277: (3, 1, 1)}
    return tiff({**tags, 273: (4, 1, offset), 279: (4, 1, len(body))}, body)


@pytest.mark.parametrize("compression", [2, 3, 4, 5, 7, 8])
def test_libraries_write_nothing_to_standard_error(compression: int, capfd: pytest.CaptureFixture[str]) -> None:
    data = fax(compression)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reader, error in ((Picture.open, PictureError), (Mask.open, MaskError)):
            try:
                reader(data)
            except error:
                continue
    assert capfd.readouterr().err == ""
