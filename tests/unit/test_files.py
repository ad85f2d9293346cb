"""Reading to a bound, whatever a file says of its size."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wordbrush.errors import InputError, MaskError, PictureError, ProvenanceError
from wordbrush.files import bounded_read

GROWING = Path("/proc/self/maps")


class Endless(io.RawIOBase):
    """A stream of zeros that counts what was taken from it."""

    taken = 0

    def read(self, count: int = -1) -> bytes:
        assert 0 < count <= 1 << 20, "never asked for everything at once"
        self.taken += count
        return bytes(count)


def read(source: object, limit: int, error: type[InputError] = PictureError) -> bytes:
    return bounded_read(source, limit, error=error, kind="mask", advice="make it smaller")  # type: ignore[arg-type]


def test_up_to_the_bound_everything_is_read(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9_000  # several reads of a stream
    path = tmp_path / "data"
    path.write_bytes(data)
    assert all(read(source, len(data)) == data for source in (data, path, str(path), io.BytesIO(data)))
    for source in (data, path, str(path), io.BytesIO(data)):
        with pytest.raises(PictureError, match=r"the file has 2\.3 MB; the limit is 2\.3 MB: make it smaller"):
            read(source, len(data) - 1)


def test_a_stream_without_an_end_is_left_at_the_bound() -> None:
    stream = Endless()
    with pytest.raises(PictureError, match="the limit is"):
        read(stream, 3_000_000)
    assert stream.taken == 3_000_001


@pytest.mark.skipif(not GROWING.exists(), reason="needs a file that is longer than it says")
def test_a_file_that_is_longer_than_it_says_is_left_at_the_bound() -> None:
    assert GROWING.stat().st_size == 0
    with pytest.raises(MaskError, match="the limit is"):
        read(GROWING, 20, MaskError)
    assert len(read(GROWING, 10_000_000)) > 20


@pytest.mark.parametrize("error", [PictureError, MaskError, ProvenanceError])
def test_what_is_no_file_is_refused_in_the_words_of_the_caller(error: type[InputError], tmp_path: Path) -> None:
    for source, words in (
        (tmp_path, "is a folder, not a mask file"),
        ("/dev/null", "is a special file, not a mask file"),
        (tmp_path / "none", "there is no file .*none; masks are read from local files only"),
        ("a\0b", "cannot read"),
        ("x" * 5_000, "cannot read"),
    ):
        with pytest.raises(error, match=words) as caught:
            read(source, 100, error)
        assert len(str(caught.value)) < 500


def test_a_pipe_that_the_process_has_open_is_read_by_its_name_up_to_the_bound() -> None:
    for size, fits in ((300_000, True), (300_001, False)):
        data, (reading, writing) = os.urandom(size), os.pipe()

        def fill(data: bytes = data, writing: int = writing) -> None:
            with os.fdopen(writing, "wb") as file:
                file.write(data)

        thread = threading.Thread(target=fill)
        thread.start()
        name = f"/dev/fd/{reading}"
        try:
            if fits:
                assert read(name, 300_000) == data
            else:
                with pytest.raises(PictureError, match=rf"{name}: the file has 0.3 MB; the limit is 0.3 MB"):
                    read(name, 300_000)
            thread.join(10)
        finally:
            os.close(reading)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs /dev/stdin")
def test_standard_input_is_read_by_its_name() -> None:
    code = (
        "from wordbrush.errors import PictureError\nfrom wordbrush.files import bounded_read\n"
        "print(len(bounded_read('/dev/stdin', 99, error=PictureError, kind='mask', advice='')))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=bytes(99), capture_output=True, check=True)
    assert done.stdout.split() == [b"99"]


def test_a_named_pipe_that_nobody_may_ever_write_is_refused_with_a_way(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(PictureError, match="special file, not a mask file; pipe it into standard input"):
            read(tmp_path / name, 100)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_an_endless_device_is_refused_by_whatever_name(device: str) -> None:
    with Path(device).open("rb") as file:
        for name in (device, f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            with pytest.raises(PictureError, match="is a special file"):
                read(name, 100)


def test_a_file_behind_a_number_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789")
    with (tmp_path / "data").open("rb") as file:
        file.read(4)
        assert read(f"/dev/fd/{file.fileno()}", 10) == b"0123456789"
