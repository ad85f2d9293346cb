"""What is entered into a ledger, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["STATES", "Added", "Checks", "Entry", "ErrorGroup", "State"]

State = Literal["waiting", "running", "done", "failed"]
STATES: Final[tuple[State, ...]] = ("waiting", "running", "done", "failed")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An item as it is entered.

    Attributes:
        key: of all that determines its output; the same item has the same key in every run.
        number: its place in the run, from 1.
        line: of the manifest, or None.
        name: wanted for its files, without ending; another item may have it already.
        group: items of one group are run one after the other, so that they can share what is computed once.
        item: what the work gets, JSON values.
        error: type and sentence of a row that cannot be an item; it is entered as failed.
    """

    key: str
    number: int
    name: str
    group: str
    item: Mapping[str, Any]
    line: int | None = None
    error: tuple[str, str] | None = None


@dataclass(frozen=True)
class Checks:
    """What is looked at when items are entered, besides the ledger.

    Attributes:
        current: called with the row of an item that is done and its entry. True keeps it, False has it done again, and
            an entry of another key is entered in its place.
        taken: says whether the name that a new entry wants belongs to something else.
    """

    current: Callable[[dict[str, Any], Entry], Entry | bool] = lambda _row, _entry: True
    taken: Callable[[Entry], bool] = lambda _entry: False


@dataclass
class Added:
    """What became of entries: `new` ones, `known` from earlier runs, and those that came `twice` in this one."""

    new: int = 0
    known: int = 0
    twice: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ErrorGroup:
    """Failures of one type: how many, and the first of them as an example."""

    kind: str
    count: int
    example: str
    name: str
