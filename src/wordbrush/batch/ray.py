"""The engine on a Ray cluster: the rows of a run through Ray Data to actors that each hold the work open.

Ray Data runs tables, not rows, and drops or repeats them where a process dies; so a row's fate is settled here:

- Outcomes come back as text, one block each, so that they are known as soon as they are there.
- A row that comes back without an outcome was in one call with one whose actor died, or was it. At the end it is run
  again, alone, at most `retries` times; so a row that kills its actor fails, and harms no other.
- Actors live in places of their own, and do not outlive the pass that they are started for (`ray_places`).
- The results are files that the work writes by itself, in one step each: what was written and not told is taken up by
  the next run.

Ray takes a run's rows in waves, so that neither memory nor what a dead driver leaves as running grows with them.
"""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import secrets
import shutil
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from wordbrush.batch.crew import WorkerDiedError
from wordbrush.batch.ray_actor import STOP, TOKEN, RowActor, Terms, versions
from wordbrush.batch.ray_cluster import Crew, crew_of, quiet
from wordbrush.batch.ray_places import places
from wordbrush.batch.work import EngineOptions, Outcome, Row, Rows, Work, failed
from wordbrush.errors import OutputError, ResourceError, SettingsError, WordbrushError

__all__ = ["run_ray"]

_WAVE: Final = 1024
"""Rows of each actor until the actors are asked anew, and load their model again."""

_BUNDLE: Final = 8
"""Most rows of one call; a picture's rows share what is computed of it, where they stand in one call."""

_SHARES: Final = 4
"""Least calls of each actor, so that all are busy to the end."""

_MEETING: Final = ".wordbrush-ray-"
_GLANCE: Final = 0.3  # seconds


def run_ray(work: Work, rows: Rows, options: EngineOptions) -> Iterator[Outcome]:
    """Run work on a Ray cluster, and yield the outcomes of its rows as they come.

    Args:
        work: what is done; each actor opens it once.
        rows: what it is done with.
        options: see `ray_cluster.crew_of` for what `extra` may hold.

    Raises:
        SettingsError: Ray is not installed or cannot be reached, or the work cannot be sent.
        ResourceError: the cluster has not what an actor needs or does not offer it in time, or Ray itself failed.
        Cancelled: the run was stopped while it waited for that.
        WordbrushError: one of `work.fatal`, or an actor cannot open the work or does not see the folder.
    """
    if not work.portable:
        raise SettingsError("a loaded model cannot be sent to other processes: give its name or folder")
    with (
        crew_of(options, lambda: rows.stopped) as crew,
        _meeting(work, crew, options.folder) as terms,
        _watched(terms, rows),
    ):
        yield from _Run(terms, crew, rows, options.retries).outcomes()


