"""Masks on the command line: read, refused or told of before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.command import Command, mask_file

TEXTS = ("--from", "a horse on grass", "--to", "a zebra on grass")
BOX = (20, 10, 40, 30)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A map of three classes; class 4 is the box."""
    numbers = np.zeros((47, 61), np.uint8)
    numbers[30:45, 5:50] = 2
    numbers[10:30, 20:40] = 4
    Image.fromarray(numbers).save(tmp_path / "labels.png")
    return tmp_path / "labels.png"


def edited(wordbrush: Command, picture: Path, quick: list[str], mask: object, tmp_path: Path) -> tuple[Path, str]:
    out = tmp_path / "out.png"
    command = ["edit", picture, *TEXTS, *quick, "--mask", str(mask), "--feather", "0", "-o", out, "--force", "-q"]
    done = wordbrush(*command)
    assert done.code == 0, done.err
    return out, done.err


def changed(one: Path, other: Path) -> NDArray[np.bool_]:
    with Image.open(one) as first, Image.open(other) as second:
        differs = np.asarray(first.convert("RGB")) != np.asarray(second.convert("RGB"))
    return np.asarray(differs.any(axis=2))


def test_masks_of_every_kind_edit_the_same_part(
    wordbrush: Command, picture: Path, quick: list[str], labels: Path, tmp_path: Path
) -> None:
    plain, _ = edited(wordbrush, picture, quick, mask_file(tmp_path / "plain.png", (61, 47), BOX), tmp_path)
    meant = plain.read_bytes()
    white = np.zeros((47, 61), np.uint8)
    white[10:30, 20:40] = 255
    with Image.open(picture) as image:
        erased = image.convert("RGBA")
    erased.putalpha(Image.fromarray(255 - white))
    erased.save(tmp_path / "erased.webp", lossless=True)
    Image.fromarray(white // 255).save(tmp_path / "ones.png")
    Image.fromarray(np.maximum(white, 1)).save(tmp_path / "nearly.png")
    Image.fromarray(white.astype(np.uint16)).save(tmp_path / "wide.png")
    Image.fromarray(np.dstack([white * 0, white * 0, white])).save(tmp_path / "blue.png")
    for name in ("ones.png", "nearly.png", "wide.png", "blue.png", "erased.webp", "labels.png#4"):
        out, err = edited(wordbrush, picture, quick, tmp_path / name, tmp_path)
        assert out.read_bytes() == meant, name
        assert ("erased part" in err) == (name == "erased.webp"), err
    inside = changed(picture, out)
    assert inside[12:28, 22:38].mean() > 0.9
    inside[10:30, 20:40] = False
    assert not inside.any()


def test_a_mask_is_refused_before_the_model_is_loaded(
    wordbrush: Command, picture: Path, labels: Path, tmp_path: Path
) -> None:
    command = ["edit", picture, *TEXTS, "--model", tmp_path / "no such model", "-o", tmp_path / "out.png"]
    wordbrush(*command, "--mask", labels).failed(3, "labels of classes", f"{labels}#4")
    wordbrush(*command, "--mask", f"{labels}#9").failed(3, "there is no class 9")
    wordbrush(*command, "--mask", picture).failed(3, "in.png: ", "not a mask")
    wordbrush(*command, "--exclude", mask_file(tmp_path / "turned.png", (47, 61), BOX)).failed(
        3, "exclude: 47 × 61 for a picture of 61 × 47", "turned by a quarter"
    )
    with Image.open(picture) as image:
        image.convert("L").save(tmp_path / "grey.png")
    wordbrush(*command, "--include", tmp_path / "grey.png").failed(3, "include: this is the picture itself")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("words", [["edit", "--dry-run"], ["mask", "-o", "out.png"]])
def test_what_is_odd_is_told_before_the_model_is_loaded(
    wordbrush: Command, picture: Path, tmp_path: Path, words: list[str]
) -> None:
    verb, *more = words
    dot = mask_file(tmp_path / "dot.png", (61, 47), (3, 3, 4, 4))
    square = mask_file(tmp_path / "square.png", (50, 50), (0, 0, 50, 50))
    done = wordbrush(
        verb, picture, *TEXTS, *more, "--model", tmp_path / "no such model", "--include", dot, "--exclude", square
    )
    assert done.code == 4
    told = done.err.splitlines()
    assert told[:-1] == [
        "warning: include: it adds next to nothing: 0.035 % of the picture",
        "warning: exclude: its shape is not that of the picture: 50 × 50 for a picture of 61 × 47; it is stretched",
        "warning: exclude: it leaves nothing to edit",
    ]


def test_each_thing_is_said_once_and_stands_in_the_report(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    full = mask_file(tmp_path / "full.png", (61, 47), (0, 0, 61, 47))
    command = ["edit", picture, "--to", "a zebra", *quick, "--mask", full, "--seed", "1,2", "--eta", "0.5"]
    done = wordbrush(*command, "-o", tmp_path / "out.png", "--json")
    assert done.err.count("mask: it leaves nothing to keep") == 1
    for result in done.json["results"]:
        assert result["warnings"] == ["mask: it leaves nothing to keep"]


def test_a_chosen_class_is_recorded_as_a_mask_and_replays(
    wordbrush: Command, picture: Path, quick: list[str], labels: Path, tmp_path: Path
) -> None:
    out, _ = edited(wordbrush, picture, quick, f"{labels}#2", tmp_path)
    again = wordbrush("replay", out, "-o", tmp_path / "again.png", "--json")
    assert again.code == 0, again.err
    assert again.json["identical"]
    given = wordbrush("replay", out, "--mask", f"{labels}#2", "-o", tmp_path / "third.png", "--json")
    assert given.json["identical"]
    wordbrush("replay", out, "--mask", f"{labels}#4", "-o", tmp_path / "no.png").failed(3, "not the recorded mask")
