"""What people see on standard error: notes and warnings. And the one way data goes to standard output.

Nothing that others wrote (names, records, cards, messages of libraries) reaches a terminal with its control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from wordbrush.cli.streams import unwritable
from wordbrush.errors import OutputError
from wordbrush.texts import text_notes

__all__ = ["Terminal", "one_line", "print_json", "print_text", "shown", "write_stdout"]


def shown(text: str) -> str:
    """Return text with control characters, which could drive a terminal, written out instead of sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def one_line(text: str, limit: int = 2000) -> str:
    """Return text as one line that is safe to show, cut at `limit` characters."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def print_text(text: str = "") -> None:
    """Write text to standard output, line by line, control characters written out.

    Raises:
        OutputError: it cannot be written.
    """
    with _reported():
        for line in text.split("\n"):
            print(shown(line))


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object, in ASCII, to standard output.

    Raises:
        OutputError: it cannot be written.
    """
    with _reported():
        print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=True))


def write_stdout(data: bytes) -> None:
    """Write raw bytes (a picture) to standard output.

    Raises:
        OutputError: they cannot be written.
    """
    with _reported():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def _reported() -> Iterator[None]:
    """Turn a failure of standard output into an error that says so."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(error) from error


class Terminal:
    """Standard error: notes and warnings as lines; a warning is said once.

    Args:
        quiet: no notes and no bars; warnings still appear.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._warned: set[str] = set()

    @property
    def console(self) -> Console:
        """A console on the present standard error; honours NO_COLOR."""
        return Console(stderr=True, highlight=False, markup=False, emoji=False)

    def note(self, text: str) -> None:
        """Print a note."""
        if not self.quiet:
            self.console.print(one_line(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning that the user should act on, unless it was printed before."""
        if text in self._warned:
            return
        self._warned.add(text)
        self.console.print(f"warning: {one_line(text)}", style="yellow", soft_wrap=True)

    def tell_texts(self, query: str, reference: str, negative: str = "") -> None:
        """Warn of what is to be known about texts, in the words of the report, before any work."""
        for note in text_notes({"query": query, "reference": reference, "negative": negative}):
            self.warn(note)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something without steps is going on, such as loading a model."""
        console = self.console
        if self.quiet or not console.is_terminal:
            yield
            return
        plain = not console.encoding.startswith("utf")
        with console.status(Text(one_line(text)), spinner="line" if plain else "dots"):
            yield
