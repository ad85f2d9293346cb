"""Batches over HTTP: `wordbrush.batch` with an engine that runs items in the device's thread, after everybody's edits.

The ledger, the items and the item function are those of `wordbrush.batch`; here is only who may have a batch, when its
next item runs, and how long it is kept. Whoever knows the id of a batch may ask for it, as for results of calls.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wordbrush.batch.edits import EditMaker
from wordbrush.batch.ledger import LEDGER, Ledger
from wordbrush.batch.runner import BatchSummary, Progress
from wordbrush.batch.work import Engine, EngineOptions, Outcome, Row, Rows, Work
from wordbrush.errors import Cancelled, OutputError, ResourceError, WordbrushError
from wordbrush.web.api.batch_request import INPUTS, BatchAsked
from wordbrush.web.gate.log import SORRY, fault
from wordbrush.web.gate.uploads import Uploads
from wordbrush.web.state.keys import new_key

if TYPE_CHECKING:
    from wordbrush.engine.events import Event
    from wordbrush.web.state.share import Caller
    from wordbrush.web.workbench import Workbench

__all__ = ["Batches", "Job"]

T = TypeVar("T")

LOOK_SECONDS: Final = 0.05
"""How often a batch looks whether anybody's edit runs or waits."""

_KEPT = re.compile(rf"{INPUTS}/[0-9a-f]{{16}}/")


@dataclass(eq=False)
class Job:
    """One batch.

    Attributes:
        caller: who sent it.
        folder: its own.
        asked: what was asked for.
        id: unguessable.
        state: waiting, running, done (all items have an outcome, whichever), cancelled, or failed as a whole.
        error: why it failed as a whole.
        progress: how far the present run is.
        begun: whether its items are in its ledger.
        summary: of the last run.
        stop: set to stop it at its next step.
        ended: when the last run ended, on the monotonic clock; None while one runs or waits.
        dropped: it goes when it ends.
    """

    caller: Caller
    folder: Path
    asked: BatchAsked | None = None
    id: str = field(default_factory=new_key)
    state: str = "waiting"
    error: str | None = None
    progress: Progress | None = None
    begun: bool = False
    summary: BatchSummary | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    ended: float | None = None
    dropped: bool = False

    @property
    def total(self) -> int:
        """How many items were asked for."""
        return self.asked.total if self.asked else 0

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.folder / "out"

    def told(self, progress: Progress) -> None:
        """Take how far the run is."""
        self.state, self.progress, self.begun = "running", progress, True

    def check(self, _: Event) -> None:
        """Raise Cancelled where it was stopped; this is the callback of its edits."""
        if self.stop.is_set():
            raise Cancelled("stopped")

    def plain(self, text: str) -> str:
        """Return a sentence without places on this machine."""
        return _KEPT.sub("", text.replace(f"{self.folder}{os.sep}", "").replace(str(self.folder), "the batch"))

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger | None]:
        """Open its ledger for reading, once there is one and until it is deleted."""
        if self.begun and (self.out / LEDGER).is_file():
            with Ledger.open(self.out, read_only=True) as ledger:
                yield ledger
        else:
            yield None

    def held(self) -> int:
        """Return the bytes that it takes on the disk."""
        sizes = 0
        for place, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    sizes += Path(place, name).lstat().st_size
        return sizes


