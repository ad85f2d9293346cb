"""Progress bars: one for each stage of an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wordbrush.cli.terminal import Terminal, one_line
from wordbrush.engine.events import Event

__all__ = ["STAGES", "stage_bars"]

STAGES: Final = {
    "encode": "encode the picture",
    "contrast": "contrast the texts",
    "invert": "invert into the noise",
    "check": "check the inversion",
    "decode": "decode under the query",
    "compose": "compose the pixels",
}


@contextmanager
def stage_bars(terminal: Terminal, title: str = "") -> Iterator[Callable[[Event], None] | None]:
    """Show a bar for each stage of an edit while the block runs; yields the callback to hand to the editor."""
    console = terminal.console
    if terminal.quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        if title:
            console.print(one_line(title), soft_wrap=True)
        rows = {}

        def show(event: Event) -> None:
            if event.stage not in rows:
                rows[event.stage] = bars.add_task(STAGES.get(event.stage, event.stage), total=event.steps)
            bars.update(rows[event.stage], total=event.steps, completed=event.step)

        yield show
