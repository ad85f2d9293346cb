"""What long runs share, batches and evaluations: the progress line, the list of failures, and the check of a word."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import typer
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from wordbrush.cli.terminal import Terminal
from wordbrush.errors import SettingsError

__all__ = ["HowFar", "end_run", "one_of", "progress_line", "run_progress"]

class HowFar(Protocol):
    """How far a run is: what is done, of how many, what was done when it began, what has failed."""

    @property
    def done(self) -> int: ...  # noqa: D102
    @property
    def total(self) -> int: ...  # noqa: D102
    @property
    def resumed(self) -> int: ...  # noqa: D102
    @property
    def failed(self) -> int: ...  # noqa: D102


PARTIAL: Final = 6
"""Exit code of a run in which some rows failed and the others are there."""

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


def progress_line(progress: HowFar, seconds: float, unit: str = "row") -> str:
    """Return `done/total, rate, time left`; the rate is of this run alone, not of the rows it found."""
    new_rows = progress.done - progress.resumed
    text = f"{progress.done}/{progress.total} {unit}s"
    if progress.resumed:
        text += f" ({progress.resumed} were there)"
    if new_rows and seconds > 0:
        rate, one = new_rows / seconds, f"{'an' if unit[0] in 'aeiou' else 'a'} {unit}"
        text += f", {rate:.2f} {unit}s/s" if rate >= 0.1 else f", {1 / rate:.1f} s {one}"
        if progress.done < progress.total:
            text += f", {_clock((progress.total - progress.done) / rate)} left"
    text += f", {progress.failed} failed" if progress.failed else ""
    return ", ".join(filter(None, (text, _waiting_for(progress))))


def _waiting_for(progress: HowFar) -> str:
    """Return what a batch waits for; evaluations wait for nothing."""
    return str(getattr(progress, "waiting_for", ""))


@contextmanager
def run_progress(terminal: Terminal, unit: str = "row") -> Iterator[Callable[[HowFar], None] | None]:
    """Yield what to hand to a runner: it shows how far the run is, on standard error."""
    if terminal.quiet:
        yield None
        return
    console, begin = terminal.console, 0.0

    def since() -> float:
        """Return the seconds since the first row could start: loading does not count."""
        nonlocal begin
        begin = begin or time.monotonic()
        return time.monotonic() - begin

    if not console.is_terminal:
        shown = -EVERY

        def tell(progress: HowFar) -> None:
            nonlocal shown
            now = since()
            if now - shown >= EVERY or progress.done == progress.total or _waiting_for(progress):
                shown = now
                terminal.note(progress_line(progress, now, unit))

        yield tell
        return
    with Bar(BarColumn(), TextColumn("{task.description}", markup=False), console=console) as bar:
        task = bar.add_task("loading", total=None)

        def draw(progress: HowFar) -> None:
            text = progress_line(progress, since(), unit)
            bar.update(task, description=text, total=progress.total, completed=progress.done)

        yield draw


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
