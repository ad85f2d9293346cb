"""A cache bounded in bytes: the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from wordbrush.report import Memory

__all__ = ["Cache"]


class Cache:
    """Keeps values under (kind, what determines them), up to `limit` bytes.

    A single value larger than the limit is kept until the next one comes: the work in hand needs it. Several threads
    may use one cache; what it gives out is shared between them, so nobody may change it.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self._entries: OrderedDict[tuple[str, Hashable], tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, kind: str, key: Hashable) -> Any | None:
        """Return the value and mark it as used, or None."""
        with self._lock:
            found = self._entries.get((kind, key))
            if found is None:
                return None
            self._entries.move_to_end((kind, key))
            return found[0]

    def put(self, kind: str, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of `size` bytes, dropping the least recently used others until the limit holds."""
        with self._lock:
            self._entries[kind, key] = (value, size)
            self._entries.move_to_end((kind, key))
            while len(self._entries) > 1 and self._held() > self.limit:
                self._entries.popitem(last=False)
                self.dropped += 1

    def _held(self) -> int:
        return sum(size for _, size in self._entries.values())

    def memory(self) -> Memory:
        """Return what is held now."""
        kinds: dict[str, int] = {}
        with self._lock:
            for (kind, _), (_, size) in self._entries.items():
                kinds[kind] = kinds.get(kind, 0) + size
            return Memory(self._held(), self.limit, kinds, self.dropped)
