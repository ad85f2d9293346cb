"""The tensors of an add-on file: read one at a time, checked, and never taken on trust."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.header import Header

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AddOnFile", "Rows"]

Rows = tuple[tuple[int, int], ...]
"""Spans of rows, (first, end), one after the other."""

_FLOATS = frozenset({"F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64"})


@dataclass(frozen=True)
class AddOnFile:
    """A safetensors file that was given beside a model.

    Attributes:
        where: what it is and what it is called, for messages: "LoRA style.safetensors".
        path: of the file.
        header: its checked header.
        cuts: rows of its tensors under names of their own, as (tensor, rows), where a layer was cut.
    """

    where: str
    path: Path
    header: Header
    cuts: dict[str, tuple[str, Rows]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, kind: Literal["LoRA", "embedding"]) -> AddOnFile:
        """Read the header of a file; what is wrong with it is said of the add-on.

        Raises:
            UnsafeWeightsError: it is a pickle, under any name.
            ModelError: it is missing, a folder, damaged or empty.
        """
        if path.is_dir():
            raise ModelError(f"{kind} {path.name} is a folder: give the .safetensors file in it")
        header = read_header(path)
        if not header.tensors:
            raise ModelError(f"{kind} {path.name} is empty: it holds no tensors")
        return cls(f"{kind} {path.name}", path, header)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if name in self.cuts:
            whole, rows = self.cuts[name]
            return sum(end - begin for begin, end in rows), *self.shape(whole)[1:]
        return self.header.tensors[name].shape

    def cut(self, name: str, rows: Rows) -> str:
        """Return the name under which some rows of a tensor can be had from now on, as a tensor of the file."""
        called = f"{name}[{', '.join(f'{begin}:{end}' for begin, end in rows)}]"
        self.cuts[called] = name, rows
        return called

    def check_finite(self) -> frozenset[str]:
        """Check the values of every tensor of floating point, and return the names of those that hold nothing but 0.

        Raises:
            ModelError: one holds NaN or infinity; the message names it.
        """
        floats = [name for name, entry in self.header.tensors.items() if entry.dtype in _FLOATS]
        return frozenset(name for name in floats if not bool(self.get(name).any()))

    def get(self, name: str) -> Tensor:
        """Return a tensor in float32, on the CPU.

        Raises:
            ModelError: it is not of floating point, or not finite.
        """
        import torch

        value: Tensor
        if name in self.cuts:
            whole, rows = self.cuts[name]
            value = self.get(whole)
            return torch.cat([value[begin:end] for begin, end in rows])
        dtype = self.header.tensors[name].dtype
        if dtype not in _FLOATS:
            raise ModelError(f"{self.where}: tensor {name!r} is of {dtype}, and weights are of floating point")
        value = self._opened.get_tensor(name).to(torch.float32)
        if not bool(value.isfinite().all()):
            raise ModelError(f"{self.where}: tensor {name!r} holds NaN or infinity: the file is damaged")
        return value

    def number(self, name: str) -> float:
        """Return the one number that a tensor holds; it may be a whole one.

        Raises:
            ModelError: it holds none or several, or one that is not finite.
        """
        entry = self.header.tensors[name]
        if entry.shape not in {(), (1,), (1, 1)}:
            raise ModelError(f"{self.where}: {name!r} is of shape {list(entry.shape)}, not one number")
        if entry.dtype in _FLOATS:
            return float(self.get(name).reshape(()))
        return float(self._opened.get_tensor(name).reshape(()))

    @cached_property
    def _opened(self) -> Any:
        from safetensors import safe_open

        return safe_open(self.path, framework="pt", device="cpu")
