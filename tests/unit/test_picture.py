"""Pictures: formats, orientation, sources, composing."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.pictures import LOSSLESS, TOLERANCE, distance, encode, rgb_profile, scene
from wordbrush.errors import InputError, MaskError, PictureError
from wordbrush.picture.picture import SUPPORTED, Picture, PictureSource


@pytest.mark.parametrize("fmt", SUPPORTED)
def test_every_supported_format_opens(fmt: str) -> None:
    picture = Picture.open(encode(Image.fromarray(scene()), fmt, **LOSSLESS[fmt]))
    assert picture.format == fmt
    assert picture.size == (48, 32)
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(fmt, 0)
    assert picture.alpha is None
    assert picture.icc_profile is None
    assert picture.notes == ()
    assert picture.srgb is picture.srgb


def test_bmp_with_the_old_header_opens() -> None:
    rows = np.pad(scene(10, 4)[::-1, :, ::-1].reshape(4, 30), ((0, 0), (0, 2))).tobytes()
    data = b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + struct.pack("<IHHHH", 12, 10, 4, 1, 24) + rows
    assert distance(Picture.open(data).pixels, scene(10, 4)) == 0


STORED = {  # how an upright picture is stored under each orientation: the inverse of what EXIF asks for
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF", "TIFF-LZW", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(fmt: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    name = fmt.split("-", maxsplit=1)[0]
    options = {**LOSSLESS[name], **({"compression": "tiff_lzw"} if "-" in fmt else {})}
    data = encode(stored, name, exif=exif, **options)
    picture = Picture.open(data)
    straight = Picture.open(encode(Image.fromarray(scene()), name, **options))
    assert picture.size == (48, 32)
    assert distance(picture.pixels, straight.pixels) <= TOLERANCE.get(fmt, 0)
    with Image.open(BytesIO(data)) as lazy:
        assert distance(Picture.open(lazy).pixels, picture.pixels) == 0


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_is_ignored(fmt: str, exif: bytes) -> None:
    good = Image.Exif()
    good[0x010F] = "x" * 64
    payload = good.tobytes()
    clean = encode(Image.fromarray(scene()), fmt, exif=payload, **LOSSLESS[fmt])
    inside = payload.removeprefix(b"Exif\0\0")
    assert inside in clean
    bad = exif.removeprefix(b"Exif\0\0").ljust(len(inside), b"\xff")
    data = clean.replace(inside, bad)
    if fmt == "PNG":  # its checksum would give the damage away
        import zlib

        start = data.index(b"eXIf")
        end = start + 4 + len(bad)
        data = data[:end] + struct.pack(">I", zlib.crc32(data[start:end])) + data[end + 4 :]
    picture = Picture.open(data)
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(fmt, 0)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_turn_nothing(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert distance(Picture.open(encode(Image.fromarray(scene()), exif=exif)).pixels, scene()) == 0


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_first_frame_of_an_animation_with_a_note(fmt: str) -> None:
    first, second = Image.fromarray(scene()), Image.fromarray(scene()[::-1].copy())
    data = encode(first, fmt, save_all=True, append_images=[second, first], **LOSSLESS[fmt])
    picture = Picture.open(data)
    assert distance(picture.pixels, scene()) <= TOLERANCE.get(fmt, 0)
    expected = "several pages: first one used" if fmt == "TIFF" else "animation: first of 3 frames used"
    assert picture.notes == (expected,)


def test_sources_agree(tmp_path: Path) -> None:
    path = tmp_path / "horse.jpg"  # a PNG under a wrong name is still a PNG
    data = encode(Image.fromarray(scene()))
    path.write_bytes(data)
    by_path, by_text, by_bytes = Picture.open(path), Picture.open(str(path)), Picture.open(data)
    assert by_path.name == by_text.name == "horse.jpg"
    assert by_bytes.name is None
    assert by_path.format == "PNG"
    assert by_path.sha256 == by_text.sha256 == by_bytes.sha256
    with Image.open(path) as lazy:
        from_file = Picture.open(lazy)
    assert from_file.name == "horse.jpg"
    array, image = Picture.open(scene()), Picture.open(Image.fromarray(scene()))
    assert array.sha256 == image.sha256 == from_file.sha256 != by_path.sha256
    assert array.format is None
    assert Picture.open(array) is array
    for picture in (by_path, array, image):
        assert distance(picture.pixels, scene()) == 0
        assert not picture.pixels.flags.writeable


def test_memory_digest_tells_pictures_apart() -> None:
    base = scene()
    other_profile = Image.fromarray(base)
    other_profile.info["icc_profile"] = rgb_profile()
    sources: list[PictureSource] = [
        base,
        base[:, ::-1],
        base.reshape(48, 32, 3),
        np.dstack((base, base[..., 0])),
        other_profile,
    ]
    assert len({Picture.open(source).sha256 for source in sources}) == len(sources)


def test_arrays() -> None:
    grey = Picture.open(scene()[..., 0])
    assert distance(grey.pixels, np.repeat(scene()[..., :1], 3, -1)) == 0
    source = np.dstack((scene(), scene()[..., 0]))
    picture = Picture.open(source)
    assert picture.alpha is not None
    assert distance(picture.alpha, scene()[..., 0]) == 0
    source[:] = 0
    assert distance(picture.pixels, scene()) == 0, "the picture owns its pixels"


@pytest.mark.parametrize("array", [
    scene().astype(np.float32) / 255,
    scene() > 3,
    scene().astype(np.uint16),
    np.zeros((4, 4, 2), np.uint8),
    np.zeros((4, 4, 1), np.uint8),
    np.zeros((2, 4, 4, 3), np.uint8),
    np.zeros(7, np.uint8),
    np.zeros((0, 4, 3), np.uint8),
])  # fmt: skip
def test_arrays_of_other_kinds_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(PictureError, match=r"dtype|shape|no pixels"):
        Picture.open(array)


@pytest.mark.parametrize("source", [None, 3, [1, 2], object()])
def test_other_sources_are_refused(source: Any) -> None:
    with pytest.raises(PictureError, match="cannot open"):
        Picture.open(source)


def test_opening_never_touches_what_it_was_given() -> None:
    with Image.open(BytesIO(encode(Image.fromarray(scene()).quantize(8), icc_profile=rgb_profile()))) as image:
        before = dict(image.info)
        Picture.open(image)
        assert image.mode == "P"
        assert image.info == before


@pytest.mark.parametrize("icc", [None, rgb_profile()])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_compose(icc: bytes | None, with_alpha: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (300, 400)  # more than one chunk
    source = Image.fromarray(rng.integers(0, 256, (*shape, 4 if with_alpha else 3), np.uint8))
    picture = Picture.open(encode(source, icc_profile=icc))
    edited = rng.integers(0, 256, (*shape, 3), np.uint8)
    weight = rng.choice(np.array([0, 0.25, 0.5, 0.75, 1], np.float32), shape)
    result = picture.compose(edited, weight)
    assert result.mode == ("RGBA" if with_alpha else "RGB")
    assert result.info.get("icc_profile") == icc
    out = np.asarray(result)
    if with_alpha:
        assert (out[..., 3] == np.asarray(source)[..., 3]).all()
    full = np.asarray(picture.compose(edited, np.ones(shape, np.float32)))[..., :3]
    alpha = np.asarray(source)[..., 3] if with_alpha else np.full(shape, 255)
    if icc is None:
        assert (full == edited)[alpha == 255].all()
    assert (full == picture.pixels)[alpha == 0].all(), "what cannot be seen is not changed"
    expected = np.floor(picture.pixels + weight[..., None] * (full.astype(float) - picture.pixels) + 0.5)
    assert (out[..., :3] == expected).all()
    assert (out[weight == 0][:, :3] == picture.pixels[weight == 0]).all()
    nothing = np.asarray(picture.compose(edited, np.zeros(shape, np.float32)))
    assert (nothing == np.asarray(source)).all()


@pytest.mark.parametrize(("edited", "weight", "error"), [
    (scene(3, 3), np.zeros((32, 48), np.float32), PictureError),
    (scene() / np.float32(255), np.zeros((32, 48), np.float32), PictureError),
    (scene(), np.zeros((48, 32), np.float32), MaskError),
    (scene(), np.full((32, 48), 1.01, np.float32), MaskError),
    (scene(), np.full((32, 48), -0.01, np.float32), MaskError),
    (scene(), np.full((32, 48), np.nan, np.float32), MaskError),
])  # fmt: skip
def test_compose_refuses_what_does_not_fit(edited: Any, weight: Any, error: type[InputError]) -> None:
    with pytest.raises(error):
        Picture.open(scene()).compose(edited, weight)
