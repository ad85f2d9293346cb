"""A file at its name is always whole: through kills, races, full disks and folders that refuse."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from wordbrush.errors import OutputError
from wordbrush.files import TEMPORARY_PREFIX, write_atomic

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and permissions")

_WRITER = """
import hashlib, itertools, sys
from wordbrush.files import write_atomic
path, first = sys.argv[1], int(sys.argv[2])
for number in itertools.count(first):
    body = number.to_bytes(8, "big") + bytes([number % 251]) * (200_000 + 1000 * (number % 50))
    write_atomic(path, hashlib.sha256(body).digest() + body, force=True)
    print(number, flush=True)
"""


def _whole(path: Path) -> int:
    """Return the number in the file after checking that not a byte of it is missing or mixed."""
    data = path.read_bytes()
    assert hashlib.sha256(data[32:]).digest() == data[:32]
    return int.from_bytes(data[32:40], "big")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@posix
def test_twenty_kills_leave_no_torn_file(tmp_path: Path) -> None:
    path, rng, last = tmp_path / "picture.png", np.random.default_rng(0), 0
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(last + 1)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # it writes now
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().split()]
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        number = _whole(path)
        # What was reported as written is there, or one newer.
        assert number >= max(told, default=last)
        last = number
    left = [name for name in _names(tmp_path) if name != "picture.png"]
    assert all(name.startswith(TEMPORARY_PREFIX) and name.endswith(".tmp") for name in left)
    write_atomic(path, b"after", force=True)
    assert path.read_bytes() == b"after"
    assert [name for name in _names(tmp_path) if name != "picture.png"] == left


def test_new_file_and_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"one")
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        write_atomic(str(path), b"two")
    assert path.read_bytes() == b"one"
    write_atomic(str(path), b"two", force=True)
    assert path.read_bytes() == b"two"
    write_atomic(tmp_path / ("n" * 251 + ".png"), b"")
    assert len(_names(tmp_path)) == 2


@posix
def test_permissions_are_those_of_a_plain_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "a.png"
    plain.write_bytes(b"")
    write_atomic(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o600)
    write_atomic(path, b"two", force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "out.png"
    secret.write_bytes(b"secret")
    link.symlink_to(secret)
    with pytest.raises(OutputError, match="exists"):
        write_atomic(link, b"x")
    write_atomic(link, b"x", force=True)
    assert not link.is_symlink()
    assert secret.read_bytes() == b"secret"
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        write_atomic(dangling, b"x")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:  # as on FAT

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    for turn in range(10):
        path, start = tmp_path / f"{turn}.png", threading.Barrier(8)
        won: list[int] = []

        def write(number: int, path: Path = path, won: list[int] = won, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                write_atomic(path, bytes([number]) * 100_000)
            except OutputError:
                return
            won.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert path.read_bytes() == bytes(won) * 100_000
    assert len(_names(tmp_path)) == 10


def test_a_name_taken_while_writing_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sync = tmp_path / "a.png", os.fsync

    def late(descriptor: int) -> None:
        path.write_bytes(b"theirs")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(OutputError, match="exists"):
        write_atomic(path, b"ours")
    assert path.read_bytes() == b"theirs"
    assert _names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_failures_leave_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError) as caught:
        write_atomic(path, b"new", force=True)
    assert str(path) in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.png"]


@posix
def test_a_file_the_system_will_not_hold(tmp_path: Path) -> None:
    code = (
        "import sys, resource\nfrom wordbrush.files import write_atomic\nfrom wordbrush.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    write_atomic(sys.argv[1], bytes(1_000_000))\n"
        "except OutputError as error:\n    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True, capture_output=True)
    assert b"larger than this system allows" in out.stdout
    assert _names(tmp_path) == []


def test_impossible_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, word in (
        (tmp_path / "missing" / "a.png", "does not exist"),
        (tmp_path / "file" / "a.png", "not a folder"),
        (tmp_path / ("n" * 300), "too long"),
        (tmp_path / "a\0b.png", "not a possible file name"),
        (tmp_path / "a\ud800.png", "not a possible file name"),
        (tmp_path, "this is a folder"),
        (Path("/dev/null"), "device"),
    ):
        with pytest.raises(OutputError, match=word):
            write_atomic(path, b"x", force=True)
    assert _names(tmp_path) == ["file"]


@posix
def test_a_folder_that_may_not_be_written() -> None:
    code = (
        "import os, sys\nfrom wordbrush.files import write_atomic\nfrom wordbrush.errors import OutputError\n"
        "if os.geteuid() == 0:\n    os.seteuid(65534)\n"
        "try:\n    write_atomic(sys.argv[1], b'x')\n"
        "except OutputError as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        try:
            out = subprocess.run(
                [sys.executable, "-c", code, str(folder / "a.png")], check=True, capture_output=True, text=True
            )
            assert "no permission to write" in out.stdout
            assert _names(folder) == []
        finally:
            folder.chmod(0o755)