class Batches:
    """All batches of a workbench.

    Each runs in a thread of its own, which waits most of the time: one item runs at a time, of all batches in turn, in
    the device's thread, and only when no edit of the page, of a call or of a tool runs or waits.

    Args:
        workbench: whose models, device and limits.
        folder: they lie in; it is made when the first comes.
    """

    def __init__(self, workbench: Workbench, folder: Path) -> None:
        self.workbench, self.folder = workbench, folder
        self._uploads = Uploads(workbench.files, workbench.options.limits.file_bytes)
        self._jobs: dict[str, Job] = {}
        self._lock, self._closed = threading.RLock(), False
        self._lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._callers = lambda: [job.caller for job in self._active()]
        workbench.share.sources.append(self._callers)

    def find(self, id_: str) -> Job | None:
        """Return a batch, or None where there is none of this id."""
        job = self._jobs.get(id_)
        return None if job is None or job.dropped else job

    def start(self, caller: Caller, body: Mapping[str, Any]) -> Job:
        """Take a request, and begin to run it.

        Raises:
            ResourceError: too many jobs or batches run or wait.
            WordbrushError: see `BatchAsked.of`.
        """
        job = Job(caller, self.folder)
        job.folder = self.folder / job.id
        with self._lock:
            self._admit(caller)
            self._jobs[job.id] = job
        try:
            job.folder.mkdir(mode=0o700, parents=True)
            options = self.workbench.options
            with self.workbench.turns.turn(caller.visitor or caller.address):
                asked = BatchAsked.of(job.folder, body, self.workbench.models.names, options.limits, self._uploads)
        except BaseException:
            self._remove(job)
            raise
        job.asked = asked
        self._begin(job, asked, retry_failed=False)
        return job

    def go_on(self, job: Job, *, retry_failed: bool) -> None:
        """Run what has no result yet of a batch that has ended.

        Raises:
            ResourceError: it has not, or too many jobs or batches run or wait.
        """
        with self._lock:
            if job.ended is None or job.asked is None:
                raise ResourceError("Busy: this batch runs or waits.")
            self._admit(job.caller, job)
            job.ended, job.state, job.error, job.progress = None, "waiting", None, None
            job.stop.clear()
        self._begin(job, job.asked, retry_failed=retry_failed)

    def drop(self, job: Job) -> None:
        """Stop a batch, and delete all of it."""
        with self._lock:
            job.dropped = True
            job.stop.set()
            ended = job.ended is not None
        if ended:
            self._remove(job)

    def sweep(self, before: float) -> None:
        """Delete the batches that ended before a time of the monotonic clock."""
        for job in list(self._jobs.values()):
            if job.ended is not None and job.ended < before:
                self._remove(job)

    def close(self) -> None:
        """Stop all batches; the last one that ends removes the folder."""
        with self._lock:
            self._closed = True
            for job in self._jobs.values():
                job.stop.set()
        self._lane.shutdown(wait=False, cancel_futures=True)

    # ---- who may have one

    def _active(self) -> list[Job]:
        return [job for job in list(self._jobs.values()) if job.ended is None]

    def _admit(self, caller: Caller, again: Job | None = None) -> None:
        """Refuse one batch too many, and make room on the disk for one more, or for one that ended and goes on.

        Raises:
            ResourceError: the sentence says what there is too much of.
        """
        refusal = self.workbench.share.refusal(caller)
        if refusal is not None:
            raise ResourceError(refusal)
        limits, active = self.workbench.options.limits, self._active()
        most = max(limits.folder_bytes // limits.batch_bytes, 1)
        near = sum(job.caller.address == caller.address for job in active)
        if len(active) >= most:
            raise ResourceError(f"Busy: {len(active)} batches run. Try again later.")
        if near >= max(most // 2, 1):
            raise ResourceError(f"Busy: {near} batches from your address run. Try again when one has ended.")
        room = limits.folder_bytes - (len(active) + 1) * limits.batch_bytes
        ended = (job for job in self._jobs.values() if job.ended is not None and job is not again)
        over = sorted(ended, key=lambda job: job.ended or 0.0)
        held = sum(job.held() for job in over)
        while over and held > room:
            held -= over[0].held()
            self._remove(over.pop(0))

    def _remove(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
        if self._closed:
            shutil.rmtree(self.folder.parent, ignore_errors=True)

    # ---- running

    def _begin(self, job: Job, asked: BatchAsked, *, retry_failed: bool) -> None:
        threading.Thread(target=self._run, args=(job, asked, retry_failed), name="batch").start()

    def _run(self, job: Job, asked: BatchAsked, retry_failed: bool) -> None:
        state = "cancelled"
        try:
            editor = self._in_turn(job, lambda: self.workbench.models.editor(asked.model))
            batch = asked.batch(editor)
            engine = self._engine(job, EditMaker(batch.work, editor))
            job.summary = batch.run(engine=engine, retry_failed=retry_failed, on_progress=job.told)
            state = "cancelled" if job.stop.is_set() and job.summary.waiting else "done"
        except (Cancelled, CancelledError, RuntimeError) as error:
            if not job.stop.is_set():  # else the server stops
                state, job.error = "failed", SORRY
                fault("a batch", error)
        except WordbrushError as error:
            state, job.error = "failed", job.plain(str(error))
        except Exception as error:
            state, job.error = "failed", SORRY
            fault("a batch", error)
        with self._lock:
            job.state, job.ended = state, time.monotonic()
            gone = job.dropped or self._closed
        if gone:
            self._remove(job)

    def _engine(self, job: Job, maker: EditMaker) -> Engine:
        """Return an engine that runs one item at a time in the device's thread; on a GPU those that share calls."""
        driver, most = maker.editor.driver, self.workbench.options.limits.batch_bytes
        maker.callback = job.check

        def run(_work: Work, rows: Rows, _options: EngineOptions) -> Iterator[Outcome]:
            while not job.stop.is_set() and (some := list(islice(rows, driver.batch_limit if driver.join else 1))):
                outcomes = self._in_turn(job, partial(_made, maker, some))
                yield from (one for one in outcomes if one["error_type"] != Cancelled.__name__)  # that one waits
                if job.held() > most:
                    raise OutputError(f"a batch takes at most {most / 1e6:.0f} MB here: fetch the results, delete it")

        return run

    def _in_turn(self, job: Job, work: Callable[[], T]) -> T:
        """Do work in the device's thread once no edit runs or waits there; batches take turns.

        Raises:
            Cancelled: the batch was stopped before.
        """

        def alone() -> T:
            while not job.stop.is_set() and self._edits_wait():
                job.stop.wait(LOOK_SECONDS)
            if job.stop.is_set():
                raise Cancelled("stopped")
            return self.workbench.models.device.submit(work).result()

        return self._lane.submit(alone).result()

    def _edits_wait(self) -> bool:
        others = (source for source in self.workbench.share.sources if source is not self._callers)
        return any(True for source in others for _ in source())


def _made(maker: EditMaker, rows: list[Row]) -> list[Outcome]:
    return list(maker(Rows(rows)))
