"""What the header of a safetensors file says, as `checkpoint.weights.read_header` gives it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Header", "TensorEntry"]


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header describes it; `begin` and `end` count bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked safetensors header."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
