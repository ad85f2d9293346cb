"""Masks: every way in, every way out, and what the operations do on small drawings."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from wordbrush.errors import MaskError, OutputError
from wordbrush.region.mask import Mask

GROWING = Path("/proc/self/maps")  # says 0 bytes, has thousands: as a file that grows while it is read


def drawing(*rows: str) -> Mask:
    """`#` is 1, `.` is 0, a digit is that many tenths."""
    level = {"#": 1.0, ".": 0.0} | {str(d): d / 10 for d in range(1, 10)}
    return Mask.from_array(np.array([[level[c] for c in row] for row in rows]))


def png(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ---- arrays


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[True, False]]), [1, 0]),
        (np.array([[0, 51, 255]], np.uint8), [0, 0.2, 1]),
        (np.array([[0, 13107, 65535]], np.uint16), [0, 0.2, 1]),
        (np.array([[0, 127]], np.int8), [0, 1]),
        (np.array([[0, 2**31 - 1]], np.int32), [0, 1]),
        (np.array([[0, 2**64 - 1]], np.uint64), [0, 1]),
        (np.array([[0, 1]], np.int64), [0, 1]),
        (np.array([[0, 1]], np.uint8), [0, 1]),
        (np.array([[0, 0.25, 1]], np.float16), [0, 0.25, 1]),
        (np.array([[-1e-7, 1 + 1e-7]], np.float64), [0, 1]),
        (np.array([[[0.5], [1.0]]]), [0.5, 1]),
    ],
)
def test_from_array_of_every_dtype(array: np.ndarray[Any, Any], expected: list[float]) -> None:
    mask = Mask.from_array(array)
    assert mask.values.dtype == np.float32
    np.testing.assert_allclose(mask.values[0], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([[0.0, np.nan]]), "nan"),
        (np.array([[0.0, np.inf]]), "inf"),
        (np.array([[0.0, 200.0]]), "divide by 255"),
        (np.array([[-0.1, 0.5]]), "-0.1"),
        (np.array([[-1, 5]]), "-1"),
        (np.array([[0, 70_000]], np.int64), "bool, uint8 or floats"),
        (np.zeros((2, 2, 3)), "(2, 2, 3)"),
        (np.zeros((0, 5)), "(0, 5)"),
        (np.zeros(4), "(4,)"),
        (np.array([["a"]]), "<U1"),
        (np.array([[1j]]), "complex"),
        (np.array([[None]]), "object"),
    ],
)
def test_from_array_refuses(array: np.ndarray[Any, Any], word: str) -> None:
    with pytest.raises(MaskError, match=word.replace("(", r"\(").replace(")", r"\)")):
        Mask.from_array(array)


def test_a_mask_is_a_value() -> None:
    source = np.zeros((2, 3), np.float32)
    mask = Mask(source)
    source[:] = 1
    assert mask.is_empty
    with pytest.raises(ValueError, match="read-only"):
        mask.values[0, 0] = 1
    with pytest.raises(AttributeError):
        mask.values = source  # type: ignore[misc]
    with pytest.raises(MaskError, match="from_array"):
        Mask(np.zeros((2, 3), np.uint8))  # type: ignore[arg-type,unused-ignore]
    for made in (mask.grow(0), mask.resize((3, 2)), mask | mask, ~mask, mask.feather(2)):
        assert not made.values.flags.writeable


def test_properties() -> None:
    mask = drawing("....", ".#5.", "....")
    assert mask.size == (4, 3)
    assert mask.area == pytest.approx(1.5 / 12)
    assert mask.box == (1, 1, 3, 2)
    assert not mask.is_binary
    assert not mask.is_empty
    assert Mask.empty((4, 3)).box is None
    assert Mask.full((4, 3)).area == 1
    assert Mask.from_box((4, 3), (1, -5, 99, 2)).box == (1, 0, 4, 2)
    assert repr(mask) == "Mask(4 × 3, soft, 12.5 % edited)"
    for size in ((0, 3), (3, -1)):
        with pytest.raises(MaskError):
            Mask.empty(size)
    with pytest.raises(MaskError, match="inside out"):
        Mask.from_box((4, 3), (3, 0, 1, 2))


# ---- images


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "YCbCr", "HSV", "CMYK", "P", "RGBX"])
def test_from_image_takes_the_luminance(mode: str) -> None:
    image = Image.new("RGB", (3, 1), (0, 0, 0))
    image.putpixel((1, 0), (255, 255, 255))
    mask = Mask.from_image(image.convert(mode))
    np.testing.assert_allclose(mask.values, [[0, 1, 0]], atol=2 / 255)


def test_from_image_of_deep_and_rare_modes() -> None:
    deep = np.array([[0, 13107, 65535]], np.uint16)
    np.testing.assert_allclose(Mask.from_image(Image.fromarray(deep)).values, [[0, 0.2, 1]], atol=1e-6)
    np.testing.assert_allclose(Mask.open(png(Image.fromarray(deep))).values, [[0, 0.2, 1]], atol=1e-6)
    np.testing.assert_allclose(Mask.from_image(Image.fromarray(deep.astype(np.int32))).values, [[0, 0.2, 1]], atol=1e-6)
    big = Image.frombytes("I;16B", (3, 1), deep.astype(">u2").tobytes())
    np.testing.assert_allclose(Mask.from_image(big).values, [[0, 0.2, 1]], atol=1e-6)
    floats = Image.fromarray(np.array([[0, 0.2, 1]], np.float32))
    np.testing.assert_allclose(Mask.from_image(floats).values, [[0, 0.2, 1]], atol=1e-6)
    np.testing.assert_allclose(Mask.open(png(floats, "TIFF")).values, [[0, 0.2, 1]], atol=1e-6)
    lab = Image.frombytes("LAB", (2, 1), bytes([0, 128, 128, 255, 128, 128]))
    np.testing.assert_allclose(Mask.from_image(lab).values, [[0, 1]])
    for bad in (np.array([[np.nan]], np.float32), np.array([[255]], np.float32), np.array([[-1]], np.int32)):
        with pytest.raises(MaskError):
            Mask.from_image(Image.fromarray(bad))
    with pytest.raises(MaskError, match="65535"):
        Mask.from_image(Image.fromarray(np.array([[70000]], np.int32)))


def test_luminance_is_weighted_as_itu_601() -> None:
    image = Image.new("RGB", (3, 1))
    for x, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        image.putpixel((x, 0), colour)
    np.testing.assert_allclose(Mask.from_image(image).values, [[0.299, 0.587, 0.114]], atol=1 / 255)


def test_alpha_multiplies_the_luminance() -> None:
    image = Image.new("RGBA", (4, 1))
    for x, pixel in enumerate([(255, 255, 255, 255), (255, 255, 255, 51), (0, 0, 0, 255), (255, 255, 255, 0)]):
        image.putpixel((x, 0), pixel)
    np.testing.assert_allclose(Mask.from_image(image).values, [[1, 0.2, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(Mask.from_image(image.convert("LA")).values, [[1, 0.2, 0, 0]], atol=1e-6)
    opaque = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    assert Mask.from_image(opaque).is_empty


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (1, 2, 3)])
def test_a_drawing_in_one_colour_uses_alpha_alone(ink: tuple[int, int, int], hidden: tuple[int, int, int]) -> None:
    image = Image.new("RGBA", (3, 1), (*hidden, 0))
    image.putpixel((1, 0), (*ink, 255))
    image.putpixel((2, 0), (*ink, 102))
    np.testing.assert_allclose(Mask.from_image(image).values, [[0, 1, 0.4]], atol=1e-6)
    assert Mask.from_image(Image.new("RGBA", (3, 1))).is_empty


def test_transparent_palette_and_premultiplied_alpha() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 10, 10, 10])
    palette.putpixel((1, 0), 1)
    data = png(palette, transparency=0)
    np.testing.assert_allclose(Mask.open(data).values, [[0, 1]])
    grey = Image.new("LA", (2, 1), (255, 51))
    grey.putpixel((1, 0), (0, 255))
    np.testing.assert_allclose(Mask.from_image(grey.convert("La")).values, [[0.2, 0]], atol=0.01)


# ---- files


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "JPEG", "AVIF"])
def test_open_reads_the_allowed_formats(kind: str, tmp_path: Path) -> None:
    mask = Mask.from_box((32, 24), (8, 8, 24, 16))
    path = tmp_path / "mask.png"  # the content decides, not the name
    path.write_bytes(png(mask.to_image(), kind))
    opened = Mask.open(path)
    assert opened.size == (32, 24)
    assert np.array_equal(opened.binarise().values, mask.values)
    if kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(opened.values, mask.values)


def test_open_turns_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = Mask.from_box((4, 2), (0, 0, 1, 1))
    turned = Mask.open(png(mask.to_image(), exif=exif))
    assert turned.size == (2, 4)
    marked = mask.to_image()
    marked.getexif()[0x0112] = 6
    assert np.array_equal(turned.values, np.asarray(ImageOps.exif_transpose(marked)) / 255)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _huge_png(side: int) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def test_open_refuses(tmp_path: Path) -> None:
    good = png(Mask.from_box((64, 64), (8, 8, 50, 50)).feather(4).to_image())
    bad = {
        "empty": b"",
        "text": b"not a picture",
        "gif": png(Image.new("L", (4, 4)), "GIF"),
        "cut": good[: len(good) // 2],
        "8k": _huge_png(8_000),
        "30k": _huge_png(30_000),
        "bytes": b"\x89PNG" + bytes(25_000_001),
    }
    for name, data in bad.items():
        with pytest.raises(MaskError):
            Mask.open(data)
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MaskError, match=name):
            Mask.open(tmp_path / name)
    for wrong in (tmp_path, tmp_path / "missing.png", "a\0b.png", "/dev/zero"):
        with pytest.raises(MaskError):
            Mask.open(wrong)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_half_a_mask_is_refused_whatever_the_process_allows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training scripts let Pillow load truncated files; half a mask would silently keep the other half."""
    data = png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)), kind)
    half = data[: len(data) // 2]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(MaskError, match=r"cut short|damaged"):
        Mask.open(half)
    if kind != "TIFF":  # whose directory stands at the end
        with Image.open(io.BytesIO(half)) as lazy, pytest.raises(MaskError, match="cut short"):
            Mask.from_image(lazy)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert Mask.open(data).size == (64, 64)


@pytest.mark.skipif(not GROWING.exists(), reason="needs a file that is longer than it says")
def test_a_file_that_is_longer_than_it_says_is_read_to_the_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordbrush.region.reading.MAX_BYTES", 20)
    with pytest.raises(MaskError, match="the limit is"):
        Mask.open(GROWING)


def test_mutants_end_in_a_mask_or_a_mask_error() -> None:
    rng = np.random.default_rng(0)
    mask = Mask.from_box((24, 24), (3, 3, 18, 18)).feather(5)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        data = bytearray(png(mask.to_image(), kind))
        for _ in range(60):
            mutant = bytearray(data)
            for at in rng.integers(0, len(data), 3):
                mutant[at] = rng.integers(0, 256)
            try:
                assert Mask.open(bytes(mutant)).values.ndim == 2
            except MaskError:
                continue


def test_save_and_open_are_lossless(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask = Mask.from_array(values)
    mask.save(tmp_path / "m.png")
    again = Mask.open(tmp_path / "m.png")
    assert np.array_equal(again.values, mask.values)
    assert again.digest() == mask.digest()
    with pytest.raises(OutputError, match="exists"):
        mask.save(tmp_path / "m.png")
    (~mask).save(str(tmp_path / "m.png"), force=True)
    assert Mask.open(tmp_path / "m.png").digest() == (~mask).digest()
    with pytest.raises(OutputError, match="PNG"):
        mask.save(tmp_path / "m.jpg")
    assert mask.to_image().mode == "L"
    with Image.open(tmp_path / "m.png") as saved:
        assert saved.mode == "L"


def test_png_bytes_of_a_binary_mask_have_one_bit_a_cell() -> None:
    mask = Mask.from_array(np.random.default_rng(0).random((512, 512)) > 0.5)
    assert len(mask.png_bytes()) < 512 * 512 / 8 * 1.05
    assert Mask.open(mask.png_bytes()).digest() == mask.digest()


def test_digest_tells_sizes_and_values_apart() -> None:
    masks = [Mask.empty((2, 3)), Mask.empty((3, 2)), Mask.empty((6, 1)), Mask.full((2, 3)), Mask.empty((2, 3)).grow(1)]
    digests = [mask.digest() for mask in masks]
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]


# ---- operations on drawings


def test_sizes_must_match() -> None:
    a, b = Mask.empty((2, 3)), Mask.empty((3, 2))
    for act in ("__or__", "__and__", "__sub__"):
        with pytest.raises(MaskError, match="2 × 3 and 3 × 2"):
            getattr(a, act)(b)
    with pytest.raises(TypeError):
        a | 1  # type: ignore[operator]


def test_soft_algebra() -> None:
    a, b = drawing("2583"), drawing("4468")
    np.testing.assert_allclose((a | b).values, drawing("4588").values)
    np.testing.assert_allclose((a & b).values, drawing("2463").values)
    np.testing.assert_allclose((a - b).values, drawing("2542").values, atol=1e-7)
    np.testing.assert_allclose((~a).values, drawing("8527").values, atol=1e-7)


def test_grow_is_a_disc() -> None:
    dot = Mask.from_box((7, 7), (3, 3, 4, 4))
    assert np.array_equal(
        dot.grow(2).values,
        drawing(".......", "...#...", "..###..", ".#####.", "..###..", "...#...", ".......").values,
    )
    assert dot.grow(2).shrink(2).digest() == dot.digest()
    assert Mask.full((7, 7)).shrink(5).area == 1
    for radius in (-1, float("nan"), float("inf")):
        with pytest.raises(MaskError):
            dot.grow(radius)


def test_fill_holes() -> None:
    ring = drawing("......", ".####.", ".#..#.", ".#..#.", ".####.", "......")
    assert np.array_equal(ring.fill_holes().values, Mask.from_box((6, 6), (1, 1, 5, 5)).values)
    open_ring = drawing(".##.", ".#.#", ".###")
    assert np.array_equal(open_ring.fill_holes().values, drawing(".##.", ".###", ".###").values)
    bay = drawing("#..#", "#..#", "####")
    assert bay.fill_holes().digest() == bay.digest()
    soft = drawing("777", "737", "777")
    assert soft.fill_holes().values[1, 1] == 1
    assert soft.fill_holes().values[0, 0] == np.float32(0.7)


def test_drop_specks() -> None:
    mask = drawing("#....#", ".#....", "....##", "....##")
    assert np.array_equal(mask.drop_specks(2).values, drawing("#.....", ".#....", "....##", "....##").values)
    assert np.array_equal(mask.drop_specks(3).values, drawing("......", "......", "....##", "....##").values)
    assert mask.drop_specks(5).is_empty
    assert drawing("11111..").drop_specks(1).is_empty


def test_feather_ramp() -> None:
    mask = drawing("#......")
    np.testing.assert_allclose(mask.feather(4).values, [[1, 0.75, 0.5, 0.25, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(mask.feather(1).values, mask.values)
    np.testing.assert_allclose(drawing("..5....").feather(2).values, [[0, 0.25, 0.5, 0.25, 0, 0, 0]], atol=1e-6)


def test_binarise() -> None:
    mask = drawing(".4567#")
    assert np.array_equal(mask.binarise().values, drawing("..####").values)
    assert np.array_equal(mask.binarise(1).values, drawing(".....#").values)
    for at in (0, -1, 1.1, float("nan")):
        with pytest.raises(MaskError):
            mask.binarise(at)


def test_resize() -> None:
    mask = drawing("#...", "....")
    assert mask.resize((4, 2)) is mask
    assert np.array_equal(mask.resize((2, 1), "any").values, drawing("#.").values)
    assert np.array_equal(mask.resize((2, 1), "area").values, [[0.25, 0]])
    np.testing.assert_allclose(drawing("#..").resize((2, 1), "area").values, [[2 / 3, 0]], atol=1e-6)
    assert np.array_equal(drawing("#..").resize((2, 1), "any").values, drawing("#.").values)
    assert np.array_equal(drawing(".#.").resize((2, 1), "any").values, drawing("##").values)
    line = drawing("#.").resize((8, 1), "linear").values[0]
    assert (np.diff(line) <= 0).all()
    assert line[0] == 1
    assert line[-1] == 0
    with pytest.raises(MaskError, match="cubic"):
        mask.resize((2, 2), "cubic")  # type: ignore[arg-type]
    with pytest.raises(MaskError):
        mask.resize((0, 2))


def test_rounded_is_what_a_png_keeps() -> None:
    mask = Mask.from_array(np.random.default_rng(0).random((20, 30)))
    assert not np.array_equal(mask.rounded().values, mask.values)
    assert np.abs(mask.rounded().values - mask.values).max() <= 0.5 / 255 + 1e-7
    assert np.array_equal(Mask.open(mask.png_bytes()).values, mask.rounded().values)
    assert mask.rounded().digest() == mask.digest()


def test_import_is_light() -> None:
    code = (
        "import sys, wordbrush.region.mask, wordbrush.record.provenance, wordbrush.files\n"
        "heavy = {'torch', 'scipy', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
