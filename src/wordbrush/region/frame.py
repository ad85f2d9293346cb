"""Frames: how a picture lies on a model's grid, which is all that regions need to know of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wordbrush.picture.fit import FitPlan

__all__ = ["Frame"]

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture on a model's grid.

    Attributes:
        fit: how the picture lies on the model's canvas.
        cell: side of a latent cell in pixels of the canvas.
        outlined: lays a map of latent cells (height, width) on the canvas, in one of the ways of `outline.OUTLINES`.
        visible: where the picture can be seen, (height, width) of the picture; None where it can be seen everywhere.
    """

    fit: FitPlan
    cell: int
    outlined: Callable[[Float, str], Float] = field(repr=False)
    visible: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """The picture, (width, height) in pixels."""
        return self.fit.size

    @property
    def latent_size(self) -> tuple[int, int]:
        """The canvas in latent cells, (width, height)."""
        return (self.fit.canvas[0] // self.cell, self.fit.canvas[1] // self.cell)
