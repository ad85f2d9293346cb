"""The command line under input made to harm or confuse: flags at random, names and records with control characters."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.command import Command, command_of, picture_file
from wordbrush.cli.terminal import one_line
from wordbrush.record.provenance import Provenance, encode_image
from wordbrush.settings import Settings

FLAGS = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Settings)]
OTHERS = [
    "--seed",
    "--preset",
    "--device",
    "--dtype",
    "--lora",
    "--model",
    "--revision",
    "--mask",
    "--panel",
    "-o",
    "-x",
]
VALUES = [
    "", " ", "0", "-1", "1e400", "nan", "inf", "-inf", "9" * 400, "0x10", "½", "١", "true", "None", "--", "-", "../..",
    "a" * 5000, "\x1b[2J", "\u202e\u2066", "\ud83d", "%s%n", "$(touch hacked)", "`id`", "1,2,,3", "1-",
    "1-0", ";", "[/red]",
    "[bold]x", "con", "/dev/null", "/dev/zero", "file:///etc/passwd", "http://127.0.0.1:9", "a/b/c", "\n\nTraceback",
]  # fmt: skip


@pytest.fixture
def wordbrush(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capsysbinary)


@pytest.mark.parametrize("seed", range(60))
def test_random_flags_end_in_one_line(
    wordbrush: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever is typed: a code of the list, one printable line, no file; here the picture does not even exist."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(seed)  # noqa: S311 - the same draws every time are what is wanted
    words = [draw.choice(["edit", "edit", "edit", "mask", "replay", "inspect", "models", "demo\0"]), "none.png"]
    for _ in range(draw.randint(1, 6)):
        words.append(draw.choice(FLAGS + OTHERS))
        if draw.random() < 0.85:
            words.append(draw.choice(VALUES))
    done = wordbrush(*words)
    assert done.code in {2, 3, 4}, (words, done.err)
    assert done.out == b""
    (line,) = done.err.splitlines()
    assert line.startswith("wordbrush: ")
    assert line.isprintable()
    assert len(line) < 2200
    assert list(tmp_path.iterdir()) == []


def test_names_with_control_characters_are_shown_not_sent(wordbrush: Command, tmp_path: Path) -> None:
    done = wordbrush("edit", "\x1b]0;owned\x07\x1b[31mred.png", "--to", "a", "-o", tmp_path / "out.png")
    assert done.code == 3
    assert "\x1b" not in done.err
    assert "\\x1b[31mred.png" in done.err


def test_one_line_is_one_printable_line() -> None:
    text = one_line("a\r\n\tb\x00\x1b[0m\u2028c\u202ed\ud800" + "e" * 5000)
    assert text.isprintable()
    assert text.startswith("a b\\x00\\x1b[0m c\\u202ed\\ud800e")
    assert len(text) == 2000


def forged(tmp_path: Path, **changes: Any) -> Path:
    """Write a picture with a record of an attacker's making."""
    record = Provenance(
        schema=1, wordbrush="0.1.0",
        input={"name": "in.png", "sha256": "0" * 64, "width": 8, "height": 8},
        model={
            "name": "pocket", "family": "f", "source": "pocket", "revision": "", "sha256": "0" * 64,
            "parametrisation": "epsilon", "device": "cpu", "dtype": "float32", "loras": [],
        },
        query="a zebra", reference="", negative="", seed=0, preset=None, settings=dataclasses.asdict(Settings()),
        mask={"source": "auto", "sha256": "0" * 64, "area": 0.5}, packages={"wordbrush": "0.1.0"},
    )  # fmt: skip
    path = tmp_path / "forged.png"
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    path.write_bytes(encode_image(image, ".png", dataclasses.replace(record, **changes)))
    return path


def test_a_forged_record_cannot_drive_the_terminal(wordbrush: Command, tmp_path: Path) -> None:
    path = forged(
        tmp_path,
        query="\x1b[2J\x1b]52;c;cm0gLXJm\x07 [link=http://x]y[/link]",
        notes=("\x1b[1A\rwordbrush: all is well",),
    )
    done = wordbrush("inspect", path)
    assert done.code == 0
    assert all(line.isprintable() for line in done.text.splitlines())
    assert "[link=http://x]" in done.text


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/hostname", "..\\secret.png", "C:\\secret.png", "sub/secret.png"]
)
def test_a_forged_name_points_nowhere_else(wordbrush: Command, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for place in (tmp_path, home / "sub"):
        picture_file(place / "secret.png")
    source = {"name": name, "sha256": "0" * 64, "width": 8, "height": 8}
    done = wordbrush("replay", forged(home, input=source))
    done.failed(3, "is not there", str(home))


def test_forged_masks_and_switches_are_refused(wordbrush: Command, tmp_path: Path) -> None:
    from wordbrush.picture.picture import Picture

    picture = picture_file(tmp_path / "in.png")
    source = {"name": "in.png", "sha256": Picture.open(picture).sha256, "width": 61, "height": 47}
    base = {"source": "user", "sha256": "0" * 64, "area": 0.5}
    for entry, part in (
        ({"png": "!!!", "sha256": "0" * 64}, "base64"),
        ({"png": "aGVsbG8=", "sha256": "0" * 64}, ""),
        ({"png": None, "sha256": "0" * 64}, "--mask"),
        ({"png": 5}, "mask.given_mask"),
        ("text", "mask.given_mask"),
    ):
        wordbrush("replay", forged(tmp_path, input=source, mask={**base, "given_mask": entry})).failed(3, part)
    for settings, part in (({"steps": 10**9}, "steps"), ({"shell": "rm"}, "shell"), ({"maps": "10"}, "maps")):
        wordbrush("replay", forged(tmp_path, input=source, settings=settings)).failed(3, "settings", part)


def test_a_forged_model_is_not_fetched(wordbrush: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from wordbrush.picture.picture import Picture

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    picture = picture_file(tmp_path / "in.png")
    source = {"name": "in.png", "sha256": Picture.open(picture).sha256, "width": 61, "height": 47}
    model = {
        "name": "evil", "family": "f", "source": "evil/model", "revision": "", "sha256": "0" * 64,
        "parametrisation": "epsilon", "device": "cpu", "dtype": "float32", "loras": [],
    }  # fmt: skip
    wordbrush("replay", forged(tmp_path, input=source, model=model)).failed(4, "evil/model")
    loras = [{"source": str(tmp_path / "x.bin"), "scale": 1}]
    wordbrush("replay", forged(tmp_path, input=source, model={**model, "loras": loras})).failed(4)
    wordbrush("replay", forged(tmp_path, input=source, model={**model, "loras": ["x"]})).failed(3, "model.loras")


def test_an_output_that_is_a_link_is_not_followed(wordbrush: Command, tmp_path: Path) -> None:
    picture = picture_file(tmp_path / "in.png")
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "out.png").symlink_to(victim)
    wordbrush("edit", picture, "--to", "a", "-o", tmp_path / "out.png").failed(3, "--force")
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    wordbrush("edit", picture, "--to", "a", "-o", dangling).failed(3, "--force")
    assert victim.read_text() == "mine"
