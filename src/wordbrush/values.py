"""Values as callers give them: numbers of numpy and torch among Python's own, and anything at all in a message."""

from __future__ import annotations

from numbers import Integral
from typing import Any

__all__ = ["is_whole", "plain", "worded"]


def is_whole(value: object) -> bool:
    """Say whether this is a whole number, of Python or numpy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """Return a number or an array of numpy or torch as Python's own numbers, and anything else as it is."""
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


def worded(value: object) -> str:
    """Return a value for a message: as Python writes it, cut at 40 characters; of a number too long to write, that."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write whole numbers of more than 4,300 digits
        return "of thousands of digits"
    return text if len(text) <= 40 else text[:39] + "…"
