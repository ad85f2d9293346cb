"""Colours declared without an ICC profile: read, turned into a profile that stays with the pixels, or told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.support.hostile import chunk
from tests.support.pictures import LOSSLESS, P3, SRGB, TOLERANCE, distance, encode, rgb_profile, scene
from tests.support.side_records import SCENE, avif_coded, bmp_v5, exif, in_jpeg, in_png, segment, tiff_with
from wordbrush.picture.picture import Picture
from wordbrush.picture.profiles import PRIMARIES, curve_of, matrix_profile, power
from wordbrush.record.encode import encode_pixels

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

D65 = (0.3127, 0.3290)
SRGB_XY = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_XY = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE_XY = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
WIDE_XY = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
PAL_XY = (0.64, 0.33, 0.29, 0.60, 0.15, 0.06)


def srgb_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def bt709_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45))


def exponent(value: float) -> Curve:
    return lambda v: v**value


def to_xyz(xy: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ under D65."""
    points = np.array([*xy, *D65]).reshape(4, 2)
    columns = np.stack([points[:, 0], points[:, 1], 1 - points.sum(1)])
    white = columns[:, 3] / columns[1, 3]
    return np.asarray(columns[:, :3] * np.linalg.solve(columns[:, :3], white))


def as_srgb(pixels: NDArray[np.uint8], xy: tuple[float, ...], curve: Curve) -> NDArray[np.float64]:
    linear = curve(pixels / 255.0) @ to_xyz(xy).T @ np.linalg.inv(to_xyz(SRGB_XY)).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def cicp(primaries: int, transfer: int, full: int = 1) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, 0, full)))


def gama(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chrm(xy: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in (*D65, *xy))))


def rationals(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack("<II", round(value * 10_000), 10_000) for value in values)


def exif_primaries(xy: tuple[float, ...]) -> Image.Exif:
    exif = Image.Exif()
    exif[318], exif[319] = D65, xy
    inner = exif.get_ifd(0x8769)
    inner[0xA001], inner[0xA500] = 0xFFFF, 2.2
    return exif


