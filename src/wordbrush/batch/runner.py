"""The runner: rows through an engine into a ledger, whatever is done with them.

Outcomes are written as they come, so a run may be killed at any moment: started again, it goes on after those that are
there. Ctrl-C lets what is being done end; a second one does not.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.ledger import Added, Checks, Entry, ErrorGroup, Ledger, State
from wordbrush.batch.work import Engine, EngineOptions, Rows, Work
from wordbrush.errors import Cancelled, OutputError, SettingsError

__all__ = ["ENGINES", "PARTIAL", "BatchSummary", "Progress", "engine_of", "run_rows"]

ENGINES: Final[Mapping[str, str]] = {"local": "local:run_local", "ray": "ray:run_ray"}
"""Engines by name, as `module:function` within this package; a module is imported when its engine is chosen."""

PARTIAL: Final = 6
"""Exit code of a run in which some items failed and the others are there."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: items that have an outcome, earlier runs' too.
        total: items of the run.
        resumed: items that had one when the run began.
        failed: items that have failed, earlier runs' too.
        seconds: since the run began.
        waiting_for: a sentence on what the engine waits for, where nothing goes on; else empty.
    """

    done: int
    total: int
    resumed: int
    failed: int
    seconds: float = field(default=0.0, compare=False)
    waiting_for: str = ""


@dataclass(frozen=True)
class BatchSummary:
    """What became of a batch.

    Attributes:
        folder: of the ledger and the results.
        total: items that were asked for.
        done: those that have a result, `resumed` of them from earlier runs.
        failed: those that have an error.
        waiting: those that have neither, as where the run was limited.
        resumed: those that were done before this run.
        twice: how often an item was asked for again in the same run.
        seconds: of this run.
        evaluations: network evaluations of all items that are done.
        errors: the failures by type, the most frequent first.
        notes: what a user should know.
    """

    folder: str
    total: int
    done: int
    failed: int
    waiting: int
    resumed: int
    twice: int
    seconds: float
    evaluations: int
    errors: tuple[ErrorGroup, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or 6 where items failed."""
        return PARTIAL if self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "errors": [asdict(error) for error in self.errors], "notes": list(self.notes)}


def engine_of(engine: str | Engine) -> Engine:
    """Return an engine by its name.

    Raises:
        SettingsError: there is none of that name.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise SettingsError(f"engine {engine!r} is unknown: known are {', '.join(ENGINES)}")
    module, _, name = ENGINES[engine].partition(":")
    found: Engine = getattr(import_module(f"wordbrush.batch.{module}"), name)
    return found


def run_rows(
    ledger: Ledger,
    work: Work,
    entries: Iterable[Entry],
    options: EngineOptions,
    *,
    engine: str | Engine = "local",
    command: Mapping[str, Any] | None = None,
    checks: Checks | None = None,
    retry_failed: bool = False,
    limit: int | None = None,
    on_added: Callable[[Added, Mapping[State, int]], EngineOptions | None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> BatchSummary:
    """Enter items into a ledger, run those that have no outcome yet, and say what became of all.

    Args:
        ledger: open for writing.
        work: what is done with each.
        entries: the items, streamed.
        options: for the engine.
        engine: its name, or itself.
        command: what to keep of how the run was started, JSON values.
        checks: what is looked at when items are entered, besides the ledger.
        retry_failed: try items again that failed in an earlier run.
        limit: at most this many items in this run.
        on_added: called once all items are entered, with their counts by state; it may return other options.
        on_progress: called once then, after every item, and now and then while the engine waits for something.

    Raises:
        Cancelled: Ctrl-C was pressed; what was being done then has ended, and all else waits.
        OutputError: nothing can be written any more.
        WordbrushError: one of `work.fatal`.
    """
    function, begin, ended = engine_of(engine), time.monotonic(), False
    run = ledger.begin(command or {}, importlib.metadata.version("wordbrush"))
    added = ledger.add(entries, checks)
    if retry_failed:
        ledger.retry_failed()
    counts = ledger.counts(run)
    options = (on_added(added, counts) if on_added else None) or options
    total, resumed, failed = sum(counts.values()), counts["done"], counts["failed"]
    settled, new = resumed + failed, 0

    def tell(waiting_for: str = "") -> None:
        if on_progress:
            on_progress(Progress(settled + new, total, settled, failed, time.monotonic() - begin, waiting_for))

    try:
        with _interrupted() as stopped:
            tell()
            rows = Rows(islice(ledger.waiting(), limit), stopped)
            with closing(_generator(function(work, rows, replace(options, say=tell)))) as outcomes:
                for outcome in outcomes:
                    ledger.finish(outcome)
                    new += 1
                    failed += outcome["state"] == "failed"
                    tell()
            if stopped():
                raise Cancelled("stopped; run again to go on")
        ended = True
    finally:
        with contextlib.suppress(*() if ended else (OutputError,)):  # what ended the run comes first
            ledger.end(time.monotonic() - begin)
    counts = ledger.counts(run)
    return BatchSummary(
        folder=str(ledger.folder),
        total=total,
        done=counts["done"],
        failed=counts["failed"],
        waiting=counts["waiting"],
        resumed=resumed,
        twice=added.twice,
        seconds=time.monotonic() - begin,
        evaluations=ledger.totals(run)[1],
        errors=tuple(ledger.errors(run)),
        notes=(*ledger.notes, *added.notes),
    )


def _generator(outcomes: Iterator[Any]) -> Any:
    """Return outcomes as a generator, which can be closed."""
    yield from outcomes


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or SIGTERM came within the block; the second Ctrl-C is raised."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread hears signals
        return

    def handle(number: int, _frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def folder_of(out: str | Path) -> Path:
    """Return the folder of results, with `~` and relative parts resolved, so that workers elsewhere mean the same."""
    return Path(out).expanduser().resolve()
