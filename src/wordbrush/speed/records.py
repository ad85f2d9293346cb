"""What a run of a network on all of its map leaves for later runs on a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["OUTPUT", "Record", "Standing", "difference", "held_back", "keep", "nbytes", "replaced"]

Record = dict[str, Tensor]
"""What rows of a run on the whole map left, by name of module: (row, ...), half precision but for statistics."""

OUTPUT = "output"
"""The name of what the network answered."""


class Standing:
    """What stands for the outside in the calls of one ask: a record, or a weighted sum of several.

    A record of one row stands for every row. One of as many as the ask has stands row by row, though the calls that
    answer it may take its rows in pieces.

    Args:
        terms: records of the same names, with their weights; that of a single one is 1.
    """

    def __init__(self, *terms: tuple[Mapping[str, Tensor], float]) -> None:
        self._terms, self._done = terms, 0

    def of(self, name: str, like: Tensor) -> Tensor:
        """Return the rows (1 or as many as `like`, ...) that stand beside those of `like`, on its device."""
        rows = [self._rows(record[name].to(like.device), len(like)) for record, _ in self._terms]
        if len(rows) == 1:
            return rows[0]
        total = torch.zeros((), device=like.device)
        for values, (_, weight) in zip(rows, self._terms, strict=True):
            total = total + weight * _single(values)
        return total

    def passed(self, rows: int) -> None:
        """Know that a call of so many rows is done."""
        self._done += rows

    def _rows(self, values: Tensor, rows: int) -> Tensor:
        part = values[self._done : self._done + rows] if len(values) > 1 else values
        return part if len(part) in {1, rows} else values[-1:]


def _single(values: Tensor) -> Tensor:
    """Return values in single precision, or in double where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def difference(minuend: Record, standing: Standing) -> Record:
    """Return what must be added to `standing` to give a record."""
    found: Record = {}
    for name, values in minuend.items():
        apart = _single(values) - _single(standing.of(name, values))
        found[name] = _half(apart) if values.dtype == torch.float16 else apart.to(values.dtype)
    return found


def keep(kept: Record, name: str, values: Tensor, *, each: bool, exact: bool = False) -> None:
    """Add values (row, ...) of a call to a record, in half precision unless they reach beyond it.

    Args:
        kept: the record.
        name: of the values.
        values: copied.
        each: all rows, after those of the calls before; else the last one of the last call alone.
        exact: they stay as precise as they are.
    """
    rows = values if each else values[-1:]
    rows = rows.clone() if exact else _half(rows)
    kept[name] = torch.cat([kept[name], rows]) if each and name in kept else rows


def nbytes(record: Mapping[str, Tensor]) -> int:
    """Return the bytes that a record takes."""
    return sum(values.nbytes for values in record.values())


def _half(values: Tensor) -> Tensor:
    if values.dtype != torch.float32:
        return values.clone()
    halved = values.half()
    return halved if bool(halved.isfinite().all()) else values.clone()


@contextmanager
def replaced(part: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Give a module another `forward` inside the block."""
    before = part.__dict__.get("forward")
    part.forward = forward
    try:
        yield
    finally:
        del part.forward
        if before is not None:
            part.forward = before


def held_back(module: Any) -> bool:
    """Say whether the weights of a network wait in main memory, layer by layer."""
    return any(hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in list(module.modules())[1:])
