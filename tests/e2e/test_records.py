from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support import tiny
from tests.support.command import Command, edited, mask_file, picture_file
from wordbrush.record.provenance import encode_image, read_provenance

TEXTS = ("--from", "a horse", "--to", "a zebra")


@pytest.fixture(scope="module")
def once(quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return edited(tmp_path_factory.mktemp("edited"), *TEXTS, "--seed", "7", *quick, "--rule", "otsu")


@pytest.fixture
def made(once: bytes, picture: Path) -> Path:
    """A copy of one edited file for each test, beside the picture that was edited."""
    out = picture.with_name("out.png")
    out.write_bytes(once)
    return out


def test_inspect_tells_what_was_done(wordbrush: Command, made: Path) -> None:
    told = wordbrush("inspect", made)
    assert told.code == 0
    assert told.err == ""
    for part in ("a horse", "a zebra", "7", "in.png, 61 x 47", "rule otsu", "tiny"):
        assert part in told.text, part
    (made_with,) = [line for line in told.text.splitlines() if line.startswith("made with")]
    assert made_with.count("wordbrush") == 1
    record = wordbrush("inspect", made, "--json").json
    assert record == json.loads(read_provenance(made).to_json())
    assert record["seed"] == 7


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_replay_gives_the_same_bytes(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    assert wordbrush("edit", picture, *TEXTS, *quick, "--seed", "3", "--negative", "a cat", "-o", out).code == 0
    again = wordbrush("replay", out, "--json")
    assert again.code == 0, again.err
    assert again.json["identical"] is True
    assert again.json["same_weights"] is True
    assert again.json["other_packages"] == {}
    assert (tmp_path / f"out-replay{suffix}").read_bytes() == out.read_bytes()


def test_replay_with_masks_of_the_user(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    mine = mask_file(tmp_path / "mine.png", (61, 47), (10, 10, 40, 30))
    less = mask_file(tmp_path / "less.png", (200, 100), (60, 0, 90, 100))
    out = tmp_path / "out.png"
    done = wordbrush("edit", picture, *TEXTS, *quick, "--mask", mine, "--exclude", less, "-o", out)
    assert done.code == 0, done.err
    mine.unlink()
    less.unlink()
    done = wordbrush("replay", out, "-o", tmp_path / "again.png")
    assert (done.code, done.text) == (0, "identical\n"), done.err
    wordbrush("replay", out, "--include", picture, "--force").failed(3, "--include")


def test_replay_after_the_preset_only_was_named(
    wordbrush: Command, picture: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    flags = ("--model", tiny_folder, "--preset", "fast", "--steps", "4", "--resolution", "48")
    assert wordbrush("edit", picture, *TEXTS, *flags, "-o", out).code == 0
    assert wordbrush("replay", out).text == "identical\n"


def test_replay_of_a_record_from_before_some_switches(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    out, old = tmp_path / "out.png", tmp_path / "old.png"
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", out).code == 0
    record = read_provenance(out)
    settings = {name: value for name, value in record.settings.items() if name not in {"contrast_seed", "invert"}}
    assert len(settings) == len(record.settings) - 2
    with Image.open(out) as image:
        old.write_bytes(encode_image(image, ".png", dataclasses.replace(record, settings=settings)))
    assert wordbrush("replay", old).text == "same pixels\n"  # the new record tells those switches, too


def test_replay_honours_the_seed_of_the_contrast_and_the_inversion(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    flags = ("--contrast-seed", str(2**40), "--invert", "--eta", "0.5", "--seed", "3")
    assert wordbrush("edit", picture, *TEXTS, *quick, *flags, "-o", out).code == 0
    assert wordbrush("replay", out).text == "identical\n"


def test_replay_refuses_what_is_not_recorded(wordbrush: Command, made: Path, picture: Path, tmp_path: Path) -> None:
    other = picture_file(tmp_path / "other.png", (61, 48))
    wordbrush("replay", made, "--input", other).failed(3, "SHA-256")
    wordbrush("replay", made, "-o", made).failed(3, "--force")
    picture.rename(tmp_path / "elsewhere.png")
    wordbrush("replay", made).failed(3, "--input")
    assert not (tmp_path / "out-replay.png").exists()
    done = wordbrush("replay", made, "--input", tmp_path / "elsewhere.png")
    assert done.text == "identical\n", done.err


def test_replay_needs_texts_and_a_record(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    silent = tmp_path / "silent.png"
    assert wordbrush("edit", picture, *TEXTS, *quick, "--no-prompt", "-o", silent).code == 0
    wordbrush("replay", silent).failed(3, "texts")
    assert "left out" in wordbrush("inspect", silent).text
    wordbrush("inspect", picture).failed(3, "in.png")
    wordbrush("replay", picture).failed(3, "in.png")


def test_changed_pixels_are_told(wordbrush: Command, made: Path, tmp_path: Path) -> None:
    """A file whose pixels were changed after it was made: the replay says so."""
    info = PngInfo()
    with Image.open(made) as image:
        for key, value in image.text.items():  # type: ignore[attr-defined]
            info.add_text(key, value)
        changed = image.convert("RGB")
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(tmp_path / "changed.png", pnginfo=info)
    done = wordbrush("replay", tmp_path / "changed.png")
    assert (done.code, done.text) == (0, "different\n"), done.err


def test_other_weights_are_told(wordbrush: Command, picture: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "model", tmp_path / "out.png"
    tiny.write_folder(folder, "sd1")
    assert wordbrush("edit", picture, *TEXTS, "--model", folder, "--steps", "5", "--maps", "2", "-o", out).code == 0
    shutil.rmtree(folder)
    tiny.write_folder(folder, "sd2")
    refused = wordbrush("replay", out, "-q")
    refused.failed(3, str(folder), "--model")
    done = wordbrush("replay", out, "--json", "--model", folder)
    assert done.code == 0, done.err
    assert (done.json["identical"], done.json["same_weights"]) == (False, False)
    assert "not those of the record" in done.err
