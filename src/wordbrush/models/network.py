"""The networks of families as the core calls them: latents and labels in, the output out, in their own dtype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes, check_items
from wordbrush.diffusion.schedule import sent
from wordbrush.models.precision import answered, evaluating

__all__ = ["ModuleNetwork", "packed", "places", "unpacked"]

_NAME = "the denoising network"


class ModuleNetwork(ABC):
    """A diffusers network behind `wordbrush.diffusion.denoiser.Network`; a family says in `forward` how it is called.

    A float16 call that gives any value that is not finite is made again in float32, for the rows it happened to and for
    no others, and `notes` says so.

    Args:
        module: used in place and left as it was.
        device: where it runs.
    """

    def __init__(self, module: Any, device: torch.device) -> None:
        self.module, self.device, self.notes = module, device, Notes()
        self._weight: tuple[Any, str] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in: the dtype of a weight that is in it, as a module looks through all of itself."""
        weight: Tensor | None = None if self._weight is None else getattr(*self._weight, None)
        if weight is not None:
            return weight.dtype
        dtype: torch.dtype = self.module.dtype
        named = ((part, name, own) for part in self.module.modules() for name, own in part.named_parameters("", False))
        self._weight = next(((part, name) for part, name, own in named if own.dtype == dtype), None)
        return dtype

    def __call__(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """Run the network in its own dtype. Gradients are followed only where x asks for them.

        Args:
            x: latents (batch, channel, height, width).
            label: what the network is told of the level (batch,), one an item.
            conditioning: `batch` rows.

        Returns:
            The output, shape, dtype and device of x.

        Raises:
            NotFiniteError: a row of the output is not finite, even in float32; it knows which.
        """
        def call(rows: slice | Sequence[int]) -> Tensor:
            told = sent(label[rows].float(), self.device)
            return self.forward(x[rows].to(self.device, self.dtype), told, conditioning.select(rows))

        follow = torch.is_grad_enabled() and x.requires_grad
        with torch.set_grad_enabled(follow), evaluating(self.module):
            # What is followed is asked once: gradients need the weights that the answer was made with.
            output = check_items(call(slice(None)), _NAME) if follow else answered(self.module, call, _NAME, self.notes)
        return output.to(x.device, x.dtype)

    @abstractmethod
    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """Call the module; x is in its dtype, the label in float32, both on its device."""

    def given(self, conditioning: Conditioning, name: str) -> Tensor:
        """Return a tensor of the conditioning on the network's device, floats in its dtype."""
        tensor = sent(conditioning[name], self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


def packed(x: Tensor) -> Tensor:
    """Lay 2 x 2 cells into one token: (batch, channel, height, width) -> (batch, token, channel * 4)."""
    batch, channels, height, width = x.shape
    patches = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, height // 2 * (width // 2), channels * 4)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo `packed` for latents of `height` x `width` cells."""
    batch, _, depth = tokens.shape
    patches = tokens.reshape(batch, height // 2, width // 2, depth // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, depth // 4, height, width)


def places(x: Tensor, axes: int) -> Tensor:
    """Return where tokens of packed latents stand, (token, axes): rows and columns on axes 1 and 2, zeros elsewhere."""
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    ids = torch.zeros(rows, columns, axes, device=x.device)
    ids[..., 1] = torch.arange(rows, device=x.device)[:, None]
    ids[..., 2] = torch.arange(columns, device=x.device)
    return ids.reshape(rows * columns, axes)
