"""What arrays, images and files mean as masks: labels, depths, palettes, colours, transparency, losses."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tests.support.command import picture_file
from wordbrush.errors import MaskError
from wordbrush.region.mask import Mask

Array = NDArray[Any]

SIZE = (200, 150)
BLACK, WHITE = np.zeros((150, 200), np.uint8), np.full((150, 200), 255, np.uint8)


def drawing(fine: int = 1) -> Image.Image:
    """A white disc and a bar on black; with `fine` above 1 its edges have greys."""
    image = Image.new("L", (200 * fine, 150 * fine))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40 * fine, 30 * fine, 120 * fine, 110 * fine), fill=255)
    draw.rectangle((150 * fine, 20 * fine, 170 * fine, 120 * fine), fill=255)
    return image.resize(SIZE, Image.Resampling.BOX)


MEANT = np.asarray(drawing()) > 0
FAR = np.asarray(drawing().filter(ImageFilter.MaxFilter(33))) == 0
"""What lies at least two blocks of JPEG away from the drawing."""


def file(image: Image.Image | Array, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def coloured(inside: tuple[int, ...], outside: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(MEANT[..., None], inside, outside).astype(np.uint8))


def layered(colours: Array, alpha: Array) -> Image.Image:
    rgb = np.broadcast_to(colours, (*alpha.shape, 3))
    return Image.fromarray(np.dstack((rgb, alpha)).astype(np.uint8))


def palette(indices: Array, colours: list[int]) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def voc_colours() -> list[int]:
    """The colour map of PASCAL VOC: the bits of the class, spread over the channels from the top."""
    colours = []
    for index in range(256):
        colours += [sum(((index >> (3 * bit + shift)) & 1) << (7 - bit) for bit in range(3)) for shift in range(3)]
    return colours


def classes(*numbers: int) -> Array:
    """A label map of areas: the first number is the ground."""
    labels = np.full((150, 200), numbers[0], np.int64)
    boxes = ((20, 20, 80, 60), (50, 80, 180, 130), (120, 10, 190, 50), (5, 70, 40, 140))
    for number, (left, top, right, bottom) in zip(numbers[1:], boxes, strict=False):
        labels[top:bottom, left:right] = number
    return labels


def photograph() -> Array:
    y, x = np.mgrid[:150, :200]
    planes = [x + 20 * np.sin(y / 3), 220 * y / 150 + 30 * np.cos(x / 5), 120 + 90 * np.sin(x / 7) * np.cos(y / 5)]
    grain = np.random.default_rng(1).normal(0, 6, (150, 200, 3))
    return np.clip(np.stack(planes, axis=-1) + grain, 0, 255).astype(np.uint8)


def read(source: Any, **options: Any) -> Mask:
    if isinstance(source, bytes):
        return Mask.open(source, **options)
    return Mask.from_image(source, **options) if isinstance(source, Image.Image) else Mask.from_array(source, **options)


# ---- what is black and white, however it is stored


@pytest.mark.parametrize(
    "source",
    [
        MEANT,
        MEANT.astype(np.uint8),
        MEANT.astype(np.float64),
        MEANT * 255,
        MEANT.astype(np.int32) * 65535,
        file(MEANT),
        file(MEANT.astype(np.uint8)),
        file(Image.fromarray(MEANT.astype(np.uint8)).convert("RGB")),
        file(MEANT.astype(np.uint8), "TIFF"),
        *(file(MEANT.astype(np.uint16) * white) for white in (1, 255, 256, 257, 65280, 65535)),
        *(MEANT.astype(np.uint16) * np.uint16(white) for white in (1, 255, 256, 65535)),
        file(MEANT.astype(np.int32) * 255, "TIFF"),
        file(MEANT.astype(np.float32), "TIFF"),
        Image.fromarray(MEANT.astype(np.uint8)).convert("LA"),
        palette(MEANT, [0, 0, 0, 255, 255, 255]),
        palette(~MEANT, [255, 255, 255, 0, 0, 0]),
        palette(MEANT, [0, 0, 0, 1, 1, 1]),
        palette(MEANT, voc_colours()),
        coloured((255, 0, 0), (0, 0, 0)),
        coloured((0, 0, 255), (0, 0, 0)),
        file(coloured((255, 120, 0), (4, 0, 0))),
        layered(photograph() * 0 + 255, WHITE * MEANT),
        file(layered(np.array([30, 90, 200]), WHITE * MEANT)),
        np.where(MEANT, 254, 0).astype(np.uint8),
        np.where(MEANT, 251, 4).astype(np.uint8),
        np.where(MEANT, 65000, 500).astype(np.uint16),
        np.where(MEANT, 255 - classes(0, 1, 2, 3), np.random.default_rng(0).integers(0, 4, MEANT.shape)),
        np.where(MEANT, 255, np.random.default_rng(0).integers(0, 3, MEANT.shape)).astype(np.uint8),
        file(drawing(), "AVIF", quality=70),
    ],
)  # fmt: skip
def test_black_and_white_are_told_from_each_other(source: Any) -> None:
    mask = read(source)
    assert np.array_equal(mask.values, MEANT.astype(np.float32))
    assert mask.notes == ()


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (palette(MEANT * 15, voc_colours()), "a palette of classes: 15 is edited"),
        (file(palette(MEANT * 3, voc_colours()), transparency=0), "a palette of classes: 3 is edited"),
        (layered(np.zeros(3), WHITE * MEANT), "a drawing in black on transparent"),
        (layered(np.zeros(3), WHITE * ~MEANT), "black with an erased part: the erased part"),
        (file(Image.merge("LA", [Image.fromarray(p) for p in (BLACK, WHITE * ~MEANT)])), "black with an erased part"),
        (layered(photograph(), WHITE * ~MEANT), "a picture with an erased part"),
        (file(layered(photograph(), WHITE * ~MEANT), "WEBP", quality=80), "a picture with an erased part"),
        (layered(photograph()[..., :1], WHITE * ~MEANT), "a picture with an erased part"),
        (layered(255 * MEANT[..., None], np.where(FAR, 0, 255)), "black, white and transparent parts"),
    ],
)
def test_what_was_made_out_is_told(source: Any, note: str) -> None:
    mask = read(source)
    assert np.array_equal(mask.values, MEANT.astype(np.float32))
    assert len(mask.notes) == 1
    assert note in mask.notes[0]


def test_the_hole_of_a_picture_keeps_its_soft_edge() -> None:
    alpha = 255 - np.asarray(drawing().filter(ImageFilter.GaussianBlur(6)))
    for colours in (photograph(), np.zeros(3)):
        mask = Mask.open(file(layered(colours, alpha)))
        np.testing.assert_allclose(mask.values, 1 - alpha / 255, atol=1e-6)
    drawn = Mask.open(file(layered(np.array([250, 10, 10]), 255 - alpha)))
    np.testing.assert_allclose(drawn.values, 1 - alpha / 255, atol=1e-6)
    assert drawn.notes == ()


def test_a_sheet_with_a_hole_of_its_own_is_told() -> None:
    mask = Mask.from_image(layered(np.array([255, 255, 255]), WHITE * ~MEANT))
    assert np.array_equal(mask.values, 1 - MEANT)
    assert "what is drawn" in mask.notes[0]
    clear = Mask.from_image(layered(255 * MEANT[..., None], WHITE // 5 * 4))
    np.testing.assert_allclose(clear.values, MEANT * 204 / 255, atol=1e-6)
    assert "transparent by 20 %" in clear.notes[0]


# ---- labels


@pytest.mark.parametrize("numbers", [(0, 1, 2), (0, 2), (0, 1, 2, 5), (3,), (0, 15), (0, 15, 255), (0, 1, 255)])
@pytest.mark.parametrize("how", ["array", "wide", "image", "file", "deep", "palette"])
def test_several_classes_are_refused_and_one_can_be_chosen(numbers: tuple[int, ...], how: str, tmp_path: Path) -> None:
    labels = classes(*numbers)
    grey = labels.astype(np.uint8)
    path = tmp_path / "labels.png"
    sources: dict[str, Any] = {
        "array": grey, "wide": labels, "image": Image.fromarray(grey), "file": path, "deep": path,
        "palette": palette(grey, voc_colours()),
    }  # fmt: skip
    path.write_bytes(file(grey if how == "file" else labels.astype(np.uint16)))
    source = sources[how]
    if how == "palette" and len(numbers) < 3:
        assert np.array_equal(Mask.from_image(source).values, labels > 0)
    else:
        with pytest.raises(MaskError, match=r"holds|shows") as refused:
            Mask.open(path) if source is path else read(source)
        share = f"{(labels == numbers[-1]).mean():.1%}".replace("%", " %")
        assert f"{numbers[-1]} ({share})" in str(refused.value)
        last = [number for number in numbers if 0 < number < 255 or how == "palette"][-1]
        advice = f"{path}#{last}" if source is path else f"label={last}"
        assert advice in str(refused.value)
    for number in numbers:
        chosen = Mask.open(path, label=number) if source is path else read(source, label=number)
        assert np.array_equal(chosen.values, labels == number)
        if source is path:
            assert np.array_equal(Mask.open(f"{path}#{number}").values, chosen.values)
    with pytest.raises(MaskError, match=r"no class 77: it holds"):
        read(file(grey), label=77)


def test_bytes_have_no_name_to_choose_a_class_by() -> None:
    with pytest.raises(MaskError, match="save the one you mean in black and white") as refused:
        Mask.open(file(classes(0, 7, 9).astype(np.uint8)))
    assert "#" not in str(refused.value)
    assert "label=" not in str(refused.value)


def test_a_file_whose_name_ends_like_a_class_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.png#2"
    path.write_bytes(file(drawing()))
    assert np.array_equal(Mask.open(path).values, MEANT)
    with pytest.raises(MaskError, match="no file"):
        Mask.open(tmp_path / "other.png#2")


@pytest.mark.parametrize(
    "numbers", [(0, 17, 62, 181), (0, 62), (0, 12, 80, 149), (0, 3, 20, 77)], ids=["coco", "chair", "ade", "stuff"]
)
def test_classes_with_large_numbers_are_strengths_with_a_word(numbers: tuple[int, ...]) -> None:
    labels = classes(*numbers).astype(np.uint8)
    mask = Mask.from_array(labels)
    np.testing.assert_allclose(mask.values, labels / 255, atol=1e-6)
    assert f"if they are classes, choose one, as in label={numbers[-1]}" in mask.notes[0]


def test_classes_need_numbers() -> None:
    with pytest.raises(MaskError, match=r"divide by 255 first, or turn labels of classes into whole numbers"):
        Mask.from_array(classes(0, 1, 2).astype(np.float32))
    for source in (MEANT.astype(np.float32), Image.fromarray(MEANT.astype(np.float32))):
        with pytest.raises(MaskError, match="whole numbers"):
            read(source, label=1)
    with pytest.raises(MaskError, match="transparent parts in place of classes"):
        Mask.from_image(layered(np.zeros(3), WHITE * MEANT), label=1)


# ---- soft masks stay


def soft_masks() -> dict[str, Array]:
    y, x = np.mgrid[:150, :200]
    far = np.hypot(x - 100, y - 75)
    levels = {
        "ramp": x / 199,
        "ramp of a part": np.clip((x - 60) / 80, 0, 1),
        "cone": np.clip(1 - far / 70, 0, 1),
        "hill": np.exp(-(far**2) / 2 / 30**2),
        "decay": np.exp(-far / 20),
        "never black": 0.1 + 0.9 * x / 199,
    }
    made = {name: np.rint(255 * values).astype(np.uint8) for name, values in levels.items()}
    blurred = {f"blur {r}": np.asarray(drawing().filter(ImageFilter.GaussianBlur(r))) for r in (1, 3, 8, 20)}
    boxes = {f"box {r}": np.asarray(drawing().filter(ImageFilter.BoxBlur(r))) for r in (1, 4, 12)}
    feathered = {"feather": np.rint(255 * Mask.from_array(MEANT).feather(12).values).astype(np.uint8)}
    edges = {f"fine {n}": np.asarray(drawing(n)) for n in (2, 4)}
    greys = {"trimap": np.choose(classes(0, 1, 2), [0, 128, 255]), "faint": MEANT * 120 + ~MEANT * (x // 2)}
    return made | blurred | boxes | feathered | edges | {k: v.astype(np.uint8) for k, v in greys.items()}


@pytest.mark.parametrize("name", soft_masks())
def test_soft_masks_are_taken_as_they_are(name: str) -> None:
    levels = soft_masks()[name]
    mask = Mask.from_array(levels)
    assert np.array_equal(mask.values, levels.astype(np.float32) / np.float32(255))
    assert mask.notes == ()
    assert np.array_equal(Mask.open(file(levels)).values, mask.values)
    deep = levels.astype(np.uint16) * 256 + levels // 2  # no multiple of anything
    np.testing.assert_allclose(Mask.open(file(deep)).values, deep / 65535, atol=1e-6)


@pytest.mark.parametrize("kind", [("JPEG", 95), ("JPEG", 80), ("WEBP", 80)], ids=str)
@pytest.mark.parametrize("fine", [1, 4])
def test_losses_of_compression_do_not_reach_the_ground(kind: tuple[str, int], fine: int) -> None:
    mask = Mask.open(file(drawing(fine), kind[0], quality=kind[1]))
    assert mask.notes == ()
    assert np.abs(mask.values - np.asarray(drawing(fine)) / 255).mean() < 0.005
    assert not ((mask.values > 0) & (mask.values < 9 / 255)).any()
    assert not ((mask.values < 1) & (mask.values > 246 / 255)).any()
    assert not mask.values[FAR].any()


def test_a_poor_jpeg_is_soft_at_the_outline_alone() -> None:
    mask = Mask.open(file(drawing(), "JPEG", quality=30))
    assert not mask.values[FAR].any()
    assert np.abs(mask.binarise().values - MEANT).mean() < 0.005


# ---- refused, or told


def test_what_is_next_to_black_is_refused() -> None:
    for levels in (np.full((20, 30), 10, np.uint8), (soft_masks()["ramp"] // 25), MEANT * np.uint16(1000)):
        with pytest.raises(MaskError, match="labels of classes, or a very dark mask"):
            Mask.from_array(levels)
    dark = np.random.default_rng(0).integers(0, 10_000, (150, 200)).astype(np.uint16)
    with pytest.raises(MaskError, match="a mask so dark edits next to nothing; brighten it"):
        Mask.from_array(dark)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Image.fromarray(photograph()), "it is a picture, not a mask"),
        (file(photograph(), "JPEG"), "it is a picture, not a mask"),
        (file(Image.fromarray(photograph()).quantize(256)), "it is a picture, not a mask"),
        (coloured((255, 0, 0), (255, 255, 255)), "either could be the part to edit"),
        (palette(MEANT, [255, 255, 255, 255, 0, 0]), "class 1 or a drawing in colours"),
        (layered(np.zeros(3), np.where(np.arange(200)[None] < 124, WHITE, 0)), "a drawing, where black"),
        (layered(np.array([[[255, 0, 0]]] * 75 + [[[0, 255, 0]]] * 75), WHITE * MEANT), "a few flat colours"),
        (layered(photograph(), BLACK), "transparent everywhere"),
    ],
)
def test_what_could_mean_two_things_is_refused(source: Any, words: str) -> None:
    with pytest.raises(MaskError, match=words):
        read(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (coloured((255, 0, 0), (0, 255, 0)), "in several colours: brightness is read as strength"),
        (Image.fromarray(photograph()).convert("L"), "like a photograph"),
        (Image.fromarray(photograph()).convert("L").convert("RGB"), "like a photograph"),
        (np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8), "like a photograph"),
    ],
)
def test_what_hardly_is_a_mask_is_told(source: Any, words: str) -> None:
    assert [words in note for note in read(source).notes] == [True]


def test_a_few_coloured_pixels_do_not_make_a_coloured_mask() -> None:
    levels = np.dstack([WHITE * MEANT] * 3)
    levels[100:105, 10:40] = (255, 0, 0)
    mask = Mask.from_image(Image.fromarray(levels))
    assert "0.5 % of it is in colour" in mask.notes[0]
    assert np.array_equal(mask.values[MEANT], np.ones(int(MEANT.sum())))


def test_images_are_turned_upright_as_files_are() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file(drawing().convert("RGB"), "TIFF", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        lazy = Mask.from_image(image)
    assert lazy.size == (150, 200)
    assert np.array_equal(lazy.values, np.rot90(MEANT, -1))
    assert np.array_equal(Mask.open(data).values, lazy.values)


def test_sixteen_bits_whose_white_is_zero_are_turned() -> None:
    data = file(MEANT.astype(np.uint16) * 65535, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(Mask.open(data).values, 1 - MEANT)


def test_what_was_written_is_read_back_whatever_it_looks_like(tmp_path: Path) -> None:
    for levels in (classes(0, 1, 2, 9), classes(0, 3), classes(2, 254), MEANT * 1):
        mask = Mask((levels / 255).astype(np.float32))
        path = tmp_path / "mask.png"
        mask.save(path, force=True)
        for again in (Mask.open(path), Mask.open(mask.png_bytes()), Mask.recorded(mask.png_bytes())):
            assert again.digest() == mask.digest()
            assert again.notes == ()
        assert Mask.recorded(file(levels.astype(np.uint8))).digest() == mask.digest()  # of before the marker


def test_notes_stay_when_a_mask_is_rounded() -> None:
    mask = Mask.from_image(layered(photograph(), WHITE * ~MEANT))
    assert mask.rounded().notes == mask.notes != ()
    assert (~mask).notes == ()


def test_a_photograph_file_of_another_program_is_refused_by_name(tmp_path: Path) -> None:
    path = picture_file(tmp_path / "in.png", (300, 200))
    with pytest.raises(MaskError, match=r"in\.png: .* not a mask"):
        Mask.open(path)
