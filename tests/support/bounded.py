"""Tests that wait for other processes, and never for ever."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["until", "within"]


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block where it runs longer: what hangs fails its test, and the next ones run.

    For the main thread, in which pytest and the workers of xdist run tests.
    """

    def over(_number: int, _frame: Any) -> None:
        raise TimeoutError(f"it hangs: it has not ended within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what a function finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"it has not come within {seconds:g} seconds"
        time.sleep(0.05)
    return value
