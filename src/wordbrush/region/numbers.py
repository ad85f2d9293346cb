"""What the numbers of a mask mean: strengths of 8 or 16 bits, or labels of classes; and which are black and white.

Arrays, Pillow images and files all end here, so the same numbers mean the same everywhere; the table is in `Mask.open`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import MaskError

__all__ = ["Advice", "Reading", "counted", "is_textured", "listed", "of_class", "of_numbers"]

Reading = tuple[NDArray[np.float32], tuple[str, ...]]
"""The values of a mask (height, width) in [0, 1], and what a user should know about how it was read."""

LABELS = 40
"""Up to this number of 255 the numbers of a mask without white are classes or next to nothing, but no strengths."""

NEAR = 8
"""So far from 0 and from 255 may lie what is meant as black and as white."""

PLATEAU = 0.6
"""Share of the 17 darkest (or lightest) levels that one of them has where it is the ground of a drawing."""

MANY = 64
"""More different numbers than this are no classes."""

_CHUNK = 1 << 20


class Advice:
    """How to choose one class of a mask, in words that can be followed where they are read.

    Args:
        name: of the mask's file on the command line and in Python; None where there is no such name.
        parameter: whether `label=` can be given.
    """

    def __init__(self, name: str | None = None, *, parameter: bool = False) -> None:
        self.name, self.parameter = name, parameter

    def choose(self, label: int) -> str:
        """Return the advice with one class as the example."""
        if self.name is not None:
            return f"choose one, as in {self.name}#{label}"
        return f"choose one, as in label={label}" if self.parameter else "save the one you mean in black and white"


def of_class(numbers: NDArray[Any], label: int) -> Reading:
    """Return the mask of one class.

    Args:
        numbers: (height, width), bool or integers.
        label: the class.

    Raises:
        MaskError: no cell has it.
    """
    values = (numbers == label).astype(np.float32)
    if not values.any():
        raise MaskError(f"there is no class {label}: it holds {listed(*np.unique(numbers, return_counts=True))}")
    return values, ()


def of_numbers(numbers: NDArray[Any], full: int, advice: Advice, *, palette: bool = False) -> Reading:
    """Return what whole numbers mean.

    Args:
        numbers: (height, width), integers.
        full: the largest number that can be there, which is white where no smaller one is.
        advice: how a class is chosen.
        palette: whether they are the greys of a palette.

    Raises:
        MaskError: numbers below 0, above `full`, or labels of several classes.
    """
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high > full:
        raise MaskError(f"the numbers of a mask run from 0 to {full}, those of this one from {low} to {high}")
    if high <= 1:
        return numbers.astype(np.float32), ()  # labels: nobody means one part in 255
    if high > 65535:
        return _wide(numbers, high, full)
    unit = next((unit for unit in (257, 256) if 255 < high <= 255 * unit and not (numbers % unit).any()), 1)
    if full <= 127 or high // unit > 255:  # int8, int16 and 16 bits
        return _deep(numbers, high, min(full, 65535), advice)
    return _eight(numbers if unit == 1 else numbers // unit, unit, advice, palette=palette)


def _wide(numbers: NDArray[Any], high: int, full: int) -> Reading:
    if high * 510 < full:
        raise MaskError(
            f"a mask of {numbers.dtype} runs from 0 to {full}, this one ends at {high}, which is nothing; "
            "turn it into bool, uint8 or floats in 0 ... 1 first"
        )
    return (numbers / full).astype(np.float32), ()


def _deep(numbers: NDArray[Any], high: int, top: int, advice: Advice) -> Reading:
    """Return the values of numbers that no 8 bits hold."""
    if high * 255 <= LABELS * top:
        raise _classes(*np.unique(numbers, return_counts=True), top, advice)
    values = (numbers / top).astype(np.float32)
    return _settled(values, np.rint(values * 255).astype(np.uint8)), ()


def _eight(numbers: NDArray[Any], unit: int, advice: Advice, *, palette: bool) -> Reading:
    """Return the values of numbers up to 255; `unit` is what they were multiplied with in the file."""
    levels = numbers.astype(np.uint8)
    if levels.max() <= 1:
        return levels.astype(np.float32), ()
    counts = counted(levels)
    present = np.flatnonzero(counts)
    inks = present[(present > 0) & (present < 255)]
    if inks.size and inks[-1] <= LABELS:
        only_ground = present[0] > 0 and inks.size == 1  # two values, one of them white
        if not counts[255] or (not only_ground and _is_flat(levels, inks)):
            raise _classes(present * unit, counts[present], 255 * unit, advice)
    note = _doubt(levels, counts, inks, unit, advice, palette=palette)
    return _settled(levels.astype(np.float32) / np.float32(255), levels), (note,) if note else ()


def _doubt(
    levels: NDArray[np.uint8],
    counts: NDArray[np.int64],
    inks: NDArray[np.int64],
    unit: int,
    advice: Advice,
    *,
    palette: bool,
) -> str:
    """Return what is odd about greys that are read as strengths, or "": a few in flat areas, or a photograph's."""
    white = counts[256 - NEAR - 1 :].sum()
    inks = inks[(inks > NEAR) & (inks < 255 - NEAR)]
    odd = white == 0 or (inks.size > 1 and counts[inks].sum() > white and (palette or inks[0] <= LABELS))
    if 0 < inks.size <= MANY and odd and _is_flat(levels, inks):
        present = np.flatnonzero(counts)
        held, choose = listed(present * unit, counts[present]), advice.choose(int(inks[-1]) * unit)
        return f"it holds the levels {held}: read as strengths; if they are classes, {choose}"
    if counts[NEAR + 1 : 247].sum() > levels.size / 2 and is_textured(levels):
        return "it is grey almost everywhere, like a photograph: its brightness is read as strength"
    return ""


