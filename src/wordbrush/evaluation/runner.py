"""The runner: items times variants, resumable, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from wordbrush.errors import InputError, OutputError
from wordbrush.evaluation.crew import Job, crew_rows
from wordbrush.evaluation.journal import Journal
from wordbrush.evaluation.plan import Row, Rows, RunPlan, find_method, fingerprint, row_id
from wordbrush.evaluation.truth import load_truth
from wordbrush.evaluation.worker import Worker, load_editor, open_lpips, told

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["JOURNAL", "Progress", "run"]

JOURNAL: Final = "rows.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a run is, in rows.

    Attributes:
        done: rows that are on the disk, earlier runs' too.
        total: rows of the plan.
        resumed: rows that were there when this run began.
        failed: rows of this run that have no metrics.
    """

    done: int
    total: int
    resumed: int
    failed: int


def run(
    plan: RunPlan, out: Path, on_progress: Callable[[Progress], None] | None = None, *, force: bool = False
) -> Rows:
    """Run a plan, or what is left of it.

    Each row is on the disk before the next one counts, so a run may be killed at any moment: started again, it goes on
    after the rows that are there. A row that failed is tried again. Rows of another plan are never mixed in. Results
    depend neither on the number of workers nor on the order in which items are finished.

    Args:
        plan: what runs.
        out: folder for the journal and the example pictures; it is made if need be.
        on_progress: called once at the beginning and after every row.
        force: forget what is there and start anew.

    Returns:
        All rows of the plan: by item, and in the plan's order of variants.

    Raises:
        OutputError: `out` cannot be written, is in use, or holds rows of another plan and `force` is off.
        InputError: the bench has no such items.
        WordbrushError: model, judge or metric weights cannot be used, or a method is unknown.
    """
    for variant in plan.variants:
        find_method(variant.method)
    items = tuple(sorted(load_truth(plan.bench, plan.split, plan.kinds, plan.limit), key=lambda item: item.id))
    if not items:
        raise InputError(f"{plan.bench}: no items of split {plan.split} and kinds {', '.join(plan.kinds)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be made ({error.strerror}); choose another with --out") from error
    editor = load_editor(plan)
    facts = fingerprint(plan, items, editor.model.identity, told(open_lpips(plan.lpips)))
    with Journal.open(out / JOURNAL, facts, force=force) as journal:
        jobs = _left(plan, items, journal)
        total = len(items) * len(plan.variants)
        resumed = total - sum(len(job.names) for job in jobs)
        done, failed = resumed, 0
        _tell(on_progress, Progress(done, total, resumed, failed))
        for row in _rows(plan, out, jobs, editor):
            journal.append(row.id, row.as_dict())
            done, failed = done + 1, failed + (row.error is not None)
            _tell(on_progress, Progress(done, total, resumed, failed))
        rows = tuple(_row(journal.rows[row_id(item.id, variant.name)]) for item in items for variant in plan.variants)
    return Rows(rows, plan, facts, items)


def _left(plan: RunPlan, items: Sequence[Any], journal: Journal) -> list[Job]:
    """Return what still has to run, item by item."""
    jobs = []
    for item in items:
        names = [v.name for v in plan.variants if not journal.is_done(row_id(item.id, v.name))]
        if names:
            jobs.append(Job(item, tuple(names)))
    return jobs


def _rows(plan: RunPlan, out: Path, jobs: Sequence[Job], editor: Editor) -> Iterator[Row]:
    if plan.workers > 1:
        yield from crew_rows(plan, out, jobs)
    elif jobs:
        worker = Worker(plan, out, editor)
        with _threads(plan.threads):
            for job in jobs:
                yield from worker.rows(job.item, job.names)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute in so many threads, and in as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _row(value: dict[str, Any]) -> Row:
    return Row(value["item"], value["kind"], value["variant"], value["metrics"], value.get("error"))


def _tell(on_progress: Callable[[Progress], None] | None, progress: Progress) -> None:
    if on_progress is not None:
        on_progress(progress)
