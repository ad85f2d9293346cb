from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.command import Command
from wordbrush import errors
from wordbrush.picture.limits import MAX_BYTES

TEXTS = ("--to", "a zebra")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--maps", "0"], "maps 0"),
        (["--maps", "2.5"], "--maps"),
        (["--ratio", "1.1"], "ratio 1.1"),
        (["--ratio", "nan"], "ratio"),
        (["--rule", "magic"], "--rule"),
        (["--preset", "magic"], "preset 'magic'"),
        (["--seed", ""], "--seed"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "5-2"], "backwards"),
        (["--seed", "1-99999999999"], "--seed"),
        (["--lora", ":2"], "--lora"),
        (["--lora", "x.safetensors:inf"], "--lora"),
        (["--unheard-of"], "--unheard-of"),
        (["--resolution", "3"], "resolution 3"),
        (["--save-mask", "mask.jpg"], "--save-mask"),
        (["--save-contrast", "c.txt"], "--save-contrast"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_is_2(wordbrush: Command, picture: Path, tmp_path: Path, words: list[str], part: str) -> None:
    wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png", *words).failed(2, part)


def test_what_is_missing_is_2(wordbrush: Command, picture: Path, tmp_path: Path) -> None:
    wordbrush("edit").failed(2, "PICTURE")
    wordbrush("edit", picture, "-o", tmp_path / "out.png").failed(2, "--to")
    wordbrush("edit", picture, *TEXTS).failed(2, "-o")
    wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.xyz").failed(2, ".xyz", ".png")
    wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out").failed(2, ".png")
    wordbrush("paint").failed(2, "paint")


def test_bad_input_is_3(wordbrush: Command, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    wordbrush("edit", tmp_path / "none.png", *TEXTS, "-o", out).failed(3, "none.png")
    wordbrush("edit", tmp_path / "text.png", *TEXTS, "-o", out).failed(3, "text.png")
    wordbrush("edit", tmp_path / "empty.png", *TEXTS, "-o", out).failed(3, "empty.png")
    wordbrush("edit", tmp_path, *TEXTS, "-o", out).failed(3)
    wordbrush("inspect", tmp_path / "text.png").failed(3, "text.png")
    wordbrush("inspect", tmp_path / "none.png").failed(3, "none.png")
    wordbrush("replay", tmp_path / "none.png").failed(3, "none.png")


def test_bad_masks_are_3(wordbrush: Command, picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "mask.png"
    broken.write_bytes(picture.read_bytes()[:60])
    for flag in ("--mask", "--include", "--exclude"):
        wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png", flag, broken).failed(3)
        wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png", flag, tmp_path / "none.png").failed(
            3, "none.png"
        )


def test_models_that_cannot_be_used_are_4(
    wordbrush: Command, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    pickle = tmp_path / "model.ckpt"
    pickle.write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.")
    (tmp_path / "empty").mkdir()
    command = ("edit", picture, *TEXTS, "-o", tmp_path / "out.png", "--model")
    wordbrush(*command, "no-such-model").failed(4, "no-such-model")
    wordbrush(*command, "nobody/nothing").failed(4, "nobody/nothing", "fetch")
    wordbrush(*command, pickle).failed(4, "model.ckpt")
    wordbrush(*command, tmp_path / "empty").failed(4)
    wordbrush("models", "show", "nobody/nothing").failed(4, "nobody/nothing")


@pytest.mark.parametrize(
    ("raised", "code", "part"),
    [
        (errors.ResourceError("no memory left; lower the resolution"), 5, "no memory left"),
        (MemoryError(), 5, "out of memory"),
        (errors.NumericsError("not finite"), 4, "not finite"),
        (OSError(28, "No space left on device"), 3, "No space left"),
        (ZeroDivisionError("by zero\nsecond line"), 1, "unexpected ZeroDivisionError: by zero second line"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_failure_is_one_line_and_its_code(
    wordbrush: Command, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    raised: BaseException, code: int, part: str,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> NoReturn:
        raise raised

    monkeypatch.setattr("wordbrush.cli.edit.open_picture", fail)
    wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png").failed(code, part)
    monkeypatch.setenv("WORDBRUSH_DEBUG", "1")
    told = wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png")
    assert told.code == code
    assert "Traceback" in told.err


@pytest.mark.parametrize("command", ["edit", "mask"])
def test_of_an_output_in_the_way_and_a_model_that_is_not_there_the_model_is_told(
    wordbrush: Command, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    taken = tmp_path / "out.png"
    taken.write_bytes(b"mine")
    words = (command, picture, *TEXTS, "-o", taken)
    wordbrush(*words, "--model", "checkpoints/drawer").failed(4, "no folder checkpoints/drawer here")
    wordbrush(*words).failed(3, "exists")
    (tmp_path / "cache" / "models--checkpoints--drawer").mkdir(parents=True)
    wordbrush(*words, "--model", "checkpoints/drawer").failed(3, "exists")
    (tmp_path / "some" / "model").mkdir(parents=True)
    wordbrush(*words, "--model", "some/model").failed(3, "exists")
    assert taken.read_bytes() == b"mine"


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), errors.Cancelled("enough")], ids=["ctrl-c", "cancelled"])
def test_a_stop_is_130(
    wordbrush: Command, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    def stop(*_: object) -> NoReturn:
        raise raised

    monkeypatch.setattr("wordbrush.cli.edit.open_picture", stop)
    wordbrush("edit", picture, *TEXTS, "-o", tmp_path / "out.png").failed(130, "stopped")


def heed_control_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_control_c_leaves_nothing_behind(picture: Path, tiny_folder: Path, tmp_path: Path) -> None:
    words = ["edit", str(picture), *TEXTS, "-o", str(tmp_path / "out.png"), "--model", str(tiny_folder)]
    command = [sys.executable, "-m", "wordbrush", *words, "--steps", "1000", "--maps", "2"]
    shown = {**os.environ, "FORCE_COLOR": "1"}  # bars, as on a terminal, tell when it is at work
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stderr=pipe, stdout=pipe, env=shown, preexec_fn=heed_control_c) as process:
        assert process.stderr is not None
        seen = b""
        while b"invert into the noise" not in seen:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, seen
            seen += piece
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert err.decode().endswith("wordbrush: stopped\n")
    assert b"Traceback" not in seen + err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png"]


def test_an_endless_standard_input_is_not_read_to_its_end(wordbrush: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        read_bytes = 0

        def read(self, count: int) -> bytes:
            assert 0 < count <= 1 << 20
            self.read_bytes += count
            return bytes(count)

    class Stdin:
        buffer = Endless()

    monkeypatch.setattr("sys.stdin", Stdin())
    wordbrush("edit", "-", *TEXTS, "-o", "-", "--max-bytes", "25MB").failed(3, "MB", "or raise --max-bytes")
    assert Stdin.buffer.read_bytes == 25_000_001
    wordbrush("edit", "-", *TEXTS, "-o", "-").failed(3, "MB")
    assert Stdin.buffer.read_bytes == 25_000_001 + MAX_BYTES + 1
