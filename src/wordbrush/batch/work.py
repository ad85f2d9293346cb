"""Item functions: what is done with one row, the same in this process, in a worker process and on another machine.

A `Work` says what is done and can be sent anywhere; opened, it is a function from rows to outcomes. Engines run it
(`wordbrush.batch.local`), the runner writes its outcomes into the ledger (`wordbrush.batch.runner`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from wordbrush.errors import OutputError, WordbrushError

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["COLUMNS", "Engine", "EngineOptions", "Make", "Outcome", "Row", "Rows", "Work", "done", "failed", "settled"]

Row = Mapping[str, Any]
"""What goes in: `key`, `number`, `name`, `grp`, `attempts`, `crashes` of the item, and `item`, a JSON text; so it fits
into a table of any kind."""

Outcome = dict[str, Any]
"""What comes out, JSON values: every name of `COLUMNS`, and whatever else the work tells, which the ledger keeps as
`result`."""

COLUMNS: Final[Mapping[str, Any]] = {
    "key": "",
    "state": "failed",  # or "done"
    "output": None,  # file name, relative to the folder
    "sha256": None,  # of that file, as are size and mtime_ns
    "size": None,
    "mtime_ns": None,
    "seconds": 0.0,
    "evaluations": 0,
    "error_type": None,
    "error": None,  # one sentence
    "inputs": (),  # of each file read: path, sha256, and of a local one size and mtime_ns
}
"""The columns of an outcome that every ledger has, with what they are where nothing is said."""

Make = Callable[["Rows"], Iterator[Outcome]]
"""Yields one outcome a row, in any order. It may read some rows ahead; rows of one group come one after the other."""

_LONGEST = 1000


class Rows(Iterator[Row]):
    """Rows that end where there are no more, or where the run is to be stopped.

    Args:
        rows: all there are.
        stopped: says whether to stop; what has been begun is then finished, and what was only read ahead is left.
    """

    def __init__(self, rows: Iterable[Row], stopped: Callable[[], bool] = lambda: False) -> None:
        self._rows, self._stopped = iter(rows), stopped

    @property
    def stopped(self) -> bool:
        """Whether nothing new is to be begun."""
        return self._stopped()

    def __next__(self) -> Row:
        if self._stopped():
            raise StopIteration
        return next(self._rows)


class Work(ABC):
    """What is done with each row; it is sent to worker processes and other machines, so it must pickle.

    Attributes:
        fatal: errors that concern all rows and end the run; any other is the outcome of its row.
    """

    fatal: ClassVar[tuple[type[Exception], ...]] = (OutputError,)

    @property
    def portable(self) -> bool:
        """Whether another process can open it."""
        return True

    def facts(self) -> Any:
        """Return what must be the same wherever it is opened, JSON values: which model it is, for one.

        Raises:
            ModelError: the model is not on this machine.
        """
        return None

    @abstractmethod
    def open(self, editor: Editor | None = None) -> Make:
        """Load models and tools, once a process, and return the function of rows; `editor` is used if given.

        Raises:
            WordbrushError: a model or tool cannot be used.
        """


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine shall run.

    Attributes:
        folder: of the ledger and the results.
        workers: processes or actors; None leaves the choice to the engine.
        threads: of torch in each, on a CPU; None leaves the choice to the engine.
        retries: how often a row is tried again whose process died.
        editor: a loaded model for work in this process; engines that run elsewhere load their own.
        extra: whatever only this engine knows.
        say: takes a sentence on what the engine waits for; the runner passes it on as progress.
    """

    folder: Path
    workers: int | None = None
    threads: int | None = None
    retries: int = 1
    editor: Editor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None


Engine = Callable[[Work, Rows, EngineOptions], Iterator[Outcome]]
"""Pulls rows, runs an opened `Work` on them wherever it likes, and yields the outcomes as they come. The rows end by
themselves where the run is to be stopped; a row that was pulled and has no outcome waits for the next run."""


def done(row: Row, *, seconds: float = 0.0, evaluations: int = 0, **told: Any) -> Outcome:
    """Return the outcome of a row that went well; `told` are columns, and whatever else there is to keep."""
    return {**COLUMNS, "key": row["key"], "state": "done", "seconds": seconds, "evaluations": evaluations, **told}


def failed(row: Row, error: Exception, *, seconds: float = 0.0, **told: Any) -> Outcome:
    """Return the outcome of a row that failed with an error."""
    why = {"error_type": type(error).__name__, "error": settled(error)}
    return {**COLUMNS, "key": row["key"], "seconds": seconds, **told, **why}


def settled(error: Exception) -> str:
    """Return an error as one line; one that is not ours gets its type's name in front."""
    text = str(error) if isinstance(error, WordbrushError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST]
