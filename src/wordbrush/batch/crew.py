"""Worker processes: rows are handed out one at a time, and what a worker that died had in hand is tried again.

Each worker has one pipe. Its end closes with the process that holds it, so a worker ends by itself when the run is
killed, and the run notices when a worker is.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import torch

from wordbrush.batch.work import Outcome, Row, Rows, Work, failed
from wordbrush.errors import ModelError, ResourceError, WordbrushError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

__all__ = ["WorkerDiedError", "crew_outcomes"]


class WorkerDiedError(ResourceError):
    """A worker process ended while it had the row: killed, out of memory, or by a fault of a library."""


@dataclass(eq=False)
class _Member:
    """A worker process, whether it has asked for a row yet, its present row and the group of that."""

    process: BaseProcess
    started: bool = False
    row: Row | None = None
    group: str | None = None


@dataclass(eq=False)
class _Crew:
    """The worker processes of a run, and the rows that none of them has yet."""

    work: Work
    rows: Rows
    workers: int
    threads: int | None
    retries: int
    context: SpawnContext | ForkServerContext
    members: dict[Connection, _Member] = field(default_factory=dict)
    waiting: deque[Row] = field(default_factory=deque)
    deaths: dict[str, int] = field(default_factory=dict)

    def fill(self) -> bool:
        """Read rows ahead; say whether there are any."""
        while len(self.waiting) < self.work.ahead * self.workers and (row := next(self.rows, None)) is not None:
            self.waiting.append(row)
        if self.rows.stopped:
            self.waiting.clear()
        return bool(self.waiting)

    def hire(self) -> None:
        """Start a worker; it asks for its first row by itself."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.work, self.threads), daemon=True)
        process.start()
        theirs.close()
        self.members[ours] = _Member(process)

    def hear(self, connection: Connection) -> Iterator[Outcome]:
        """Handle a message: an outcome, a request for a row (None), an error that ends the run, or the worker's end."""
        member = self.members[connection]
        try:
            message: Any = connection.recv()
        except (EOFError, OSError):
            self._dismiss(connection)
            yield from self._lost(member)
            return
        if isinstance(message, WordbrushError):
            raise message
        if message is not None:
            member.row = None
            yield message
            return
        member.started = True
        if self.fill():
            member.row = self._choose(member.group)
            member.group = member.row.get("grp")
            with contextlib.suppress(OSError):  # a worker that has died by now is heard of next
                connection.send(member.row)
        else:
            self._dismiss(connection)  # the worker reads the end and goes

    def _choose(self, group: str | None) -> Row:
        """Take a row of the worker's own group, else one of a group that no other worker has, else the first."""
        taken = {member.group for member in self.members.values()}
        own = [row for row in self.waiting if group is not None and row.get("grp") == group]
        free = [row for row in self.waiting if row.get("grp") not in taken]
        row = (own or free or self.waiting)[0]
        self.waiting.remove(row)
        return row

    def _dismiss(self, connection: Connection) -> None:
        member = self.members.pop(connection)
        connection.close()
        member.process.join()

    def _lost(self, member: _Member) -> Iterator[Outcome]:
        """Try the row of a dead worker again, or yield that it failed."""
        code, row = member.process.exitcode, member.row
        if row is None:
            if member.started or self.rows.stopped:
                return
            raise ModelError(f"a worker process ended while it started (exit code {code}); try fewer --workers")
        deaths = self.deaths[row["key"]] = self.deaths.get(row["key"], 0) + 1
        if deaths <= self.retries:
            self.waiting.appendleft(row)
            return
        reason = f"the worker process ended {deaths} times (exit code {code}); out of memory? Fewer --workers need less"
        yield failed(row, WorkerDiedError(reason))


def crew_outcomes(
    work: Work, rows: Rows, *, workers: int, threads: int | None = None, retries: int = 1
) -> Iterator[Outcome]:
    """Run work in several processes and yield outcomes as rows are finished.

    A worker that dies (out of memory, say) costs its row one of its tries; another takes its place.

    Args:
        work: what is done; it is sent to each process.
        rows: what it is done with.
        workers: most processes.
        threads: of torch in each.
        retries: how often a row is tried again whose worker died.

    Raises:
        ModelError: a worker cannot start.
        WordbrushError: one of `work.fatal`.
    """
    crew = _Crew(work, rows, workers, threads, retries, _context(work))
    try:
        while crew.fill() or crew.members:
            busy = sum(member.row is not None for member in crew.members.values())
            for _ in range(len(crew.members), min(workers, len(crew.waiting) + busy)):
                crew.hire()
            for connection in wait(list(crew.members)):
                if isinstance(connection, Connection):
                    yield from crew.hear(connection)
    finally:
        for connection, member in crew.members.items():
            connection.close()
            member.process.terminate()
        for member in crew.members.values():
            member.process.join()


def _context(work: Work) -> SpawnContext | ForkServerContext:
    """Return how processes are started: forked off one that has imported the work's libraries, where there are forks.

    That one has one thread and has run no network, so nothing is forked in the middle of anything.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([type(work).__module__])
    return context


def _serve(connection: Connection, work: Work, threads: int | None) -> None:
    """Run in a worker process: ask for rows until the pipe closes. Only the main process handles Ctrl-C."""
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
            row: Row = connection.recv()
            for outcome in make(Rows([row])):
                connection.send(outcome)
    except (EOFError, ConnectionError):
        return  # the run has ended
    except WordbrushError as error:
        connection.send(type(error)(str(error)))
