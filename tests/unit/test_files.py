"""Reading to a bound, whatever a file says of its size."""

from __future__ import annotations

import io
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
