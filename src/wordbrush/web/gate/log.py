"""The log: one short line for each fault, saying its kind and place, and never what a request held.

Libraries print tracebacks of whatever a visitor sent, at any length and as often as it is sent. While the workbench
serves, what they say is reduced to its kind and place, and bounded in number.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, TextIO

__all__ = ["SORRY", "Budget", "Lines", "Quiet", "describe", "fault", "short_log"]

SORRY = "something went wrong on the server; its log says what"
"""What a visitor is told of an error that nobody expected."""

LONGEST = 300
"""Most characters of a line."""

_LOG = logging.getLogger(__name__)


def describe(error: BaseException) -> str:
    """Return the kind of an error and the places it came from: the last one, and the last one of this program.

    Its message is left out, as it may hold what a visitor sent; of the system's errors the system's words are kept.
    """
    words = [type(error).__qualname__]
    if isinstance(error, OSError) and error.errno is not None and isinstance(error.strerror, str):
        words.append(f"({error.strerror[:60]})")
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [place for place in frames if "wordbrush" in PurePath(place[0].co_filename).parts]
    places = dict.fromkeys(_place(*frame) for frame in (*frames[-1:], *ours[-1:]))
    return " ".join([*words, *(f"at {place}" for place in places)])[:LONGEST]


def _place(code: Any, line: int) -> str:
    return f"{'/'.join(PurePath(code.co_filename).parts[-2:])}:{line}"


def fault(what: str, error: BaseException) -> None:
    """Log an error that nobody expected.

    Args:
        what: failed, in words of this program.
        error: see `describe` for what is told of it.
    """
    _LOG.error("%s failed: %s", what, describe(error))


class Quiet:
    """Takes the place of the module `traceback` in libraries that print with it."""

    @staticmethod
    def print_exc(*_: Any, **__: Any) -> None:
        """Log the error that is being handled."""
        error = sys.exception()
        if error is not None:
            fault("a request", error)


class Budget:
    """How many lines are written in a minute: few of each kind, so that no kind keeps the others out.

    Args:
        each: lines of one kind.
        most: lines of all kinds.
        clock: seconds, only ever rising.
    """

    def __init__(self, each: int = 3, most: int = 30, clock: Callable[[], float] = time.monotonic) -> None:
        self._each, self._most, self._clock = each, most, clock
        self._lock, self._since = threading.Lock(), clock()
        self._kinds, self._left_out = Counter[str](), 0

    def admit(self, kind: str) -> int | None:
        """Count one more line of a kind.

        Returns:
            None where there were too many, else how many were left out in the minute before.
        """
        with self._lock:
            left_out = 0
            if self._clock() - self._since >= 60:
                self._since, left_out, self._left_out = self._clock(), self._left_out, 0
                self._kinds.clear()
            if self._kinds[kind] >= self._each or self._kinds.total() >= self._most:
                self._left_out += 1
                return None
            self._kinds[kind] += 1
            return left_out


class Lines(logging.Handler):
    """Writes each record as one short line.

    What this program says of itself is written as it is, as it never holds what a visitor sent. Of other programs'
    records the level, the logger and the kind and place of the error are written, and no message.

    Args:
        stream: takes the lines.
        budget: bounds them.
    """

    def __init__(self, stream: TextIO, budget: Budget | None = None) -> None:
        super().__init__(logging.WARNING)
        self._stream, self._budget = stream, budget or Budget()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there were too many."""
        error = record.exc_info[1] if record.exc_info else None
        if record.name.split(".")[0] == "wordbrush":
            text = " ".join(record.getMessage().split())
            text = f"{text} {describe(error)}" if error else text
        else:
            place = f"at {PurePath(record.pathname).name}:{record.lineno}"
            text = f"{record.levelname.lower()} of {record.name}: {describe(error) if error else place}"
        self.write(text)

    def write(self, text: str) -> None:
        """Write one line, unless there were too many like it."""
        left_out = self._budget.admit(text)
        if left_out is None:
            return
        more = f"wordbrush: {left_out} more lines were left out\n" if left_out else ""
        try:
            self._stream.write(f"{more}wordbrush: {text[:LONGEST]}\n".encode("ascii", "backslashreplace").decode())
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads it any more; that is no reason to stop


class _Fence(io.TextIOBase):
    """A standard stream that lets nothing through and says, now and then, that something was printed."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        if text.strip():
            self._lines.write("something was printed that may hold what a visitor sent, and is left out")
        return len(text)

    def writable(self) -> bool:
        return True


@contextmanager
def short_log(stream: TextIO) -> Iterator[None]:
    """Write the whole log to a stream as short lines while the block runs, and nothing else to the standard streams."""
    lines, root = Lines(stream), logging.getLogger()
    before = sys.stdout, sys.stderr, threading.excepthook, sys.unraisablehook
    others = root.handlers[:]
    loggers = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    own = [(one, one.handlers[:], one.propagate) for one in loggers if one.handlers or not one.propagate]
    for logger, _, _ in own:  # libraries that write past the root
        logger.handlers[:], logger.propagate = [], True
    root.handlers[:] = [lines]
    fence: Any = _Fence(lines)
    sys.stdout = sys.stderr = fence

    def report(args: Any) -> None:
        if args.exc_value is not None:
            fault("a thread", args.exc_value)

    def warned(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        lines.write(f"{category.__name__} at {'/'.join(PurePath(filename).parts[-2:])}:{lineno}")

    threading.excepthook = sys.unraisablehook = report
    try:
        with warnings.catch_warnings():
            warnings.showwarning = warned
            yield
    finally:
        sys.stdout, sys.stderr, threading.excepthook, sys.unraisablehook = before
        root.handlers[:] = others
        for logger, handlers, propagate in own:
            logger.handlers[:], logger.propagate = handlers, propagate
