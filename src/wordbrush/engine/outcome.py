"""How items of the driver end: with a value or an error, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["Costs", "Ended", "Outcome", "Run"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[T]):
    """How one item ended: with a value, or with the error that ended it; and what its store held already."""

    value: T | None
    error: Exception | None
    reused: tuple[str, ...]

    def result(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        value: Any = self.value
        result: T = value
        return result


@dataclass(frozen=True)
class Costs:
    """What items cost: seconds and network evaluations (rows) by stage, and the fallbacks that were needed."""

    timings: Mapping[str, float]
    evaluations: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def add_to(self, run: Run[Any]) -> None:
        """Add them to those of a run."""
        for stage, seconds in self.timings.items():
            run.timings[stage] = run.timings.get(stage, 0.0) + seconds
        for stage, count in self.evaluations.items():
            run.evaluations[stage] = run.evaluations.get(stage, 0) + count
        run.notes += tuple(note for note in self.notes if note not in run.notes)


@dataclass(frozen=True, eq=False)
class Ended(Generic[T]):
    """An item of a stream that has ended: its number from 0, how, and its own share of what all cost."""

    number: int
    outcome: Outcome[T]
    costs: Costs


@dataclass(eq=False)
class Run(Generic[T]):
    """The outcomes and the costs of one run of the driver.

    Attributes:
        outcomes: in the order of the items.
        timings: seconds by stage.
        evaluations: network evaluations (rows) by stage.
        notes: fallbacks that were needed: smaller chunks, tiles, another precision.
    """

    outcomes: list[Outcome[T]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
