"""The progress of a long run: done and total, rate, time left; a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wordbrush.cli.terminal import Terminal
    from wordbrush.evaluation.runner import Progress

__all__ = ["progress_line", "run_progress"]

EVERY: Final = 10.0
"""Seconds between plain lines."""


def progress_line(progress: Progress, seconds: float) -> str:
    """Return `done/total, rate, time left`; the rate is of this run alone, not of the rows it found."""
    made = progress.done - progress.resumed
    text = f"{progress.done}/{progress.total} rows"
    if progress.resumed:
        text += f" ({progress.resumed} were there)"
    if made and seconds > 0:
        rate = made / seconds
        text += f", {rate:.2f} rows/s" if rate >= 0.1 else f", {1 / rate:.1f} s a row"
        if progress.done < progress.total:
            text += f", {_clock((progress.total - progress.done) / rate)} left"
    return text + (f", {progress.failed} failed" if progress.failed else "")


@contextmanager
def run_progress(terminal: Terminal) -> Iterator[Callable[[Progress], None] | None]:
    """Yield what to hand to `runner.run`: it shows how far the run is, on standard error."""
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

        def tell(progress: Progress) -> None:
            nonlocal shown
            now = since()
            if now - shown >= EVERY or progress.done == progress.total:
                shown = now
                terminal.note(progress_line(progress, now))

        yield tell
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(BarColumn(), TextColumn("{task.description}", markup=False), console=console) as bar:
        task = bar.add_task("loading", total=None)

        def draw(progress: Progress) -> None:
            text = progress_line(progress, since())
            bar.update(task, description=text, total=progress.total, completed=progress.done)

        yield draw


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
