"""Noise: the same for seed k whatever the batch, the chunk or the device.

Every item has its own seed, and every use of noise its own named stream, drawn on the CPU. So neither the number of
maps nor the presence of other items shifts anybody's numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["normal"]


def normal(seed: int, stream: str, index: int, shape: Sequence[int]) -> Tensor:
    """Draw standard normal noise, float32 on the CPU.

    Args:
        seed: the item's seed, any integer.
        stream: what the noise is for, such as `contrast`.
        index: which draw of the stream.
        shape: shape of the result.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(*shape, generator=generator, dtype=torch.float32)
