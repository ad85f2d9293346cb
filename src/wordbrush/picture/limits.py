"""How large the pictures and masks may be that are read now, and how whoever reads a refusal can change it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["MAX_BYTES", "MAX_PIXELS", "ReadingLimits", "limited", "reading_limits"]

MAX_PIXELS = 120_000_000
"""Most pixels of a picture or a mask, unless the caller says otherwise: more than phones of 108 megapixels write."""

MAX_BYTES = 200_000_000
"""Most bytes of its file: a lossless result of that many pixels, with the noise of a camera, has about 1.5 a pixel."""


@dataclass(frozen=True)
class ReadingLimits:
    """What may be read.

    Attributes:
        pixels: most pixels (width x height) of a picture or a mask, checked before decoding.
        size: most bytes of a file, checked before reading.
        names: what raises the two, in the words of whoever reads a refusal; None where they cannot.
    """

    pixels: int = MAX_PIXELS
    size: int = MAX_BYTES
    names: tuple[str, str] | None = ("max_pixels", "max_bytes")

    def advice(self, index: int) -> str:
        """Return what to do about too many pixels (0), or too many bytes (1)."""
        smaller = ("make it smaller", "save it smaller")[index]
        return smaller if self.names is None else f"{smaller}, or raise {self.names[index]}"


_USUAL = ReadingLimits()
_NOW: ContextVar[ReadingLimits] = ContextVar("reading_limits", default=_USUAL)


def reading_limits() -> ReadingLimits:
    """Return the limits that hold here."""
    return _NOW.get()


@contextmanager
def limited(limits: ReadingLimits) -> Iterator[None]:
    """Let other limits hold within a block, in this thread or task; arguments of a call still win."""
    token = _NOW.set(limits)
    try:
        yield
    finally:
        _NOW.reset(token)
