"""The store: values that are computed once, held up to a bound in bytes; the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from wordbrush.diffusion.ask import Key
from wordbrush.report import Memory

__all__ = ["Store"]


class Store:
    """Keeps values by key, up to `limit` bytes; a key holds all that determines its value, the kind of value first.

    A value says its size as `nbytes`. A single one larger than the limit is kept until the next one comes. Several
    threads may use one store; what it gives out is shared between them, so nobody may change it.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self._values: OrderedDict[Key, Any] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Any | None:
        """Return the value and mark it as used, or None."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Any) -> None:
        """Keep a value, dropping the least recently used others until the limit holds."""
        with self._lock:
            before = self._values.pop(key, None)
            self._held += value.nbytes - (0 if before is None else before.nbytes)
            self._values[key] = value
            while len(self._values) > 1 and self._held > self.limit:
                _, oldest = self._values.popitem(last=False)
                self._held -= oldest.nbytes
                self.dropped += 1

    def memory(self) -> Memory:
        """Return what is held now."""
        kinds: dict[str, int] = {}
        with self._lock:
            for key, value in self._values.items():
                kinds[str(key[0])] = kinds.get(str(key[0]), 0) + value.nbytes
            return Memory(self._held, self.limit, kinds, self.dropped)
