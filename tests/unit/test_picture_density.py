"""Print resolution is kept where a format has a place for it, and made up nowhere."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from PIL import Image

from tests.support.hostile import chunk
from tests.support.pictures import encode, scene
from tests.support.side_records import SCENE, in_png
from wordbrush.picture.density import Density
from wordbrush.picture.picture import Picture
from wordbrush.record.encode import encode_pixels

NOTHING = np.zeros(scene().shape[:2], np.float32)
KEPT = ("PNG", "JPEG", "TIFF", "BMP")


def written(picture: Picture, kind: str) -> bytes:
    return encode_pixels(picture.compose(picture.srgb, np.zeros(picture.pixels.shape[:2], np.float32)), kind, 95, {})


@pytest.mark.parametrize("source", KEPT)
@pytest.mark.parametrize("dpi", [(72, 72), (300, 300), (600, 200)])
def test_density_is_kept_through_every_format_that_holds_one(source: str, dpi: tuple[int, int]) -> None:
    picture = Picture.open(encode(SCENE, source, dpi=dpi))
    assert picture.density == Density(*dpi)
    for kind in KEPT:
        assert Picture.open(written(picture, kind)).density == Density(*dpi)
    for kind in ("WEBP", "AVIF"):
        assert Picture.open(written(picture, kind)).density is None


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(("unit", "expected"), [(2, 240.0), (3, 240 * 2.54)])
def test_exif_is_asked_where_the_format_says_nothing(fmt: str, unit: int, expected: float) -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 240, 240, unit
    density = Picture.open(encode(SCENE, fmt, exif=exif)).density
    assert density is not None
    assert density.x == density.y == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF"])
def test_a_turned_picture_turns_its_density(fmt: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Picture.open(encode(SCENE, fmt, exif=exif, dpi=(200, 100)))
    assert picture.size == (32, 48)
    assert picture.density == Density(100, 200)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_without_density_nothing_is_made_up_and_no_byte_differs(fmt: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"  # Pillow takes EXIF without a resolution for 72 dots per inch
    picture = Picture.open(encode(SCENE, fmt, exif=exif))
    assert picture.density is None
    plain = Image.fromarray(picture.pixels)
    for kind in KEPT:
        assert written(picture, kind) == encode_pixels(plain, kind, 95, {})


def test_the_shape_of_a_pixel_is_kept_where_it_is_not_square() -> None:
    shape = Picture.open(in_png(chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))))
    assert shape.density == Density(2, 1, "none")
    for kind in ("PNG", "JPEG"):
        again = Picture.open(written(shape, kind))
        assert again.density == shape.density
        assert again.size == shape.size
    assert Picture.open(in_png(chunk(b"pHYs", struct.pack(">IIB", 7, 7, 0)))).density is None
    assert b"pHYs" not in written(dataclasses.replace(shape, density=None), "PNG")


@pytest.mark.parametrize("body", [
    struct.pack(">IIB", 0, 0, 1), struct.pack(">IIB", 2**32 - 1, 1, 1), struct.pack(">IIB", 5, 5, 9),
])  # fmt: skip
def test_densities_that_make_no_sense_are_dropped(body: bytes) -> None:
    picture = Picture.open(in_png(chunk(b"pHYs", body)))
    assert (picture.density, picture.notes) == (None, ())
    assert Picture.open(encode(Image.fromarray(scene()), "TIFF", dpi=(0, 0))).density is None


def test_density_of_an_image_in_memory_is_kept() -> None:
    image = Image.fromarray(scene())
    image.info["dpi"] = (150, 150)
    picture = Picture.open(image)
    assert picture.density == Density(150, 150)
    assert picture.compose(picture.srgb, NOTHING).info["dpi"] == (150, 150)
    assert picture.sha256 == Picture.open(scene()).sha256, "what is hashed are the pixels"
