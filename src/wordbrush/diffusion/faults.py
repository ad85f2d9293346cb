"""Faults of a network's call: values that are not finite, and the items they belong to; memory that ran out.

What was done about them is noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wordbrush.errors import NumericsError, WordbrushError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NotFiniteError", "Notes", "check_items", "first_cause", "is_out_of_memory", "items_not_finite"]


class NotFiniteError(NumericsError):
    """A value that is not finite, in known rows of a batch.

    Attributes:
        what: which network or step gave it, as in "the denoising network".
        items: rows of the batch, counted from 0.
        stage: stage of the edit, once a caller has named it.
        step: step of that stage, once a caller has named it.
    """

    def __init__(self, what: str, items: Iterable[int], *, stage: str | None = None, step: int | None = None) -> None:
        self.what, self.items, self.stage, self.step = what, tuple(items), stage, step
        rows = ", ".join(str(item) for item in self.items)
        place = "" if stage is None else f" in stage {stage!r}" + ("" if step is None else f", step {step}")
        super().__init__(
            f"{what} gave a value that is not finite for item {rows} of the batch{place}: "
            "load the model in float32 (dtype, --dtype), or another checkpoint if it is float32 already"
        )

    def at(self, stage: str, step: int | None = None) -> NotFiniteError:
        """Return the same error with its place in the edit; raise that one `from None`."""
        return NotFiniteError(self.what, self.items, stage=stage, step=step)

    def renumbered(self, rows: Sequence[int] | range) -> NotFiniteError:
        """Return the same error for the whole batch; row i of the failing part is row `rows[i]` of the whole."""
        return NotFiniteError(self.what, (rows[item] for item in self.items), stage=self.stage, step=self.step)


class Notes:
    """Notes on fallbacks (tiles, another precision), each once, until a caller takes them for its report."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()

    def add(self, text: str) -> None:
        """Remember `text`, unless it is there."""
        if text not in self.texts:
            self.texts = (*self.texts, text)

    def take(self) -> tuple[str, ...]:
        """Return the notes and start afresh, so that the next run's notes are its own."""
        taken, self.texts = self.texts, ()
        return taken


def items_not_finite(values: Tensor) -> list[int]:
    """Return the rows of `values` (batch, ...) that hold a NaN or an infinity; a GPU is waited for once if none do."""
    good = values.isfinite().flatten(1).all(dim=1)
    return [] if good.all() else [int(row) for row in (~good).nonzero().flatten()]


def check_items(values: Tensor, what: str) -> Tensor:
    """Return `values` (batch, ...) unchanged.

    Raises:
        NotFiniteError: a row holds a NaN or an infinity; the message names `what` and the rows.
    """
    if bad := items_not_finite(values):
        raise NotFiniteError(what, bad)
    return values


def first_cause(error: BaseException) -> str:
    """Return the first line of the error that all began with."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` means that memory ran out, on any device, by its type or by the message of its allocator."""
    if isinstance(error, WordbrushError):
        return False
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    return bool(should_reduce_batch_size(error)) or "out of memory" in str(error).lower()
