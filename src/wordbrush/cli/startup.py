"""How the process of a command starts and ends quickly.

Nothing of it happens where `main` is called inside a process of another kind, such as that of the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator

__all__ = ["begin", "end_with", "is_alone", "uncollected"]


class _State:
    alone = False
    code: int | None = None


def begin() -> None:
    """Say that this process is a command's own; called before anything is imported that wants to be left in order.

    What is imported stays to the end, so the garbage collector does not look through it.
    """
    if os.environ.get("WORDBRUSH_DEBUG") == "1":
        return
    _State.alone = True
    gc.disable()
    atexit.register(_leave)  # the first that is registered runs last


def is_alone() -> bool:
    """Say whether this process is a command's own."""
    return _State.alone


def end_with(code: int) -> None:
    """Leave with an exit code, once all threads have ended and all that is registered for the end was called."""
    _State.code = code
    sys.exit(code)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import and load inside the block without the garbage collector, which leaves alone for good what came."""
    if not _State.alone:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _leave() -> None:
    """End the process here: taking apart thousands of modules and a model takes longer than a second."""
    if _State.code is None:  # not by `end_with`: an exception on its way out is printed as ever
        return
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where the process was started without it
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: `main` has dealt with that
            stream.flush()
    os._exit(_State.code)
