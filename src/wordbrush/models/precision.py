"""Networks run as they are: without dropout, and once more in float32 where half precision is too narrow.

float16 ends at 65,504, and activations of many networks pass that on some inputs. What overflowed is then done again in
float32, row by row, so that the answer of a row depends on no other and the network is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.faults import Notes, NotFiniteError, is_out_of_memory, items_not_finite

__all__ = ["answered", "evaluating", "widened"]


def answered(
    module: Any,
    call: Callable[[slice | Sequence[int]], Tensor],
    what: str,
    notes: Notes,
    *,
    narrow: tuple[torch.dtype, ...] = (torch.float16,),
) -> Tensor:
    """Return what a network answers; rows that overflowed in half precision are asked again in float32.

    bfloat16 reaches as far as float32, so what is not finite there hardly becomes so: by default only float16 is tried
    again. Nor is a quantised network, which is never recast. Where memory does not hold the float32 weights, the answer
    stays as it is.

    Args:
        module: the network; it is left in the dtypes that it has.
        call: runs the network on some rows of the batch, in the dtype that it has at that time.
        what: names the network in messages.
        notes: where it is told that rows were done again.
        narrow: the dtypes that are tried again.

    Raises:
        NotFiniteError: rows are not finite even so; it knows which.
    """
    answer = call(slice(None))
    bad = items_not_finite(answer)
    if not bad:  # a module looks through all of itself for its dtype
        return answer
    dtype = module.dtype
    if dtype in narrow and not getattr(module, "is_quantized", False):
        again = _in_float32(module, lambda: call(bad))
        if again is not None:
            rows = torch.tensor(bad, device=answer.device)  # the answer is float32 from here on, lest it overflow again
            answer = answer.float().index_put((rows,), again.float())
            bad = items_not_finite(answer)
            if not bad:
                was = str(dtype).removeprefix("torch.")
                notes.add(f"{what} overflowed in {was}: those rows were done again in float32")
    if bad:
        raise NotFiniteError(what, bad)
    return answer


def _in_float32(module: Any, call: Callable[[], Tensor]) -> Tensor | None:
    """Return the answer of a network held in float32; None where memory does not hold it."""
    try:
        with widened(module):
            return call()
    except Exception as error:  # sorted by is_out_of_memory; everything else goes on
        if not is_out_of_memory(error):
            raise
    return None


@contextmanager
def widened(module: Any) -> Iterator[None]:
    """Hold the half-precision tensors of a network in float32; going back restores their values exactly.

    Tensors are found by name on the way back, since weights that wait in main memory may have been put in anew.
    """
    before: dict[str, torch.dtype] = {}
    try:
        for name, tensor in _tensors(module):
            if tensor.dtype in {torch.float16, torch.bfloat16}:
                before[name] = tensor.dtype
                tensor.data = tensor.data.float()
        yield
    finally:
        for name, tensor in _tensors(module):
            if name in before:
                tensor.data = tensor.data.to(before[name])


def _tensors(module: Any) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Run `module` without dropout inside the block, whatever mode its owner has it in."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