def corners(xy: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(to_xyz(xy).T.ravel().tolist())


ADOBE = (ADOBE_XY, exponent(563 / 256))
DECLARED: dict[str, tuple[bytes, tuple[float, ...], Curve]] = {
    "cICP Display P3": (in_png(cicp(12, 13)), P3_XY, srgb_curve),
    "cICP BT.2020": (in_png(cicp(9, 14)), WIDE_XY, bt709_curve),
    "cICP BT.2020 with the curve of sRGB": (in_png(cicp(9, 13)), WIDE_XY, srgb_curve),
    "cICP PAL, gamma 2.8": (in_png(cicp(5, 5)), PAL_XY, exponent(2.8)),
    "cICP sRGB primaries, gamma 2.2": (in_png(cicp(1, 4)), SRGB_XY, exponent(2.2)),
    "cICP linear": (in_png(cicp(1, 8)), SRGB_XY, exponent(1.0)),
    "cICP before all others": (
        in_png(cicp(12, 13), chunk(b"sRGB", b"\0"), gama(1.0), chrm(PAL_XY)), P3_XY, srgb_curve
    ),
    "gAMA and cHRM of Adobe RGB": (in_png(gama(0.45470), chrm(ADOBE_XY)), ADOBE_XY, exponent(1 / 0.45470)),
    "gAMA of an old Macintosh": (in_png(gama(0.55556)), SRGB_XY, exponent(1.8)),
    "cHRM without gAMA": (in_png(chrm(P3_XY)), P3_XY, srgb_curve),
    "EXIF R03, JPEG": (in_jpeg(segment(0xE1, exif(0xFFFF, "R03"))), *ADOBE),
    "EXIF ColorSpace 2, JPEG": (in_jpeg(segment(0xE1, exif(2))), *ADOBE),
    "EXIF R03, WebP": (encode(SCENE, "WEBP", lossless=True, exif=exif(0xFFFF, "R03")), *ADOBE),
    "EXIF R03, PNG": (encode(SCENE, exif=exif(0xFFFF, "R03")), *ADOBE),
    "EXIF ColorSpace 2, TIFF": (encode(SCENE, "TIFF", exif=exif(2)), *ADOBE),
    "EXIF with primaries and gamma": (
        encode(SCENE, "JPEG", exif=exif_primaries(PAL_XY), **LOSSLESS["JPEG"]), PAL_XY, exponent(2.2)
    ),
    "EXIF where nclx is unspecified": (avif_coded(2, 2, exif=exif(2)), *ADOBE),
    "nclx Display P3": (avif_coded(12, 13), P3_XY, srgb_curve),
    "nclx BT.2020": (avif_coded(9, 1), WIDE_XY, bt709_curve),
    "primaries, TIFF": (tiff_with(319, 5, 6, rationals(P3_XY)), P3_XY, exponent(2.2)),
    "transfer function, TIFF": (
        tiff_with(301, 3, 256, (np.arange(256) * 257).astype("<u2").tobytes()), SRGB_XY, exponent(1.0)
    ),
    "end points, BMP": (bmp_v5(bytes(4), corners(P3_XY), 2.2), P3_XY, exponent(2.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", [*DECLARED])
def test_declared_colours_are_read_by_their_closed_form_and_stay_with_the_pixels(name: str) -> None:
    data, xy, curve = DECLARED[name]
    picture = Picture.open(data)
    assert picture.notes == ()
    assert picture.icc_profile is not None
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(str(picture.format), 0)
    assert np.abs(picture.srgb - as_srgb(picture.pixels, xy, curve)).max() < 1.5
    assert np.ptp(Picture.open(data).srgb.astype(int) - picture.srgb) == 0
    result = picture.compose(picture.srgb, np.zeros(scene().shape[:2], np.float32))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
        again = Picture.open(encode_pixels(result, kind, 100, {}))
        assert again.icc_profile == picture.icc_profile
        assert distance(again.pixels, picture.pixels) <= TOLERANCE.get(kind, 0)


SAME_AS_SRGB = {
    "sRGB wins over gAMA and cHRM": in_png(chunk(b"sRGB", b"\0"), gama(1.0), chrm(PAL_XY)),
    "gAMA 45455 with the primaries of sRGB": in_png(gama(0.45455), chrm(SRGB_XY)),
    "gAMA 45455": in_png(gama(0.45455)),
    "cICP sRGB": in_png(cicp(1, 13)),
    "cICP unspecified": in_png(cicp(2, 2)),
    "EXIF sRGB": in_jpeg(segment(0xE1, exif(1, "R98"))),
    "EXIF sRGB, in spite of R03": in_jpeg(segment(0xE1, exif(1, "R03"))),
    "AVIF as it comes": avif_coded(1, 13),
    "primaries of sRGB, TIFF": tiff_with(319, 5, 6, rationals(SRGB_XY)),
    "end points of zeros, BMP": bmp_v5(bytes(4)),
    "end points of sRGB, BMP": bmp_v5(bytes(4), corners(SRGB_XY), 2.2),
    "sRGB, BMP": bmp_v5(b"BGRs"),
}


@pytest.mark.parametrize("name", [*SAME_AS_SRGB])
def test_what_amounts_to_srgb_has_no_profile_and_no_note(name: str) -> None:
    picture = Picture.open(SAME_AS_SRGB[name])
    assert picture.icc_profile is None
    assert picture.notes == ()


@pytest.mark.parametrize(("data", "words"), [
    (in_png(cicp(99, 13)), "primaries 99, transfer 13"),
    (in_png(cicp(1, 3)), "transfer 3"),
    (in_png(cicp(1, 13, 0)), "limited range"),
    (in_png(gama(0.0)), "a gamma of 0"),
    (in_png(chrm((0.3,) * 6)), "span no colours"),
    (in_png(chrm((0.0,) * 6)), "span no colours"),
    (in_jpeg(segment(0xE1, exif(0xFFFF))), "but not which"),
    (in_png(chunk(b"sRGB", b"\0"), chunk(b"eXIf", exif(2)[6:])), "and EXIF another"),
    (avif_coded(1, 13, exif=exif(0xFFFF, "R03")), "and EXIF another"),
    (bmp_v5(b"KNIL"), "lies in another file"),
])  # fmt: skip
def test_what_cannot_be_made_of_it_is_told(data: bytes, words: str) -> None:
    picture = Picture.open(data)
    assert picture.icc_profile is None
    assert len(picture.notes) == 1
    assert words in picture.notes[0]


@pytest.mark.parametrize("data", [
    in_png(cicp(9, 16)), in_png(cicp(9, 18)), avif_coded(9, 16), avif_coded(9, 18),
])  # fmt: skip
def test_high_dynamic_range_is_told_and_read_up_to_its_white(data: bytes) -> None:
    picture = Picture.open(data)
    assert "high dynamic range" in picture.notes[0]
    profile = ImageCms.ImageCmsProfile(BytesIO(picture.icc_profile or b""))
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1))
    seen = ImageCms.profileToProfile(ramp, profile, ImageCms.createProfile("sRGB"))
    greys = np.asarray(seen)[0, :, 1].astype(int)
    assert (np.diff(greys) >= 0).all()
    white = int(np.argmax(greys >= 254))
    assert 140 < white < 200, "PQ has 203 cd/m² at 58 % of its range, HLG at 75 %"


def test_an_icc_profile_wins_over_exif_tags_and_boxes() -> None:
    icc = rgb_profile()
    sources = {
        "JPEG": encode(SCENE, "JPEG", icc_profile=icc, exif=exif(0xFFFF, "R03")),
        "PNG": in_png(gama(1.0), image=SCENE),
        "AVIF": avif_coded(9, 16, icc_profile=icc),
    }
    head = encode(SCENE, icc_profile=icc)
    sources["PNG"] = head[:33] + gama(1.0) + head[33:]
    for data in sources.values():
        assert Picture.open(data).icc_profile == icc
        assert Picture.open(data).notes == ()
    assert Picture.open(bmp_v5(b"DEBM", profile=icc)).icc_profile == icc


def test_images_that_somebody_opened_lazily_tell_their_colours_too() -> None:
    for data in (in_jpeg(segment(0xE1, exif(2))), in_png(gama(0.45470), chrm(ADOBE_XY))):
        with Image.open(BytesIO(data)) as image:
            picture = Picture.open(image)
            assert "icc_profile" not in image.info
        assert picture.icc_profile == Picture.open(data).icc_profile


def test_a_text_named_like_a_declaration_is_none() -> None:
    texts = [chunk(b"tEXt", key + b"\x000.5") for key in (b"gamma", b"chromaticity", b"srgb", b"icc_profile", b"dpi")]
    picture = Picture.open(in_png(*texts))
    assert (picture.icc_profile, picture.density, picture.notes) == (None, None, ())


def test_profiles_made_here_are_the_same_bytes_and_programs_read_them() -> None:
    made = matrix_profile("Display P3", PRIMARIES[12], curve_of(13) or b"")
    assert made == matrix_profile("Display P3", PRIMARIES[12], curve_of(13) or b"")
    assert made is not None
    opened = ImageCms.ImageCmsProfile(BytesIO(made))
    assert ImageCms.getProfileDescription(opened).strip() == "Display P3"
    assert len(made) < 600
    colorant = opened.profile.red_colorant
    assert colorant is not None
    red = np.array(colorant[0])
    assert np.abs(red - P3[0]).max() < 2e-4
    plain = matrix_profile("sRGB", PRIMARIES[1], power(2.2)) or b""
    colorant = ImageCms.ImageCmsProfile(BytesIO(plain)).profile.green_colorant
    assert colorant is not None
    green = np.array(colorant[0])
    assert np.abs(green - SRGB[1]).max() < 2e-4


def test_grey_pictures_keep_what_they_declare() -> None:
    picture = Picture.open(in_png(gama(0.55556), image=SCENE.convert("L")))
    assert picture.icc_profile is not None
    grey = np.asarray(SCENE.convert("L"), np.uint8)
    expected = as_srgb(np.repeat(grey[..., None], 3, -1), SRGB_XY, exponent(1.8))
    assert np.abs(picture.srgb - expected).max() < 1.5


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_ordinary_files_declare_nothing(fmt: str, mode: str) -> None:
    picture = Picture.open(encode(SCENE.convert(mode), fmt, **LOSSLESS[fmt]))
    assert (picture.icc_profile, picture.notes) == (None, ())
