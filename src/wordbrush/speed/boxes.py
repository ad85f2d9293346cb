"""Boxes: the rectangle of a map that is computed, on every scale of a UNet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Box", "Scale", "box_of", "scales_of"]


@dataclass(frozen=True)
class Box:
    """A rectangle of cells; right and bottom lie outside of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Cells inside."""
        return self.size[0] * self.size[1]

    def cut(self, values: Tensor) -> Tensor:
        """Return the part of a map (..., height, width) inside the box, as a view."""
        return values[..., self.top : self.bottom, self.left : self.right]

    def within(self, outer: Box) -> Box:
        """Return the same cells counted from the corner of `outer`."""
        return Box(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def grown(self, cells: int, size: tuple[int, int]) -> Box:
        """Return the box wider by some cells on each side, as far as a map of `size` (height, width) reaches."""
        height, width = size
        return Box(
            max(self.top - cells, 0), max(self.left - cells, 0),
            min(self.bottom + cells, height), min(self.right + cells, width),
        )  # fmt: skip

    def even(self, size: tuple[int, int]) -> Box:
        """Return the least box around this one that begins at even cells, and ends at such or where the map ends."""
        height, width = size
        return Box(
            self.top // 2 * 2, self.left // 2 * 2,
            min(-(-self.bottom // 2) * 2, height), min(-(-self.right // 2) * 2, width),
        )  # fmt: skip

    def halved(self) -> Box:
        """Return the cells that a convolution of stride 2 makes of an even box."""
        return Box(self.top // 2, self.left // 2, -(-self.bottom // 2), -(-self.right // 2))


@dataclass(frozen=True)
class Scale:
    """One scale of a UNet.

    Attributes:
        size: of the whole map, (height, width).
        box: what of it is computed.
        inner: what of the box comes from the finer scale and goes back to it; the box itself on the finest.
    """

    size: tuple[int, int]
    box: Box
    inner: Box


def box_of(region: Tensor) -> Box | None:
    """Return the least box around all cells of a region (row, 1, height, width) above 0; None where there is none."""
    rows, columns = (torch.nonzero(region.amax(dim=axes) > 0).flatten().tolist() for axes in ((0, 1, 3), (0, 1, 2)))
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def scales_of(box: Box, size: tuple[int, int], halvings: int) -> tuple[Scale, ...]:
    """Return the box on every scale, finest first.

    Each is the half of the finer one, widened to even cells where another halving follows, so that it is hardly larger
    than the region even where that stands askew to the coarsest cells.

    Args:
        box: on the finest scale.
        size: of the finest map, (height, width).
        halvings: how often the UNet halves the map.
    """
    scales, inner = list[Scale](), box
    for index in range(halvings + 1):
        wide = inner.even(size) if index < halvings else inner
        scales.append(Scale(size, wide, wide if index == 0 else inner))
        inner, size = wide.halved(), (-(-size[0] // 2), -(-size[1] // 2))
    return tuple(scales)
