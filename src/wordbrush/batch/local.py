"""The local engine: in this process, where programs share calls of the network; or in worker processes of a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from wordbrush.batch.crew import crew_outcomes
from wordbrush.batch.work import EngineOptions, Outcome, Row, Rows, Work
from wordbrush.engine.threads import torch_threads

__all__ = ["SUSPECT", "run_local"]

SUSPECT: Final = 2
"""From so many runs on that were killed while they had a row, it is run in a process of its own: it may be why."""


def run_local(work: Work, rows: Rows, options: EngineOptions) -> Iterator[Outcome]:
    """Run work on this machine, and yield the outcomes of its rows.

    With one worker it runs in this process. Rows with which processes died before come last, and then in a worker
    process, where another death costs them alone.

    Raises:
        WordbrushError: one of `work.fatal`, or the work cannot be opened.
    """
    workers = options.workers or 1
    if workers > 1 and work.portable:
        yield from crew_outcomes(work, rows, workers=workers, threads=options.threads, retries=options.retries)
        return
    calm = _Calm(rows, SUSPECT if work.portable else None)
    first = next(calm, None)
    if first is not None:
        with torch_threads(options.threads):
            yield from work.open(options.editor)(Rows(chain([first], calm), lambda: rows.stopped))
    if calm.suspect is not None:
        suspects = Rows(chain([calm.suspect], rows), lambda: rows.stopped)
        yield from crew_outcomes(work, suspects, workers=1, threads=options.threads, retries=options.retries)


class _Calm(Iterator[Row]):
    """The rows before the first suspect one, which is kept as `suspect`."""

    def __init__(self, rows: Rows, limit: int | None) -> None:
        self.rows, self.limit = rows, limit
        self.suspect: Row | None = None

    def __next__(self) -> Row:
        if self.suspect is not None:
            raise StopIteration
        row = next(self.rows)
        if self.limit is not None and row["crashes"] >= self.limit:
            self.suspect = row
            raise StopIteration
        return row
