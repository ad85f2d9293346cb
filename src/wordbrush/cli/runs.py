"""What long runs share, batches and evaluations: the progress line, the list of failures, and the check of a word."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from wordbrush.batch.runner import PARTIAL, Progress
from wordbrush.cli.terminal import Terminal
from wordbrush.errors import SettingsError

__all__ = ["end_run", "one_of", "progress_line", "run_progress"]

EVERY: Final = 10.0
"""Seconds between plain lines."""


def one_of(flag: str, word: str, known: Sequence[str]) -> Any:
    """Return `word` if it is one of the known ones.

    Raises:
        SettingsError: it is not.
    """
    if word not in known:
        raise SettingsError(f"{flag} {word!r} is unknown: known are {', '.join(known)}")
    return word


def end_run(failures: Sequence[str], total: int, rows: str, terminal: Terminal) -> None:
    """Print the first failures of a run and their number, and exit with code 6; without failures do nothing.

    Args:
        failures: one sentence each.
        total: how many rows there are.
        rows: what they are called.
        terminal: where it is told.

    Raises:
        Exit: with code 6, something failed.
    """
    for failure in failures[:5]:
        terminal.warn(failure)
    if failures:
        terminal.warn(f"{len(failures)} of {total} {rows} failed; run again to try them again")
        raise typer.Exit(PARTIAL)


def progress_line(progress: Progress, seconds: float, unit: str = "row", failed_before: int = 0) -> str:
    """Return `done/total, rate, time left`; the rate is of this run alone, not of the rows it found.

    Args:
        progress: how far the run is.
        seconds: since its first row could start.
        unit: what a row is called.
        failed_before: how many of the rows that it found had failed; a row that cannot be read fails before all.
    """
    new_rows, there = progress.done - progress.resumed, progress.resumed - failed_before
    text = f"{progress.done}/{progress.total} {unit}s"
    if there > 0:
        text += f" ({there} were there)"
    if new_rows and seconds > 0:
        rate, one = new_rows / seconds, f"{'an' if unit[0] in 'aeiou' else 'a'} {unit}"
        text += f", {rate:.2f} {unit}s/s" if rate >= 0.1 else f", {1 / rate:.1f} s {one}"
        if progress.done < progress.total:
            text += f", {_clock((progress.total - progress.done) / rate)} left"
    text += f", {progress.failed} failed" if progress.failed else ""
    return ", ".join(filter(None, (text, progress.waiting_for)))


@contextmanager
def run_progress(terminal: Terminal, unit: str = "row") -> Iterator[Callable[[Progress], None] | None]:
    """Yield what to hand to a runner: it shows how far the run is, on standard error."""
    if terminal.quiet:
        yield None
        return
    console, begin, before = terminal.console, 0.0, 0

    def line(progress: Progress) -> str:
        """Return the line; the clock starts when the first row can: loading does not count."""
        nonlocal begin, before
        if not begin:
            begin, before = time.monotonic(), progress.failed
        return progress_line(progress, time.monotonic() - begin, unit, before)

    if not console.is_terminal:
        shown = -math.inf

        def tell(progress: Progress) -> None:
            nonlocal shown
            text, now = line(progress), time.monotonic()
            if now - shown >= EVERY or progress.done == progress.total or progress.waiting_for:
                shown = now
                terminal.note(text)

        yield tell
        return
    with Bar(BarColumn(), TextColumn("{task.description}", markup=False), console=console) as bar:
        task = bar.add_task("loading", total=None)

        def draw(progress: Progress) -> None:
            bar.update(task, description=line(progress), total=progress.total, completed=progress.done)

        yield draw


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
