"""The work of an evaluation: how each row is made. `wordbrush.evaluation.runner` runs it, in one process or several."""

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
"""A row of the journal, one variant on one item: JSON values; `error` where it failed."""

Make = Callable[[Any, str], Line]
"""Makes the row of (item, variant), or raises. All variants of an item are made before the next item's."""


class Work(ABC):
    """The work of an evaluation; it is sent to worker processes, so it must pickle.

    Attributes:
        fatal: errors that concern all items and end the run; any other is written in its row.
    """

    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError,)

    @property
    @abstractmethod
    def variants(self) -> tuple[str, ...]:
        """Names of the variants of each item, in order."""

    @abstractmethod
    def open(self, editor: Editor | None = None) -> Make:
        """Load models and tools, once a process, and return the maker of rows; `editor` is used if given.

        Raises:
            WordbrushError: a model or tool cannot be used.
        """

    @abstractmethod
    def facts(self, item: Any, variant: str) -> Line:
        """Return the fields that a row has even where it failed."""

    def row_id(self, item: Any, variant: str) -> str:
        """Return the id of the row in the journal."""
        return f"{item.id} {variant}"

    def is_whole(self, row: Line) -> bool:
        """Whether the files that a row names exist; without them the row is made again."""
        return True


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of work: an item, and its variants that are still to be run, by row id."""

    item: Any
    rows: Mapping[str, str]


def rows_of(work: Work, make: Make, piece: Piece) -> Iterator[tuple[str, Line]]:
    """Yield (row id, row) of a piece; a row that fails says why in `error`.

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
    """Return an error as one line for a row; errors that are not ours get their type's name in front."""
    text = str(error) if isinstance(error, WordbrushError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:1000]
