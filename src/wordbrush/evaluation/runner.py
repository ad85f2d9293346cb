"""The runner of every evaluation: items times variants into one journal, resumable, in one process or several.

An evaluation says in a `Work` what it does; here is the order in which it is done, what is done again, and what becomes
of errors. A row is on the disk before the next one counts, so a run may be killed at any moment: started again, it goes
on after the rows that are there, and tries those that failed again. The rows depend neither on the number of processes
nor on the order in which items are finished.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wordbrush.engine.threads import torch_threads
from wordbrush.evaluation.crew import crew_rows
from wordbrush.evaluation.work import Line, Piece, Work, rows_of

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.journal import Journal

__all__ = ["Progress", "model_facts", "run_work"]

@dataclass(frozen=True)
class Progress:
    """How far a run is, in rows.

    Attributes:
        done: rows that are on the disk, earlier runs' too.
        total: rows of the plan.
        resumed: rows that were there when this run began.
        failed: rows of this run that have an error.
    """

    done: int
    total: int
    resumed: int
    failed: int


def run_work(
    work: Work,
    items: Sequence[Any],
    journal: Journal,
    editor: Editor,
    *,
    workers: int = 1,
    threads: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Compute the rows that the journal does not have yet.

    Args:
        work: the evaluation.
        items: in order.
        journal: where the rows go.
        editor: the model, for work in this process; worker processes load their own.
        workers: processes.
        threads: of torch in each; None leaves its own number.
        on_progress: called once at the beginning and after every row.

    Raises:
        OutputError: a row cannot be written.
        WordbrushError: one of `work.fatal`, or the work cannot be opened.
    """
    def is_done(name: str) -> bool:
        return journal.is_done(name) and work.is_whole(journal.rows[name])

    tell = on_progress or (lambda _: None)
    named = [(item, {work.row_id(item, variant): variant for variant in work.variants}) for item in items]
    pieces = [Piece(item, {name: v for name, v in rows.items() if not is_done(name)}) for item, rows in named]
    pieces = [piece for piece in pieces if piece.rows]
    total = sum(len(rows) for _, rows in named)
    done = resumed = total - sum(len(piece.rows) for piece in pieces)
    failed = 0
    tell(Progress(done, total, resumed, failed))
    rows = crew_rows(work, pieces, workers, threads) if workers > 1 else _alone(work, pieces, editor, threads)
    for name, row in rows:
        journal.append(name, row)
        done, failed = done + 1, failed + ("error" in row)
        tell(Progress(done, total, resumed, failed))


def _alone(work: Work, pieces: Sequence[Piece], editor: Editor, threads: int | None) -> Iterator[tuple[str, Line]]:
    if pieces:
        make = work.open(editor)
        with torch_threads(threads):
            for piece in pieces:
                yield from rows_of(work, make, piece)


def model_facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the version and the model's identity, which all rows of a run share; not the device."""
    names = ("name", "family", "sha256", "parametrisation", "dtype", "loras")
    return {"version": importlib.metadata.version("wordbrush"), "model": {name: identity[name] for name in names}}
