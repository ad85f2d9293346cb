"""Turns: what takes much memory, such as decoding a picture, is done for two at a time, and few may wait for it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wordbrush.errors import ResourceError

__all__ = ["Turns"]


class Turns:
    """Answers small files that cost much memory, sent many at a time: the rest waits, and beyond a few is refused.

    Args:
        at_once: how many are done at one time, of all visitors.
        waiting: how many may wait besides.
        each: how many of these one visitor may have.
    """

    def __init__(self, at_once: int = 2, waiting: int = 16, each: int = 6) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._most, self._each = at_once + waiting, each
        self._present, self._lock = Counter[str](), threading.Lock()

    @contextmanager
    def turn(self, who: str = "") -> Iterator[None]:
        """Wait for a turn; the block within runs in it. It is for threads, and may not be nested.

        Args:
            who: whose it is, where that is known.

        Raises:
            ResourceError: too many wait already.
        """
        with self._lock:
            if self._present.total() >= self._most or (who and self._present[who] >= self._each):
                raise ResourceError("the server is busy with other pictures; try again soon")
            self._present[who] += 1
        try:
            with self._free:
                yield
        finally:
            with self._lock:
                self._present[who] -= 1
                if not self._present[who]:
                    del self._present[who]
