"""Networks compiled by torch: `torch.compile` for the very shapes of a call; on CUDA as CUDA graphs, channels last.

A CUDA graph writes every answer to the same place, so each answer is copied before the next call. Shapes are static:
the networks of an edit see few of them, and code for one shape is faster than code for all.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import cached_property
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from wordbrush.diffusion.faults import Notes, first_cause, is_out_of_memory
from wordbrush.errors import ModelError

__all__ = ["SHAPES", "Compiled", "take_over"]

SHAPES = 8
"""Most kinds of calls that one network is compiled for; torch's own limit is the same."""

_ISOLATES = "isolate_recompiles" in inspect.signature(torch.compile).parameters
"""Whether torch counts compilations of each function apart, as from 2.13 on."""


class Compiled:
    """Answers the calls of one module.

    Calls that gradients are asked of, and those in another dtype than the module's (rows that overflowed in float16 are
    asked again in float32), are answered by the module as it was.

    Args:
        module: a network of diffusers on a CUDA device or the CPU.
        part: what messages call it.
        notes: where it is told once that no further shapes are compiled.
        compiler: backend of `torch.compile`.
    """

    whole = "compile"
    """The name of the backend: what a hook on a part of the network would do is not done (`speed.unet.refusal`)."""

    def __init__(self, module: Any, part: str, notes: Notes, compiler: str = "inductor") -> None:
        self.module, self.part, self.notes = module, part, notes
        self.plain: Callable[..., Any] = module.forward
        weight = next(module.parameters())
        self._graphs, self._dtype = weight.device.type == "cuda", weight.dtype
        self._compiler = compiler
        self.kinds: set[str] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the module does.

        Raises:
            ModelError: torch cannot compile the module.
        """
        leaves, form = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if all(tensor.dtype != self._dtype for tensor in tensors) or (
            torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        ):
            return self.plain(*args, **kwargs)
        told = [f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else repr(x) for x in leaves]
        kind = str((told, str(form)))
        if kind in self.kinds:
            return self._answer(args, kwargs)
        if len(self.kinds) == SHAPES:
            shapes = f"{SHAPES} shapes of input"
            self.notes.add(f"the {self.part} is compiled for {shapes}; others are computed without the compiler")
            return self.plain(*args, **kwargs)
        return self._first(kind, args, kwargs)

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        mode = "reduce-overhead" if self._graphs else None
        # Without either, all UNets of a process would count together towards torch's limit.
        alone: dict[str, Any] = {"recompile_limit": SHAPES, "isolate_recompiles": True} if _ISOLATES else {}
        code = self.plain if _ISOLATES else _own_code(self.plain)
        return torch.compile(code, dynamic=False, backend=self._compiler, mode=mode, **alone)

    def _first(self, kind: str, args: Any, kwargs: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler, about itself
                answer = self._answer(args, kwargs)
        except Exception as error:  # of whatever kind: torch, its compiler's backend, the system's C++ compiler
            if is_out_of_memory(error):
                raise
            what = f"the {self.part} ({type(self.module).__name__})"
            raise ModelError(
                f"{what} cannot be compiled by torch: {first_cause(error)}; leave --backend (backend=) out"
            ) from error
        self.kinds.add(kind)
        return answer

    def _answer(self, args: Any, kwargs: Any) -> Any:
        if not self._graphs:
            return self._compiled(*args, **kwargs)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # what was there may be overwritten
        return tree_map_only(Tensor, Tensor.clone, self._compiled(*args, **kwargs))


def _own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls another and shares its code with none: an older torch counts by code."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


def take_over(module: Any, part: str, notes: Notes) -> None:
    """Let a compiled copy of a module's code answer its calls from here on.

    On CUDA the weights of its convolutions are laid out channels last; on a CPU that makes a UNet slower.
    """
    if next(module.parameters()).device.type == "cuda":
        for weight in module.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    module.forward = Compiled(module, part, notes)
