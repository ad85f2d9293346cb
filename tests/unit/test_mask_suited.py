"""Whether masks belong to a picture: shapes, turns, the picture itself, next to nothing; told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import toy
from tests.support.command import picture_file
from wordbrush.errors import MaskError
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask
from wordbrush.region.suited import suited
from wordbrush.request import EditRequest
from wordbrush.result import EditResult

SIZE = (180, 120)
DARK, HALF = "dark left, dark right", "dark left, light right"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Picture:
    return Picture.open(picture_file(tmp_path_factory.mktemp("pictures") / "in.png", SIZE))


def box(size: tuple[int, int] = SIZE, share: float = 0.4) -> Mask:
    width, height = size
    return Mask.from_box(size, (0, 0, round(width * share), max(1, round(height * share))))


def notes_of(picture: Picture, **masks: Mask) -> list[str]:
    return [f"{name}: {note}" for name, mask in suited(masks, picture).items() for note in mask.notes]


@pytest.mark.parametrize("size", [SIZE, (90, 60), (360, 240), (45, 30), (181, 120), (91, 60), (256, 171), (192, 128)])
@pytest.mark.parametrize("name", ["mask", "include", "exclude"])
def test_scaled_masks_are_not_worth_a_word(picture: Picture, size: tuple[int, int], name: str) -> None:
    mask = box(size)
    assert suited({name: mask}, picture) == {name: mask}


@pytest.mark.parametrize("size", [(120, 120), (180, 180), (360, 120), (200, 120), (1, 90), (180, 1), (64, 64)])
def test_another_shape_is_told_with_both_sizes(picture: Picture, size: tuple[int, int]) -> None:
    told = notes_of(picture, mask=Mask(np.full(size[::-1], 0.7, np.float32)))
    assert told[0].startswith("mask: its shape is not that of the picture")
    assert f"{size[0]} × {size[1]} for a picture of 180 × 120; it is stretched" in told[0]


@pytest.mark.parametrize("size", [(120, 180), (60, 90), (240, 361)])
def test_a_quarter_turn_is_refused_by_name(picture: Picture, size: tuple[int, int]) -> None:
    for name in ("mask", "include", "exclude"):
        with pytest.raises(MaskError, match=rf"{name}: {size[0]} × {size[1]} .* turned by a quarter"):
            suited({name: box(size)}, picture)


def test_the_latent_of_the_model_has_a_shape_of_its_own(picture: Picture) -> None:
    assert suited({"mask": box((16, 16))}, picture, latent_size=(16, 16))["mask"].notes == ()
    assert suited({"mask": box((12, 18))}, picture, latent_size=(12, 18))["mask"].notes == ()


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_picture_itself_is_no_mask(picture: Picture, scale: int) -> None:
    image = Image.fromarray(picture.srgb).resize((SIZE[0] // scale, SIZE[1] // scale), Image.Resampling.LANCZOS)
    for grey in (image.convert("L"), Image.fromarray(np.asarray(image).max(axis=2))):
        with pytest.raises(MaskError, match="include: this is the picture itself"):
            suited({"include": Mask.from_image(grey)}, picture)
    assert suited({"mask": Mask.from_image(image.convert("L")).binarise()}, picture)["mask"].notes == ()


@pytest.mark.parametrize(
    ("name", "cells", "words"),
    [
        ("mask", 0, "mask: it is empty: it edits nothing"),
        ("mask", 30, "mask: it edits next to nothing: 0.14 % of the picture"),
        ("mask", 21590, "mask: it leaves next to nothing (0.046 % of the picture) to keep"),
        ("mask", 21600, "mask: it leaves nothing to keep"),
        ("include", 0, "include: it is empty: it adds nothing"),
        ("include", 9, "include: it adds next to nothing: 0.042 % of the picture"),
        ("include", 21600, "include: it leaves nothing to keep"),
        ("exclude", 0, "exclude: it is empty: it protects nothing"),
        ("exclude", 5, "exclude: it protects next to nothing: 0.023 % of the picture"),
        ("exclude", 21600, "exclude: it leaves nothing to edit"),
    ],
)
def test_next_to_nothing_is_told(picture: Picture, name: str, cells: int, words: str) -> None:
    values = np.zeros(SIZE[0] * SIZE[1], np.float32)
    values[:cells] = 1
    assert notes_of(picture, **{name: Mask(values.reshape(SIZE[::-1]))}) == [words]


@pytest.mark.parametrize("cells", [44, 180, 10_000, 21_400])
def test_little_is_not_nothing(picture: Picture, cells: int) -> None:
    values = np.zeros(SIZE[0] * SIZE[1], np.float32)
    values[:cells] = 1
    for name in ("mask", "include", "exclude"):
        assert notes_of(picture, **{name: Mask(values.reshape(SIZE[::-1]))}) == []


def test_a_weak_mask_and_one_without_black_are_told(picture: Picture) -> None:
    x = np.tile(np.linspace(0, 1, SIZE[0], dtype=np.float32), (SIZE[1], 1))
    assert notes_of(picture, mask=Mask(x)) == []
    weak, dark = "its strongest value is 0.3 of 1: nothing is fully white", "its darkest value is 0.1 of 1: nothing is"
    assert notes_of(picture, mask=Mask(x * 0.3)) == [f"mask: {weak}"]
    assert notes_of(picture, mask=Mask(0.1 + 0.9 * x)) == [f"mask: {dark} fully black"]


def test_what_exclude_leaves_is_told(picture: Picture) -> None:
    mask, wide = box(), box(share=0.6)
    for names in (("mask",), ("include",), ("mask", "include")):
        given = dict.fromkeys(names, mask)
        words = f"exclude: it leaves nothing of {' and '.join(names)} to edit"
        assert notes_of(picture, **given, exclude=wide) == [words]
        assert notes_of(picture, **given, exclude=box(share=0.2)) == []
    nearly = mask - Mask.from_box(SIZE, (0, 0, 5, 5))
    assert notes_of(picture, mask=mask, exclude=nearly) == ["exclude: it leaves next to nothing of mask to edit"]
    assert notes_of(picture, mask=mask, include=~mask) == []


def test_notes_are_said_once(picture: Picture) -> None:
    once = suited({"mask": Mask.empty(SIZE)}, picture)
    assert suited(once, picture)["mask"].notes == once["mask"].notes


# ---- in Python


def test_python_tells_in_the_report_and_refuses_before_the_network_runs(tmp_path: Path) -> None:
    editor, source = toy.editor(), picture_file(tmp_path / "in.png", (48, 32))
    tall = Mask.from_box((32, 48), (0, 0, 16, 48))
    before = editor.driver.rows
    with pytest.raises(MaskError, match="turned by a quarter"):
        editor.edit(source, HALF, DARK, mask=tall)
    with pytest.raises(MaskError, match="not a mask"):
        editor.edit(source, HALF, DARK, mask=source)
    labels = np.zeros((32, 48), np.uint8)
    labels[:20, :10] = 4
    for name in ("mask", "include", "exclude"):
        given: dict[str, Any] = {name: labels}
        with pytest.raises(MaskError, match="labels"):
            editor.edit(source, HALF, DARK, **given)
    assert editor.driver.rows == before
    square = Mask.from_box((32, 32), (0, 0, 16, 32))
    result = editor.edit(source, HALF, DARK, mask=square, exclude=Mask.from_box((48, 32), (0, 0, 40, 32)))
    assert result.report.warnings[:2] == (
        "mask: its shape is not that of the picture: 32 × 32 for a picture of 48 × 32; it is stretched",
        "exclude: it leaves nothing of mask to edit",
    )
    hole = Image.open(source).convert("RGBA")
    hole.paste((0, 0, 0, 0), (8, 8, 24, 24))
    told = editor.edit(source, HALF, DARK, mask=hole)
    assert "mask: a picture with an erased part" in told.report.warnings[0]
    assert np.array_equal(told.mask.values[8:24, 8:24], np.ones((16, 16)))


def test_a_sound_mask_is_not_worth_a_word(tmp_path: Path) -> None:
    editor, source = toy.editor(), picture_file(tmp_path / "in.png", (48, 32))
    file = tmp_path / "mask.png"
    Mask.from_box((96, 64), (10, 10, 50, 50)).feather(8).save(file)
    before = [warning for warning in editor.edit(source, HALF, DARK).report.warnings if "mask" not in warning]
    result = editor.edit(source, HALF, DARK, mask=file)
    assert list(result.report.warnings) == before == []


def test_in_a_batch_a_mask_of_another_picture_fails_alone(tmp_path: Path) -> None:
    editor, source = toy.editor(), picture_file(tmp_path / "in.png", (48, 32))
    masks = [Mask.from_box((48, 32), (0, 0, 20, 20)), Mask.from_box((32, 48), (0, 0, 20, 20))]
    requests = [EditRequest(picture=source, query=HALF, reference=DARK, mask=mask) for mask in masks]
    good, bad = editor.edit_batch(requests, on_error="return")
    assert isinstance(good, EditResult)
    assert good.mask.area > 0
    assert isinstance(bad, MaskError)
