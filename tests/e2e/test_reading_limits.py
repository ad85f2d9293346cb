"""How large pictures, masks and files may be: in Python, by the switches of the commands, and in the workbench."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command import Command, command_of
from tests.support.pictures import encode, scene
from wordbrush.cli.reading import limits_of
from wordbrush.errors import MaskError, PictureError, SettingsError
from wordbrush.picture.limits import MAX_BYTES, MAX_PIXELS, ReadingLimits, limited, reading_limits
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask
from wordbrush.web.options import Limits

TEXTS = ("--from", "a horse on grass", "--to", "a zebra on grass", "--preset", "fast")


@pytest.fixture
def wordbrush(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capsysbinary)


def test_limits_lie_above_what_cameras_and_this_program_write() -> None:
    assert MAX_PIXELS >= 12_000 * 9_000, "a phone of 108 megapixels"
    assert MAX_BYTES >= 12_000 * 9_000 * 1.45, "its lossless result, by what a camera's noise takes"
    assert (Limits().pixels, Limits().file_bytes) == (50_000_000, 25_000_000), "a server keeps its own"


@pytest.mark.parametrize(("text", "value"), [
    ("200MP", 200_000_000), ("200mp", 200_000_000), ("0.5M", 500_000), ("16320x12240", 199_756_800),
    ("1_000", 1000), ("64", 64), ("1.5 G", 1_500_000_000), ("12k", 12_000),
])  # fmt: skip
def test_sizes_are_read_with_and_without_units(text: str, value: int) -> None:
    assert limits_of(text, None).pixels == value
    assert limits_of(None, None) == ReadingLimits(names=("--max-pixels", "--max-bytes"))


@pytest.mark.parametrize(("text", "value"), [("200MB", 200_000_000), ("1GiB", 1 << 30), ("5 kB", 5000), ("77", 77)])
def test_bytes_are_read_with_and_without_units(text: str, value: int) -> None:
    assert limits_of(None, text).size == value


@pytest.mark.parametrize("text", ["", "0", "-5", "MP", "1e9", "inf", "nan", "5 bananas", "1.2.3M", "0x0x0", "½M"])
def test_what_is_no_size_is_refused_by_its_flag(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--max-pixels .* is not a size"):
        limits_of(text, None)
    with pytest.raises(SettingsError, match=r"--max-bytes .* is not a size"):
        limits_of(None, text)


def test_a_block_has_limits_of_its_own_and_arguments_win() -> None:
    data = encode(Image.fromarray(scene(100, 100)))
    with limited(ReadingLimits(9_999)):
        with pytest.raises(PictureError, match="or raise max_pixels"):
            Picture.open(data)
        with pytest.raises(MaskError, match="or raise max_pixels"):
            Mask.open(data)
        assert Picture.open(data, max_pixels=10_000).size == (100, 100)
    with limited(ReadingLimits(size=99)), pytest.raises(MaskError, match="or raise max_bytes"):
        Mask.open(data)
    assert Picture.open(data).size == (100, 100)
    assert reading_limits() == ReadingLimits()


def test_the_workbench_names_nothing_that_its_visitor_has_not() -> None:
    data = encode(Image.fromarray(scene(100, 100)))
    with Limits(pixels=9_999).reading(), pytest.raises(PictureError, match=r"megapixels: make it smaller$"):
        Picture.open(data)
    with Limits(file_bytes=99).reading(), pytest.raises(PictureError, match=r"MB: save it smaller$"):
        Picture.open(data)


@pytest.mark.slow
def test_refusals_name_the_file_and_a_flag_that_helps(
    wordbrush: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wide.png").write_bytes(encode(Image.fromarray(scene(96, 64))))
    Path("mask.png").write_bytes(encode(Image.fromarray(np.full((64, 96), 255, np.uint8))))
    size = Path("wide.png").stat().st_size
    edit = ("edit", "wide.png", *TEXTS, "-o", "out.png")
    for command in (edit, ("mask", "wide.png", *TEXTS, "-o", "out.png")):
        wordbrush(*command, "--max-pixels", "6kP").failed(3, "wide.png", "96x64", "or raise --max-pixels")
        wordbrush(*command, "--max-bytes", str(size - 1)).failed(3, "wide.png", "MB", "or raise --max-bytes")
        wordbrush(*command, "--max-bytes", "many").failed(2, "--max-bytes 'many' is not a size")
    wordbrush(*edit, "--mask", "mask.png", "--max-pixels", "5kP").failed(3, "96x64", "or raise --max-pixels")
    done = wordbrush(*edit, "--mask", "mask.png", "--max-pixels", "96x64", "--max-bytes", f"{size}")
    assert done.code == 0, done.err
    wordbrush("inspect", "out.png", "--max-bytes", "500").failed(3, "out.png", "or raise --max-bytes")
    wordbrush("replay", "out.png", "--max-bytes", "500").failed(3, "out.png", "or raise --max-bytes")
    wordbrush("replay", "out.png", "--max-pixels", "6kP").failed(3, "wide.png", "or raise --max-pixels")
    assert wordbrush("inspect", "out.png").code == 0
