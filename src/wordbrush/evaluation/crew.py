"""Run an evaluation in several worker processes: hand out pieces of work and collect their rows.

Each worker has one pipe. Its end closes with the process that holds it, so a worker ends by itself when the run is
killed, and the run notices when a worker is.
"""

from __future__ import annotations

import signal
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import torch

from wordbrush.errors import ModelError, WordbrushError
from wordbrush.evaluation.work import Line, Piece, Work, rows_of

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["crew_rows"]


@dataclass(eq=False)
class _Member:
    """A worker process and its current piece; `owed` are the rows of the piece that it has not sent yet."""

    process: SpawnProcess
    piece: Piece | None = None
    owed: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Crew:
    """The worker processes of a run, and the pieces that none of them has yet."""

    work: Work
    waiting: deque[Piece]
    threads: int | None
    members: dict[Connection, _Member] = field(default_factory=dict)

    def hire(self) -> None:
        """Start a worker; it asks for its first piece by itself."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work, self.threads), daemon=True)
        process.start()
        theirs.close()
        self.members[ours] = _Member(process)

    def hear(self, connection: Connection) -> Iterator[tuple[str, Line]]:
        """Handle one message: a row, a request for a piece (None), an error that ends the run, or the worker's end."""
        member = self.members[connection]
        try:
            message: Any = connection.recv()
        except (EOFError, ConnectionError):
            self._dismiss(connection)
            yield from self._lost(member)
            return
        if isinstance(message, WordbrushError):
            raise message
        if message is not None:
            name, row = message
            del member.owed[name]
            yield name, row
        elif self.waiting:
            member.piece = self.waiting.popleft()
            member.owed = dict(member.piece.rows)
            connection.send(member.piece)
        else:
            self._dismiss(connection)  # the worker reads the end and goes

    def _dismiss(self, connection: Connection) -> None:
        member = self.members.pop(connection)
        connection.close()
        member.process.join()

    def _lost(self, member: _Member) -> Iterator[tuple[str, Line]]:
        """Yield a failed row for each row that a dead worker has not sent."""
        code = member.process.exitcode
        if member.piece is None:
            raise ModelError(f"a worker process ended while it started (exit code {code}); try fewer --workers")
        reason = f"the worker process ended (exit code {code}); out of memory? Fewer --workers need less"
        for name, variant in member.owed.items():
            yield name, {**self.work.facts(member.piece.item, variant), "error": reason}


def crew_rows(work: Work, pieces: Sequence[Piece], workers: int, threads: int | None) -> Iterator[tuple[str, Line]]:
    """Run pieces of work in several processes and yield (row id, row) as rows are finished.

    A worker that dies (out of memory, say) costs the rows of its piece; another one takes its place.

    Raises:
        ModelError: a worker cannot start.
        WordbrushError: one of `work.fatal`.
    """
    crew = _Crew(work, deque(pieces), threads)
    try:
        for _ in range(min(workers, len(pieces))):
            crew.hire()
        while crew.members:
            for connection in wait(list(crew.members)):
                if isinstance(connection, Connection):
                    yield from crew.hear(connection)
                if crew.waiting and len(crew.members) < min(workers, len(crew.waiting)):
                    crew.hire()
    finally:
        for connection, member in crew.members.items():
            connection.close()
            member.process.terminate()
        for member in crew.members.values():
            member.process.join()


def _serve(connection: Connection, work: Work, threads: int | None) -> None:
    """Run in a worker process: ask for pieces until the pipe closes. Only the main process handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # what libraries tell their developers
    torch.set_num_threads(threads or torch.get_num_threads())
    try:
        make = work.open()
    except Exception as error:
        kind = type(error) if isinstance(error, WordbrushError) else ModelError
        connection.send(kind(f"a worker cannot start: {error}"))
        return
    try:
        while True:
            connection.send(None)
            piece: Piece = connection.recv()
            for named_row in rows_of(work, make, piece):
                connection.send(named_row)
    except (EOFError, ConnectionError):
        return  # the run has ended
    except WordbrushError as error:
        connection.send(type(error)(str(error)))
