"""Real processes with streams of another encoding, closed, full or broken: see `wordbrush.cli.streams`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.test_cli_input import forged
from tests.support.command import picture_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="descriptors of a POSIX shell")

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def run(shell: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of a shell in which `wordbrush` is this one."""
    line = f'wordbrush() {{ "{sys.executable}" -m wordbrush "$@"; }}; {shell}'
    return subprocess.run(["bash", "-c", line], capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return forged(
        tmp_path,
        query="a zebra 🦓 – „ゼブラ“ \x1b]0;owned\x07 \x9b31m \u202egnp.exe \u2066x\u2069",
        reference="жираф",
        notes=("\x1b[2J…",),
    )


@pytest.mark.parametrize(
    "encoding",
    ["cp1252", "ascii", "ascii:strict", "latin-1", "cp437:strict", "shift_jis:ignore", "utf-8:surrogateescape"],
)
def test_what_an_encoding_lacks_is_escaped(record: Path, encoding: str) -> None:
    name = encoding.partition(":")[0]
    told = run(f"wordbrush inspect '{record}'", PYTHONIOENCODING=encoding)
    assert (told.returncode, told.stderr) == (0, b"")
    text = told.stdout.decode(name)
    assert "zebra" in text
    assert r"\x1b]0;owned\x07" in text
    assert r"\x9b31m \u202egnp.exe" in text
    for character, escaped in (("🦓", r"\U0001f993"), ("ゼ", r"\u30bc"), ("ж", r"\u0436"), ("–", r"\u2013")):
        assert (character if _has(name, character) else escaped) in text
    exact = run(f"wordbrush inspect '{record}' --json", PYTHONIOENCODING=encoding)
    assert json.loads(exact.stdout.decode("ascii"))["reference"] == "жираф"


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def test_the_c_locale_escapes_too(record: Path) -> None:
    told = run(f"wordbrush inspect '{record}'", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert told.returncode == 0
    assert rb"\U0001f993" in told.stdout
    assert told.stdout.isascii()


@pytest.mark.parametrize("words", ["--help", "edit --help", "replay --help", "eval truth --help", "--version"])
def test_help_in_ascii(words: str) -> None:
    told = run(f"wordbrush {words}", PYTHONIOENCODING="ascii:strict")
    assert told.returncode == 0
    assert told.stdout.isascii()
    assert told.stderr == b""


def test_errors_with_names_of_another_encoding(tmp_path: Path) -> None:
    told = run(f"wordbrush inspect '{tmp_path}/ゼブラ\x1b[31m.png'", PYTHONIOENCODING="cp1252")
    assert told.returncode == 3
    assert told.stderr.count(b"\n") == 1
    assert rb"\u30bc\u30d6\u30e9\x1b[31m.png" in told.stderr


@pytest.mark.parametrize(
    ("words", "code", "out", "part"),
    [
        ("inspect RECORD >&-", 3, b"", b"standard output is closed"),
        ("inspect RECORD --json >&-", 3, b"", b"standard output is closed"),
        ("--help >&-", 3, b"", b"standard output is closed"),
        ("inspect RECORD 1</dev/null", 3, b"", b"standard output cannot be written"),
        pytest.param("inspect RECORD >/dev/full", 3, b"", b"standard output cannot be written", marks=FULL),
        pytest.param("--version >/dev/full", 3, b"", b"No space left", marks=FULL),
        ("inspect none.png 2>&-", 3, b"", b""),
        ("inspect none.png >&- 2>&- <&-", 3, b"", b""),
        ("--no-such-flag 2>&-", 2, b"", b""),
        pytest.param("inspect none.png 2>/dev/full", 3, b"", b"", marks=FULL),
        pytest.param("--no-such-flag 2>/dev/full", 2, b"", b"", marks=FULL),
    ],
)
def test_lost_streams_and_exit_codes(record: Path, words: str, code: int, out: bytes, part: bytes) -> None:
    told = run("wordbrush " + words.replace("RECORD", f"'{record}'"))
    assert (told.returncode, told.stdout) == (code, out), told.stderr
    assert part in told.stderr
    assert b"Traceback" not in told.stderr
    assert told.stderr.count(b"\n") == (1 if part else 0)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_went_away_is_no_message(record: Path, buffered: str) -> None:
    for words in (f"inspect '{record}'", "--help"):
        told = run(f"wordbrush {words} | true; echo ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=buffered)
        assert (told.stdout, told.stderr) == (b"3\n", b"")


@pytest.fixture
def edit(tmp_path: Path, tiny_folder: Path) -> str:
    picture = picture_file(tmp_path / "in.png")
    flags = f"--model '{tiny_folder}' --steps 3 --maps 1 --to ',,'"
    return f"wordbrush edit '{picture}' {flags} -o '{tmp_path}/out.png'"


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirect", ["2>&-", "2>&- >&- <&-", ">&-", pytest.param("2>/dev/full", marks=FULL), "2> >(true)"]
)
def test_lost_notes_lose_no_work(tmp_path: Path, edit: str, redirect: str) -> None:
    told = run(f"{edit} {redirect}")
    assert (told.returncode, told.stdout) == (0, b"")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_that_standard_output_does_not_take(tmp_path: Path, edit: str) -> None:
    to_stdout = edit.replace(f"-o '{tmp_path}/out.png'", "-o -")
    told = run(f"{to_stdout} >&-")
    assert told.returncode == 3
    assert told.stderr == b"wordbrush: standard output is closed; give a file name, or redirect it to /dev/null\n"
    if Path("/dev/full").exists():
        told = run(f"{to_stdout} >/dev/full")
        assert told.returncode == 3
        assert told.stderr.endswith(b"wordbrush: standard output cannot be written (No space left on device)\n")


def test_a_closed_standard_input_is_empty() -> None:
    told = run("wordbrush edit - --to x -o - <&-")
    assert told.returncode == 3
    assert told.stderr.startswith(b"wordbrush: standard input is empty")
