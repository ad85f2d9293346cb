"""Shares of the queue: how many jobs everybody, one address and one visitor may have running or waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wordbrush.web.options import Limits

__all__ = ["CALLER", "Caller", "Share", "in_turn"]

CALLER = "wordbrush.caller"
"""Where the guard notes in the scope of a request who sent it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        address: of the client, as the guard knows it.
        visitor: the key of a visitor this server knows, or None: a cookie that it did not give counts for nothing.
    """

    address: str
    visitor: str | None = None


class Share:
    """Who may add a job to those that run or wait.

    Args:
        limits: gives `queue` and `in_flight` as they are now.
    """

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self._limits = limits
        self.sources: list[Callable[[], Iterable[Caller]]] = []
        """Each gives whose jobs run or wait, in one of the queues there are."""

    def refusal(self, caller: Caller) -> str | None:
        """Return why this caller may not add a job, or None where it may.

        Answers whoever fills the queue alone. A visitor has `in_flight` jobs, and so have all of an address together
        that came without a visitor's cookie. As one address can have many cookies, it has three quarters of the queue
        at most, and from the half on, only for visitors who have nothing in it: so many people behind one address each
        get their turn, and there is always room for other addresses.
        """
        limits = self._limits()
        present = [one for source in self.sources for one in source()]
        if len(present) >= limits.queue:
            return f"Busy: {len(present)} jobs run or wait. Try again in a minute."
        mine = present.count(caller) if caller.visitor is None else sum(c.visitor == caller.visitor for c in present)
        if mine >= limits.in_flight:
            return f"Busy: {mine} of your own jobs run or wait."
        near = sum(one.address == caller.address for one in present)
        part = limits.queue // 2 if mine else limits.queue - limits.queue // 4
        if near >= max(part, limits.in_flight):
            return f"Busy: {near} jobs from your address run or wait. Try again in a minute."
        return None


def in_turn(waiting: Sequence[T], running: Iterable[Caller], caller_of: Callable[[T], Caller]) -> list[T]:
    """Return what waits in a fair order: one of each address, then the second of each, and so on.

    Args:
        waiting: in the order in which it came.
        running: whose jobs run now, which count as the first of their addresses.
        caller_of: tells whose a waiting one is.
    """
    before = Counter(one.address for one in running)
    rounds: list[tuple[int, int, T]] = []
    for position, one in enumerate(waiting):
        address = caller_of(one).address
        rounds.append((before[address], position, one))
        before[address] += 1
    return [one for _, _, one in sorted(rounds, key=lambda entry: entry[:2])]
