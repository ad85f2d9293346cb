"""The flags `--max-pixels` and `--max-bytes`: how large pictures, masks and files may be that a command reads."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from wordbrush.errors import SettingsError
from wordbrush.picture.limits import MAX_BYTES, MAX_PIXELS, ReadingLimits

__all__ = ["READING_PANEL", "MaxBytes", "Reading", "limits_of"]

READING_PANEL = "Reading"

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_AMOUNT: Final = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) ?(|[kmg]i?)(b|p|px|pixels|bytes)?", re.IGNORECASE)
_SIDES: Final = re.compile(r"([0-9]{1,9})[x×]([0-9]{1,9})", re.IGNORECASE)

MaxPixels = Annotated[
    str | None,
    typer.Option(
        "--max-pixels",
        help=f"Largest picture or mask opened: 200MP, 16320x12240 or a number (default {MAX_PIXELS // 10**6}MP).",
        metavar="SIZE",
        rich_help_panel=READING_PANEL,
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        help=f"Largest file that is read: 500MB or a number (default {MAX_BYTES // 10**6}MB).",
        metavar="SIZE",
        rich_help_panel=READING_PANEL,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How large pictures and masks may be: a group of flags."""

    max_pixels: MaxPixels = None
    max_bytes: MaxBytes = None

    @property
    def limits(self) -> ReadingLimits:
        """The limits.

        Raises:
            SettingsError: a size cannot be read.
        """
        return limits_of(self.max_pixels, self.max_bytes)


def limits_of(max_pixels: str | None, max_bytes: str | None) -> ReadingLimits:
    """Return the limits of the two flags.

    Raises:
        SettingsError: a size cannot be read.
    """
    pixels = MAX_PIXELS if max_pixels is None else _amount(max_pixels, "--max-pixels", "200MP, 16320x12240")
    size = MAX_BYTES if max_bytes is None else _amount(max_bytes, "--max-bytes", "500MB")
    return ReadingLimits(pixels, size, ("--max-pixels", "--max-bytes"))


def _amount(text: str, flag: str, example: str) -> int:
    """Read a number with or without a unit, or two sides; `64`, `64MP`, `1.5 GB`, `2GiB`, `8160x6144`."""
    sides, amount = _SIDES.fullmatch(text.strip()), _AMOUNT.fullmatch(text.strip())
    if sides is not None and flag == "--max-pixels":
        return max(1, int(sides[1]) * int(sides[2]))
    value = float(amount[1].replace("_", "")) * _UNITS[amount[2].lower()] if amount else 0.0
    if not 1 <= value < math.inf:
        raise SettingsError(f"{flag} {text[:40]!r} is not a size; write it like {example}, or as a number")
    return int(value)
