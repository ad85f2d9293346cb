"""What becomes of every pixel mode."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.pictures import LOSSLESS, TOLERANCE, distance, encode, scene
from wordbrush.errors import PictureError
from wordbrush.picture.picture import Picture


def test_grey_bilevel_and_palette() -> None:
    grey = scene()[..., 0]
    rgb = np.repeat(grey[..., None], 3, -1)
    assert distance(Picture.open(encode(Image.fromarray(grey))).pixels, rgb) == 0
    bilevel = Image.fromarray(grey > 128)
    assert bilevel.mode == "1"
    assert distance(Picture.open(encode(bilevel)).pixels, 255 * (rgb > 128)) == 0
    palette = Image.fromarray(scene()).quantize(32)
    assert distance(Picture.open(encode(palette)).pixels, np.asarray(palette.convert("RGB"))) == 0
    assert distance(Picture.open(palette).pixels, np.asarray(palette.convert("RGB"))) == 0


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_alpha_is_kept(fmt: str) -> None:
    alpha = scene()[..., 1]
    source = Image.fromarray(np.dstack((scene(), alpha)))
    picture = Picture.open(encode(source, fmt, **LOSSLESS[fmt], **({"exact": True} if fmt == "WEBP" else {})))
    assert picture.alpha is not None
    assert distance(picture.alpha, alpha) == 0
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(fmt, 0)


def test_grey_with_alpha_palette_with_alpha_and_premultiplied() -> None:
    grey, alpha = scene()[..., 0], scene()[..., 1]
    la = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    for source in (encode(la), la):
        picture = Picture.open(source)
        assert picture.alpha is not None
        assert distance(picture.alpha, alpha) == 0
        assert distance(picture.pixels, np.repeat(grey[..., None], 3, -1)) == 0
    with_palette = la.convert("RGBA").convert("PA")  # not straight from LA: Pillow loses the alpha there
    assert with_palette.mode == "PA"
    picture = Picture.open(with_palette)
    assert picture.alpha is not None
    assert distance(picture.alpha, alpha) == 0
    opaque = Image.fromarray(np.dstack((scene(), np.full_like(alpha, 255))))
    for mode, source in (("RGBa", opaque.convert("RGBa")), ("La", la.convert("La"))):
        assert source.mode == mode
        assert Picture.open(source).alpha is not None
    assert distance(Picture.open(opaque.convert("RGBa")).pixels, scene()) == 0


def test_transparent_colours_become_alpha() -> None:
    palette = Image.fromarray(scene()).quantize(16)
    entry = int(np.asarray(palette)[0, 0])
    for clear in (entry, bytes(0 if i == entry else 200 for i in range(16))):
        picture = Picture.open(encode(palette, transparency=clear))
        assert picture.alpha is not None
        assert ((picture.alpha == 0) == (np.asarray(palette) == entry)).all()
    for image, colour in (
        (Image.fromarray(scene()), tuple(int(v) for v in scene()[5, 5])),
        (Image.fromarray(scene()[..., 0]), int(scene()[5, 5, 0])),
    ):
        alpha = Picture.open(encode(image, transparency=colour)).alpha
        assert alpha is not None
        assert alpha[5, 5] == 0
        assert alpha.max() == 255


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 48 * 32).astype(np.uint16).reshape(32, 48)
    expected = np.floor(values / 257 + 0.5)
    big = Image.frombytes("I;16B", (48, 32), values.astype(">u2").tobytes())
    little = Image.fromarray(values)
    for source in (encode(little), encode(little, "TIFF"), encode(big, "TIFF"), little, big):
        picture = Picture.open(source)
        assert distance(picture.pixels[..., 1], expected) == 0
        assert "16-bit grey scaled to 8 bits" in picture.notes
    clear = Picture.open(encode(little, transparency=int(values[3, 4]))).alpha
    assert clear is not None
    assert clear[3, 4] == 0
    assert (clear == 0).sum() == 1


def test_white_is_zero_sixteen_bit_tiff_is_inverted() -> None:
    values = np.array([[0, 65535, 1000]], np.uint16)
    data = encode(Image.fromarray(values), "TIFF")
    tag = struct.pack("<HHIH", 262, 3, 1, 1)
    assert tag in data
    picture = Picture.open(data.replace(tag, struct.pack("<HHIH", 262, 3, 1, 0)))
    assert picture.pixels[0, :, 0].tolist() == [255, 0, 251]


@pytest.mark.parametrize(("mode", "values", "expected"), [
    ("I", [[0, 17, 255]], [0, 17, 255]),
    ("I", [[0, 25700, 65535]], [0, 100, 255]),
    ("F", [[0.0, 0.5, 1.0]], [0, 128, 255]),
    ("F", [[0.0, 99.6, 255.0]], [0, 100, 255]),
])  # fmt: skip
def test_wide_modes_take_the_smallest_range(mode: str, values: list[list[float]], expected: list[int]) -> None:
    image = Image.fromarray(np.array(values, np.int32 if mode == "I" else np.float32))
    assert image.mode == mode
    for source in (image, encode(image, "TIFF")):
        picture = Picture.open(source)
        assert picture.pixels[0, :, 0].tolist() == expected
        assert picture.notes[-1].startswith(f"mode {mode} values taken as 0..")


@pytest.mark.parametrize("values", [[[0.0, np.nan]], [[np.inf, 0.0]], [[-1.0, 0.0]], [[0.0, 300.0]]])
def test_wide_values_without_meaning_are_refused(values: list[list[float]]) -> None:
    image = Image.fromarray(np.array(values, np.float32))
    for source in (image, encode(image, "TIFF")):
        with pytest.raises(PictureError, match="values"):
            Picture.open(source)


def test_sixteen_bit_colour_is_read_by_its_high_byte() -> None:
    values = np.array([0, 255, 256, 32768, 65279, 65535], ">u2")
    rows = b"\0" + np.repeat(values[:, None], 3, -1).tobytes()
    from zlib import compress, crc32

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 1, 16, 2, 0, 0, 0))
    tail = chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")
    picture = Picture.open(head + tail)
    assert picture.pixels[0, :, 2].tolist() == [0, 0, 1, 128, 254, 255]
    assert picture.notes == ("16-bit colour read as its high 8 bits",)
    clear = Picture.open(head + chunk(b"tRNS", struct.pack(">HHH", 256, 256, 256)) + tail)
    assert clear.alpha is None
    assert "transparent 16-bit colour ignored" in clear.notes


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    assert distance(Picture.open(Image.fromarray(scene()).convert(mode)).pixels, scene()) <= 8


def test_lab_goes_through_littlecms() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(scene()), srgb, lab, outputMode="LAB")
    assert image is not None
    for source in (image, encode(image, "TIFF")):
        picture = Picture.open(source)
        assert distance(picture.pixels, np.asarray(image.convert("RGB"))) <= 2
        assert distance(picture.pixels, scene()) <= 16  # 8-bit Lab is coarse in the dark
        assert picture.icc_profile is None


@pytest.mark.parametrize("clear", ["nonsense", (1, 2), None, 2**40])
@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colours_without_meaning_are_dropped(mode: str, clear: object) -> None:
    image = Image.fromarray(scene()).convert(mode)
    plain = np.asarray(image.convert("RGB"))
    image.info["transparency"] = clear
    assert distance(Picture.open(image).pixels, plain) == 0
