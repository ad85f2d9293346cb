"""Classifier-free guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["combine"]


def combine(negative: Tensor, positive: Tensor, scale: float) -> Tensor:
    """Return `negative + scale * (positive - negative)`: scale 1 is the positive alone, 0 the negative alone.

    This is the scale of diffusers; the guidance weight w of Ho and Salimans 2022 is scale - 1. It may be applied to
    x0, eps, v or velocity alike, since at one x they are affine in one another.
    """
    return negative + scale * (positive - negative)
