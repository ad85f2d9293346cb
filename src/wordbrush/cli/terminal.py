"""What people see on standard error: notes, warnings, progress bars. And the one way data goes to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from wordbrush.engine.events import Event

__all__ = ["STAGES", "Terminal", "one_line", "print_json", "shown", "write_stdout"]

STAGES = {
    "encode": "encode the picture",
    "contrast": "contrast the texts",
    "invert": "invert into the noise",
    "check": "check the inversion",
    "decode": "decode under the query",
    "compose": "compose the pixels",
}


def shown(text: str) -> str:
    """Return text with control characters, which could drive a terminal, written out instead of sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def one_line(text: str, limit: int = 2000) -> str:
    """Return text as one line that is safe to show, cut at `limit` characters."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object to standard output."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=True))


def write_stdout(data: bytes) -> None:
    """Write raw bytes (a picture) to standard output."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class Terminal:
    """Standard error: notes and warnings as lines, stages as bars.

    Args:
        quiet: no notes and no bars; warnings still appear.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    @property
    def console(self) -> Console:
        """A console on the present standard error; honours NO_COLOR."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False)

    def note(self, text: str) -> None:
        """Say something useful."""
        if not self.quiet:
            self.console.print(one_line(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Say something the user should act on."""
        self.console.print(f"warning: {one_line(text)}", style="yellow", soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something without steps is going on, such as loading a model."""
        console = self.console
        if self.quiet or not console.is_terminal:
            yield
            return
        with console.status(one_line(text)):
            yield

    @contextmanager
    def stages(self, title: str = "") -> Iterator[Callable[[Event], None] | None]:
        """Show a bar for each stage while the block runs; yields the callback to hand to the editor."""
        console = self.console
        if self.quiet or not console.is_terminal:
            yield None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            tasks: dict[str, Any] = {}
            if title:
                console.print(one_line(title), soft_wrap=True)

            def show(event: Event) -> None:
                if event.stage not in tasks:
                    tasks[event.stage] = progress.add_task(STAGES.get(event.stage, event.stage), total=event.steps)
                progress.update(tasks[event.stage], total=event.steps, completed=event.step)

            yield show
