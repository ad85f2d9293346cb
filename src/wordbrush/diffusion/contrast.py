"""The contrast as tensors: from differences in estimated noise to one raw map.

The paper leaves the formula open (section 3.2): every choice is a switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wordbrush.diffusion import noise

__all__ = ["Norm", "Sign", "disagreement", "draw", "pooled"]

Sign = Literal["absolute", "signed"]
Norm = Literal["mean", "l2"]


def draw(seed: int, index: int, shape: Sequence[int], *, antithetic: bool = False) -> Tensor:
    """Draw the noise of map `index`, float32 on the CPU; antithetic ones come in pairs of opposite sign."""
    if not antithetic:
        return noise.normal(seed, "contrast", index, shape)
    return noise.normal(seed, "contrast", index // 2, shape) * (1 - 2 * (index % 2))


def disagreement(difference: Tensor, *, sign: Sign = "absolute", norm: Norm = "mean") -> Tensor:
    """Reduce differences to one raw map.

    Args:
        difference: (map, channel, height, width).
        sign: `absolute` takes sizes first and averages them over the noises; `signed` averages the differences and
            takes the size of the mean, in which what the noises do not agree on cancels.
        norm: size over channels: `mean` of absolute values, or `l2`, the root of the mean square.

    Returns:
        The raw map (height, width), not negative, in units of the estimated noise.
    """
    if sign == "signed":
        difference = difference.mean(dim=0, keepdim=True)
    size = difference.abs().mean(dim=1) if norm == "mean" else difference.square().mean(dim=1).sqrt()
    return size.mean(dim=0)


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """Average the raw maps (height, width) of several levels, each divided by its own mean; one alone stays as it is.

    Levels differ in how far the texts can disagree at all; each counts the same.
    """
    if len(maps) == 1:
        return maps[0]
    return torch.stack([m / m.mean().clamp(min=torch.finfo(m.dtype).tiny) for m in maps]).mean(dim=0)
