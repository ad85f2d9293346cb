"""What an evaluation does with its items, row by row; `wordbrush.evaluation.runner` does it, alone or with a crew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from wordbrush.errors import OutputError, WordbrushError

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["Line", "Make", "Piece", "Work", "rows_of", "settled"]

Line = dict[str, Any]
"""What the journal keeps of one variant on one item: JSON values; `error` where it failed."""

Make = Callable[[Any, str], Line]
"""Makes the row of (item, variant), or raises what is wrong. The variants of an item come one after the other."""


class Work(ABC):
    """What an evaluation does with its items; it is sent to worker processes, so it must pickle.

    Attributes:
        fatal: errors that concern all items and end the run; any other is written in its row.
    """

    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError,)

    @property
    @abstractmethod
    def variants(self) -> tuple[str, ...]:
        """Names of what is done with each item, in their order."""

    @abstractmethod
    def open(self, editor: Editor | None = None) -> Make:
        """Load what is needed, but for what is loaded already, once a process.

        Raises:
            WordbrushError: it cannot be used.
        """

    @abstractmethod
    def facts(self, item: Any, variant: str) -> Line:
        """Return what a row says even where it failed."""

    def row_id(self, item: Any, variant: str) -> str:
        """Return what names the row in the journal."""
        return f"{item.id} {variant}"

    def is_whole(self, row: Line) -> bool:
        """Whether the files that a row speaks of are there; without them it is made again."""
        return True


@dataclass(frozen=True, eq=False)
class Piece:
    """What is handed out at a time: an item, and the variants by the ids of its rows that are still to be made."""

    item: Any
    rows: Mapping[str, str]


def rows_of(work: Work, make: Make, piece: Piece) -> Iterator[tuple[str, Line]]:
    """Yield the rows of a piece by their ids; what goes wrong is told in the row.

    Raises:
        WordbrushError: one of `work.fatal`.
    """
    for name, variant in piece.rows.items():
        facts = work.facts(piece.item, variant)
        try:
            row = {**facts, **make(piece.item, variant)}
        except work.fatal:
            raise
        except Exception as error:  # whatever goes wrong with one row, the others are worth having
            row = {**facts, "error": settled(error)}
        yield name, row


def settled(error: Exception) -> str:
    """Return an error as the one line that a row keeps; our own errors are sentences, others need their name."""
    text = str(error) if isinstance(error, WordbrushError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:1000]
