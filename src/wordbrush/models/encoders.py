"""The text encoders of a model, often its largest part: once texts are encoded, they need not be on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Encoders"]


class Encoders:
    """Text encoders that can make room on the device.

    Args:
        modules: the networks, on the device.
        device: where they run.
    """

    def __init__(self, modules: Sequence[Any], device: torch.device) -> None:
        self.modules, self.device = tuple(modules), device
        self.released = False

    def release(self) -> bool:
        """Take the encoders off the device: from here on each waits in main memory, and comes for its own calls.

        Returns:
            Whether that made room: not where they are gone already, or were never there.
        """
        if self.released or not self.modules:
            return False
        self.released = True

        def come(module: Any, _args: Any) -> None:
            module.to(self.device)

        def go(module: Any, _args: Any, _answer: Any) -> None:
            module.to("cpu")

        for module in self.modules:
            module.to("cpu")
            module.register_forward_pre_hook(come)
            module.register_forward_hook(go, always_call=True)
        return True
