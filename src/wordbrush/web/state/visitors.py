"""Visitors: the open pictures and the versions of each one, bounded in number, bytes and time."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wordbrush.web.state.keys import new_key

if TYPE_CHECKING:
    from wordbrush.web.options import Limits
    from wordbrush.web.state.pictures import Opened
    from wordbrush.web.state.versions import Version

__all__ = ["Visitor", "Visitors"]


@dataclass(eq=False)
class Visitor:
    """One browser.

    Attributes:
        key: the secret in its cookie.
        limits: how much it may have.
        pictures: open pictures by id, the one used last at the end.
        versions: what was painted, by id, oldest first.
        running: the event that stops each piece of work that runs or waits, and its tab.
        made: how many versions were ever made, also those that are gone.
        seen: when it was last here, on the registry's clock.
        address: it first came from.
        lock: held while any of these change.
    """

    key: str
    limits: Limits
    seen: float
    address: str = ""
    pictures: OrderedDict[str, Opened] = field(default_factory=OrderedDict)
    versions: OrderedDict[str, Version] = field(default_factory=OrderedDict)
    made: int = 0
    running: dict[threading.Event, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def open(self, opened: Opened) -> None:
        """Keep an opened picture; beyond the limit the one used longest ago is closed."""
        with self.lock:
            self.pictures[opened.id] = opened
            while len(self.pictures) > self.limits.pictures:
                self.pictures.popitem(last=False)

    def picture(self, id_: str) -> Opened | None:
        """Return an open picture and mark it as used, or None where it was closed or never this visitor's."""
        with self.lock:
            if id_ not in self.pictures:
                return None
            self.pictures.move_to_end(id_)
            return self.pictures[id_]

    def next_number(self) -> int:
        """Count one more version."""
        with self.lock:
            self.made += 1
            return self.made

    def keep(self, version: Version) -> None:
        """Keep a version; beyond the limits the oldest go."""
        with self.lock:
            self.versions[version.id] = version
            while len(self.versions) > 1 and (
                len(self.versions) > self.limits.versions or self._held() > self.limits.version_bytes
            ):
                self.versions.popitem(last=False)

    def _held(self) -> int:
        """Bytes of all versions and of the pictures they were made from, each counted once."""
        sources = {id(version.source): len(version.source) for version in self.versions.values()}
        return sum(version.size for version in self.versions.values()) + sum(sources.values())

    @property
    def busy(self) -> bool:
        """Whether work of this visitor runs or waits for the device."""
        return bool(self.running)

    def begin(self, tab: str) -> threading.Event:
        """Note work that runs or waits for a tab; return the event that stops it."""
        stop = threading.Event()
        with self.lock:
            self.running[stop] = tab
        return stop

    def end(self, stop: threading.Event) -> None:
        """Forget work that ended."""
        with self.lock:
            self.running.pop(stop, None)

    def stop(self, tab: str | None = None) -> None:
        """Ask the work of one tab, or of all, to stop at its next step."""
        with self.lock:
            for event, name in self.running.items():
                if tab in {None, name}:
                    event.set()

    def held(self) -> int:
        """Return the bytes that pictures, their caches and versions take."""
        with self.lock:
            return self._held() + sum(opened.held() for opened in self.pictures.values())


class Visitors:
    """All visitors.

    Args:
        limits: how many, how long.
        clock: seconds, only ever rising.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def of(self, key: str | None) -> Visitor | None:
        """Return the visitor with this key and mark it as seen, or None where there is none such."""
        with self._lock:
            self._sweep()
            visitor = self._visitors.get(key or "")
            if visitor is not None:
                visitor.seen = self._clock()
                self._visitors.move_to_end(visitor.key)
            return visitor

    def welcome(self, key: str | None, address: str = "") -> Visitor:
        """Return the visitor with this key, or a new one with a new key; a key the server did not give is not taken."""
        known = self.of(key)
        if known is not None:
            return known
        with self._lock:
            visitor = Visitor(new_key(), self.limits, self._clock(), address)
            self._visitors[visitor.key] = visitor
            while len(self._visitors) > self.limits.visitors:
                self._drop(self._dispensable())
            return visitor

    def trim(self) -> None:
        """Drop visitors, the one idle longest first, until all together hold no more than `limits.total_bytes`.

        Whoever has work on the device is kept, and so is who came last.
        """
        with self._lock:
            held = {key: visitor.held() for key, visitor in self._visitors.items()}
            total = sum(held.values())
            for key in list(self._visitors)[:-1]:
                if total <= self.limits.total_bytes:
                    return
                if held[key] and not self._visitors[key].busy:
                    self._drop(key)
                    total -= held[key]

    def clear(self) -> None:
        """Drop everybody."""
        with self._lock:
            for key in list(self._visitors):
                self._drop(key)

    def _dispensable(self) -> str:
        """Return the key of the visitor to go: the one idle longest, those first who hold nothing and wait for nothing.

        Of those who hold something it is one of the address that has the most. So whoever opens the page over and over
        costs nobody else their work.
        """
        *known, _ = self._visitors.values()
        crowd = Counter(visitor.address for visitor in self._visitors.values())
        empty = (v for v in known if not (v.busy or v.pictures or v.versions))
        idle = [v for v in known if not v.busy]
        crowded = max((crowd[v.address] for v in idle), default=0)
        return next(empty, next((v for v in idle if crowd[v.address] == crowded), known[0])).key

    def _sweep(self) -> None:
        oldest = self._clock() - self.limits.idle_seconds
        for key, visitor in list(self._visitors.items()):
            if visitor.seen >= oldest:  # they are in the order in which they were seen
                return
            if not visitor.busy:
                self._drop(key)

    def _drop(self, key: str) -> None:
        visitor = self._visitors.pop(key)
        visitor.stop()
        visitor.pictures.clear()
        visitor.versions.clear()