@contextmanager
def _meeting(work: Work, crew: Crew, folder: Path) -> Iterator[Terms]:
    """Make the folder in which driver and actors meet, while the block runs."""
    token = secrets.token_hex(16)
    place = folder / f"{_MEETING}{token[:8]}"
    for old in folder.glob(f"{_MEETING}*"):  # of drivers that were killed
        shutil.rmtree(old, ignore_errors=True)
    try:
        place.mkdir(parents=True)
        (place / TOKEN).write_text(token, "utf-8")
    except OSError as error:
        raise OutputError(f"{place}: nothing can be written here ({error.strerror or error})") from error
    try:
        yield Terms(
            work=work,
            folder=str(place),
            token=token,
            facts=work.facts(),
            versions=versions(),
            threads=crew.threads,
            gpus=crew.gpus,
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _watched(terms: Terms, rows: Rows) -> Iterator[None]:
    """Tell the actors when the run is to stop: they then end what they have begun."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_GLANCE):
            if rows.stopped:
                with contextlib.suppress(OSError):
                    Path(terms.folder, STOP).touch()
                return

    thread = threading.Thread(target=watch, name="wordbrush-ray-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Run:
    """The rows of a run on their way: waves of all, then those again whose actor died."""

    def __init__(self, terms: Terms, crew: Crew, rows: Rows, retries: int) -> None:
        self.terms, self.crew, self.rows, self.retries = terms, crew, rows, retries
        self.lost: dict[str, Row] = {}
        self.deaths: dict[str, int] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of all rows."""
        while wave := list(islice(self.rows, _WAVE * self.crew.workers)):
            yield from self._pass(_bundles(wave, self._most(len(wave))))
            yield from self._given_up()
        while self.lost and not self.rows.stopped:
            yield from self._pass([[row] for row in self.lost.values()])
            yield from self._given_up()

    def _most(self, count: int) -> int:
        """Return how many rows to put into one call; each alone where none may be tried twice."""
        return max(1, min(_BUNDLE, count // (_SHARES * self.crew.workers))) if self.retries else 1

    def _given_up(self) -> Iterator[Outcome]:
        """Yield the failures of rows whose actor died too often."""
        for key in [key for key in self.lost if self.deaths[key] > self.retries]:
            reason = f"the process that had it ended {self.deaths[key]} times; out of memory, or a fault of a library?"
            yield failed(self.lost.pop(key), WorkerDiedError(reason))

    def _pass(self, bundles: Sequence[Sequence[Row]]) -> Iterator[Outcome]:
        """Run bundles once, and keep the rows that had no outcome as lost."""
        left = {row["key"]: row for bundle in bundles for row in bundle}
        many = len(left)
        try:
            with quiet(), closing(_streamed(self.terms, self.crew, bundles)) as outcomes:
                for outcome in outcomes:
                    left.pop(outcome["key"], None)
                    self.lost.pop(outcome["key"], None)
                    yield outcome
        except WordbrushError:
            raise
        except Exception as error:  # of Ray; what came back stays, and the rest is tried again
            if len(left) == many:
                raise ResourceError(f"Ray cannot run the work ({' '.join(str(error).split())[-300:]})") from error
        if self.rows.stopped:
            return
        for key, row in left.items():
            self.deaths[key] = self.deaths.get(key, 0) + 1
            self.lost[key] = row


def _bundles(rows: Sequence[Row], most: int) -> list[list[Row]]:
    """Part rows into calls, in their order; a group that fits into one call is not parted."""
    bundles = list[list[Row]]()
    for _, group in groupby(rows, key=lambda row: row.get("grp")):
        while part := list(islice(group, most)):
            if not bundles or len(bundles[-1]) + len(part) > most:
                bundles.append([])
            bundles[-1] += part
    return bundles


def _streamed(terms: Terms, crew: Crew, bundles: Sequence[Sequence[Row]]) -> Generator[Outcome, None, None]:
    """Run bundles through Ray Data, and yield outcomes as they come; closed, it leaves no actor behind.

    Raises:
        WordbrushError: an actor met an error that ends the run, or there is no place for one.
        Exception: Ray itself failed.
    """
    from ray.data import ActorPoolStrategy, DataContext, from_items

    count, alone = min(crew.workers, len(bundles)), max(map(len, bundles)) == 1
    with places(crew.asked, count) as options:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context = copy.deepcopy(DataContext.get_current())
            context.enable_progress_bars = context.print_on_execution_start = False
            context.max_errored_blocks = -1
            context.default_map_logical_memory_enabled = False  # actors ask for what their places have, and no more
            context.execution_no_progress_timeout_s = -1  # a row may take as long as it takes
            context.target_max_block_size = 1  # bytes: each outcome is a block of its own, and comes at once
            with DataContext.current(context):
                # Made here: a task that read a table would need a processor, and actors may hold all there are.
                calls = [{"rows": json.dumps([dict(row) for row in bundle])} for bundle in bundles]
                data = from_items(calls, override_num_blocks=len(calls))
            told = data.map_batches(
                RowActor,
                fn_constructor_kwargs={"terms": terms},
                batch_size=1,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1 if alone else 2),
                num_cpus=crew.cpus,
                num_gpus=crew.gpus,
                ray_remote_args_fn=options,
            )
            results = iter(told.iter_rows())
        # Closed, it ends Ray Data's own thread, which would go on with the rows and start actors for them.
        with closing(results) as rows:
            for row in rows:
                if row["fatal"]:
                    raise pickle.loads(row["fatal"])  # noqa: S301 - written by our own actor
                yield json.loads(row["outcome"])
