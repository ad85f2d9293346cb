"""The standard streams while a command runs: what an encoding lacks is escaped, and a lost stream loses no work.

- A character that the encoding of a stream lacks is written by its number, whatever the locale or PYTHONIOENCODING say.
- Standard error that is closed, full or broken is given up: messages are lost, the work and its exit code are not.
- Standard output that is closed, full or broken is an output that cannot be written: exit code 3.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from wordbrush.errors import OutputError

__all__ = ["ReaderGoneError", "delivered", "give_up", "standard_streams", "unwritable"]


class ReaderGoneError(OutputError):
    """The program that read standard output ended, as `head` does; it need not be told."""


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Put streams in place that keep the rules of this module, and the former ones back at the end."""
    _fill_closed_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    # A stream whose descriptor was closed when Python started is None; print() would write to standard output instead.
    sys.stdin = cast("TextIO | None", before[0]) or io.TextIOWrapper(io.BytesIO())
    sys.stdout = cast("TextIO | None", before[1]) or cast("TextIO", _Closed())
    sys.stderr = cast("TextIO", _Forgiving(cast("TextIO | None", before[2]) or io.StringIO()))
    for stream in before[1:]:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def delivered() -> OutputError | None:
    """Flush standard output; where that fails return why, and give the stream up."""
    try:
        sys.stdout.flush()
    except OSError as error:
        give_up(sys.stdout)
        return unwritable(error)
    return None


def unwritable(error: OSError) -> OutputError:
    """Return the error of a command whose standard output took no more."""
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError("the reader of standard output went away")
    return OutputError(f"standard output cannot be written ({error.strerror or error})")


def _fill_closed_descriptors() -> None:
    """Open the null device where 0, 1 or 2 is closed: the next file would get that number, and take foreign output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one


def give_up(stream: Any) -> None:
    """Point a stream at the null device, so that neither its next write nor the flush at exit complains."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Closed(io.TextIOBase):
    """Standard output that was closed before the program began; takes text and, as its own buffer, bytes."""

    encoding = "utf-8"

    @property
    def buffer(self) -> Any:
        return self

    def write(self, _: Any) -> int:
        raise OutputError("standard output is closed; give a file name, or redirect it to /dev/null")


class _Forgiving:
    """Standard error; once it cannot be written, everything more is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            give_up(self._stream)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            give_up(self._stream)