def _classes(numbers: NDArray[Any], counts: NDArray[Any], top: int, advice: Advice) -> MaskError:
    """Return the refusal of a mask that holds labels, or strengths that are next to nothing."""
    inks = [int(number) for number in numbers if 0 < number < top]
    what = f"it holds {listed(numbers, counts)}"
    if len(inks) > MANY:
        return MaskError(f"{what} of {top}: a mask so dark edits next to nothing; brighten it first")
    void = f", with {top} as white or as void" if top in numbers else f" of {top}"
    return MaskError(f"{what}{void}: labels of classes, or a very dark mask; if classes, {advice.choose(inks[-1])}")


def listed(numbers: Iterable[Any], counts: NDArray[Any]) -> str:
    """Return numbers with their shares, `0 (62.5 %), 3 (37.5 %)`; of many the most frequent ones."""
    pairs = list(zip((int(number) for number in numbers), counts, strict=True))
    shown = sorted(sorted(pairs, key=lambda pair: -pair[1])[:8])
    total = counts.sum()
    text = ", ".join(f"{number} ({count / total:.1%})" for number, count in shown).replace("%", " %")
    return text if len(pairs) == len(shown) else f"{text} and {len(pairs) - len(shown)} more"


def counted(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each of 256 levels occurs."""
    flat = levels.ravel()
    parts = (flat[at : at + _CHUNK] for at in range(0, flat.size, _CHUNK))  # bincount takes 8 bytes a cell
    return np.asarray(sum(np.bincount(part, minlength=256) for part in parts), np.int64)


def _rows(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return enough rows of a mask to look at, as they are; the columns of a mask of one column."""
    rows = levels.T if levels.shape[1] == 1 else levels
    return rows[:: 1 + rows.size // (4 * _CHUNK)]


def _is_flat(levels: NDArray[np.uint8], inks: NDArray[Any]) -> bool:
    """Whether these levels lie in areas of one number, as labels do, and not strewn, as noise, or on ramps."""
    rows = _rows(levels)
    inked = np.zeros(256, bool)
    inked[inks] = True
    first, second = rows[:, :-1], rows[:, 1:]
    pairs = inked[first]
    return not pairs.any() or bool((first == second)[pairs].mean() >= 0.6)


def is_textured(levels: NDArray[np.uint8]) -> bool:
    """Whether greys go up and down from cell to cell, as those of photographs; ramps and soft edges do not."""
    rows = _rows(levels).astype(np.int16)
    bend = np.minimum(np.abs(np.diff(rows, n=2, axis=1)), 12)  # an edge counts no more than a grain
    return bool(bend.size) and float(bend.mean()) > 2


def _settled(values: NDArray[np.float32], levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Make black 0 and white 1 in a drawing whose black and white are slightly off; anything soft stays.

    A level within 8 of 0 (or of 255) that holds most of the 17 darkest (lightest) cells is the ground of the drawing:
    it and what lies beyond it becomes 0 (or 1). And where nearly all of the 17 darkest and of the 17 lightest cells
    lie within 8 of the end, at most a tenth of the cells lie between, and more cells lie within 8 of an end without
    being there than between, the drawing had two values and was stored with losses: all within 8 becomes 0 or 1. A
    ramp has as many cells on every level, and a soft edge more between its ends than near them; both stay.

    Args:
        values: (height, width) in [0, 1].
        levels: the same as 0 ... 255.
    """
    counts = counted(levels)
    black, white = _ground(counts), 255 - _ground(counts[::-1])
    near = counts[black + 1 : NEAR + 1].sum() + counts[255 - NEAR : white].sum()
    between = counts[NEAR + 1 : 255 - NEAR].sum()
    if near > between and between <= levels.size / 10 and _has_end(counts) and _has_end(counts[::-1]):
        black, white = NEAR, 255 - NEAR
    if black > 0:
        values = np.where(levels <= black, np.float32(0), values)
    return values if white == 255 else np.where(levels >= white, np.float32(1), values)


def _ground(counts: NDArray[np.int64]) -> int:
    """Return the level of the dark ground, 0 where there is none."""
    level = int(counts[: NEAR + 1].argmax())
    is_ground = counts[level] > PLATEAU * counts[: 2 * NEAR + 1].sum() and counts[level] >= counts.sum() / 100
    return level if is_ground else 0


def _has_end(counts: NDArray[np.int64]) -> bool:
    """Whether nearly all of the darkest cells lie at the very end."""
    return bool(counts[: NEAR + 1].sum() >= 0.8 * counts[: 2 * NEAR + 1].sum() > 0)
