"""The crew of a run: workers in processes of their own, items handed out, rows taken as they come.

Each worker has one pipe. Its end closes with the process that holds it, so a worker ends by itself when the run is
killed, and the run notices when a worker is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.evaluation.items import TruthItem
from wordbrush.evaluation.plan import Row, RunPlan

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["Job", "crew_rows"]


@dataclass(frozen=True, eq=False)
class Job:
    """An item and the names of the variants still to run on it."""

    item: TruthItem
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Unable:
    """What a worker sends that cannot start."""

    reason: str


@dataclass(eq=False)
class _Member:
    """A worker as the run sees it."""

    process: SpawnProcess
    job: Job | None = None
    done: set[str] = field(default_factory=set)


def crew_rows(plan: RunPlan, out: Path, jobs: Sequence[Job]) -> Iterator[Row]:
    """Run jobs in `plan.workers` processes and yield the rows in the order in which they are finished.

    A worker that dies (out of memory, say) costs the rows of its item; another one takes its place.

    Raises:
        ModelError: a worker cannot start.
    """
    waiting, members = deque(jobs), dict[Connection, _Member]()
    try:
        for _ in range(min(plan.workers, len(jobs))):
            _hire(plan, out, members)
        while members:
            for connection in wait(list(members)):
                if isinstance(connection, Connection):
                    yield from _hear(connection, members, waiting)
                if waiting and len(members) < min(plan.workers, len(waiting)):
                    _hire(plan, out, members)
    finally:
        for connection, member in members.items():
            connection.close()
            member.process.terminate()
        for member in members.values():
            member.process.join()


def _hire(plan: RunPlan, out: Path, members: dict[Connection, _Member]) -> None:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, plan, out), daemon=True)
    process.start()
    theirs.close()
    members[ours] = _Member(process)


def _hear(connection: Connection, members: dict[Connection, _Member], waiting: deque[Job]) -> Iterator[Row]:
    """Take one message: a row, an end of a job (None), or the end of the worker."""
    member = members[connection]
    try:
        message: Any = connection.recv()
    except (EOFError, ConnectionError):
        del members[connection]
        connection.close()
        member.process.join()
        yield from _lost(member)
        return
    if isinstance(message, _Unable):
        raise ModelError(message.reason)
    if isinstance(message, Row):
        member.done.add(message.variant)
        yield message
        return
    member.job, member.done = (waiting.popleft() if waiting else None), set()
    if member.job is not None:
        connection.send(member.job)
        return
    del members[connection]
    connection.close()  # no work left: the worker reads the end and goes
    member.process.join()


def _lost(member: _Member) -> Iterator[Row]:
    """Say of each row that a dead worker owed that it failed."""
    code = member.process.exitcode
    if member.job is None:
        raise ModelError(f"a worker process ended while it started (exit code {code}); try fewer --workers")
    item = member.job.item
    for name in member.job.names:
        if name not in member.done:
            reason = f"the worker process ended (exit code {code}); out of memory? Fewer --workers need less"
            yield Row(item.id, item.kind, name, error=reason)


def _work(connection: Connection, plan: RunPlan, out: Path) -> None:
    """Be a worker: ask for jobs until the pipe ends. Ctrl-C is the run's affair."""
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # what libraries tell their developers
    import torch

    torch.set_num_threads(plan.threads)
    from wordbrush.evaluation.worker import Worker

    try:
        worker = Worker(plan, out)
    except Exception as error:
        connection.send(_Unable(f"a worker cannot start: {error}"))
        return
    try:
        while True:
            connection.send(None)
            job: Job = connection.recv()
            for row in worker.rows(job.item, job.names):
                connection.send(row)
    except (EOFError, ConnectionError):
        return  # the run has ended
