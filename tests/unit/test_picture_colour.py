"""ICC profiles: kept, converted for the model, converted back, or ignored."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.pictures import (
    LOSSLESS,
    TOLERANCE,
    distance,
    encode,
    gamma,
    one_way_profile,
    p3_to_srgb,
    profile,
    rgb_profile,
    scene,
)
from wordbrush.errors import PictureError
from wordbrush.picture.picture import Picture


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_rgb_profile_is_kept_and_converted_for_the_model(fmt: str) -> None:
    icc = rgb_profile()
    picture = Picture.open(encode(Image.fromarray(scene()), fmt, icc_profile=icc, **LOSSLESS[fmt]))
    assert picture.icc_profile == icc
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(fmt, 0)
    reference = ImageCms.profileToProfile(
        Image.fromarray(picture.pixels), ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.NOOPTIMIZE,
    )  # fmt: skip
    assert distance(picture.srgb, np.asarray(reference)) <= 3
    assert np.abs(picture.srgb - p3_to_srgb(picture.pixels)).max() <= 3
    assert distance(picture.srgb, picture.pixels) > 10


def test_edits_are_converted_into_the_pictures_profile() -> None:
    picture = Picture.open(encode(Image.fromarray(scene()), icc_profile=rgb_profile()))
    half = np.zeros((32, 48), np.float32)
    half[:, 24:] = 1
    edited = scene(48, 32)[::-1].copy()
    result = picture.compose(edited, half)
    assert result.info["icc_profile"] == picture.icc_profile
    again = Picture.open(encode(result))
    assert distance(again.pixels[:, :24], picture.pixels[:, :24]) == 0
    assert distance(again.srgb[:, 24:], edited[:, 24:]) <= 3


def test_grey_profile_is_converted_to_srgb() -> None:
    icc = profile(b"GRAY", {b"kTRC": gamma(1.0)})
    picture = Picture.open(encode(Image.fromarray(scene()[..., 0]), icc_profile=icc))
    assert picture.icc_profile is None
    linear = scene()[..., :1] / 255.0
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(picture.pixels - expected).max() <= 3
    assert picture.notes == ("GRAY profile converted to sRGB",)


def test_grey_picture_with_an_rgb_profile_keeps_it() -> None:
    picture = Picture.open(encode(Image.fromarray(scene()[..., 0]), icc_profile=rgb_profile()))
    assert picture.icc_profile == rgb_profile()


def test_cmyk_with_and_without_profile() -> None:
    image = Image.fromarray(scene()).convert("CMYK")
    plain = Picture.open(encode(image, "TIFF"))
    assert distance(plain.pixels, np.asarray(image.convert("RGB"))) == 0
    assert plain.notes == ("CMYK without a usable profile: colours are approximate",)

    def paper(ink: tuple[int, ...]) -> tuple[int, int, int]:
        return (0 if ink[3] else round(255 * (1 - sum(ink[:3]) / 4)), 128, 128)

    icc = one_way_profile(b"CMYK", 4, paper)
    for fmt in ("TIFF", "JPEG"):
        picture = Picture.open(encode(image, fmt, icc_profile=icc))
        assert picture.icc_profile is None
        assert picture.notes == ("CMYK profile converted to sRGB",)
        assert picture.pixels.std(axis=-1).max() < 2  # the profile prints in greys
        assert picture.pixels.std() > 10


def test_profile_that_works_one_way_is_converted_at_once() -> None:
    icc = one_way_profile(b"RGB ", 3, lambda c: (85 * sum(c), 128, 128))
    picture = Picture.open(encode(Image.fromarray(scene()), icc_profile=icc))
    assert picture.icc_profile is None
    assert picture.notes == ("ICC profile works one way only: picture converted to sRGB",)
    assert picture.pixels.std(axis=-1).max() < 2


@pytest.mark.parametrize(("icc", "note"), [
    (b"short", "it is damaged"),
    (b"\xff" * 500, "it is damaged"),
    (rgb_profile()[:300], "it is damaged"),
    (profile(b"RGB ", {}), "it is damaged"),
    (profile(b"GRAY", {b"kTRC": gamma(2.2)}), "it is for GRAY, the pixels are RGB"),
])  # fmt: skip
def test_unusable_profiles_are_ignored_with_a_note(icc: bytes, note: str) -> None:
    picture = Picture.open(encode(Image.fromarray(scene()), icc_profile=icc))
    assert picture.icc_profile is None
    assert picture.notes == (f"ICC profile ignored: {note}",)
    assert distance(picture.pixels, scene()) == 0


def test_unusable_grey_profile_is_ignored_with_a_note() -> None:
    grey = scene()[..., 0]
    picture = Picture.open(encode(Image.fromarray(grey), icc_profile=profile(b"GRAY", {})))
    assert picture.notes == ("ICC profile ignored: it is damaged",)
    assert distance(picture.pixels, np.repeat(grey[..., None], 3, -1)) == 0


def test_pictures_made_by_hand_report_a_damaged_profile() -> None:
    picture = Picture(scene(), None, b"\xff" * 500, "", None, None, ())
    with pytest.raises(PictureError, match="ICC"):
        _ = picture.srgb
