"""Boxes: the rectangles of a map that are computed, on every scale of a UNet.

Several boxes are of one size and lie side by side in one map, the first one left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

__all__ = ["Box", "Scale", "apart", "box_of", "boxes_of", "cut", "pasted", "scales_of", "tiled_scales", "together"]


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

    def meets(self, other: Box) -> bool:
        """Say whether the boxes have a cell in common."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def around(self, other: Box) -> Box:
        """Return the least box around both."""
        return Box(
            min(self.top, other.top), min(self.left, other.left),
            max(self.bottom, other.bottom), max(self.right, other.right),
        )  # fmt: skip

    def halved(self) -> Box:
        """Return the cells that a convolution of stride 2 makes of an even box."""
        return Box(self.top // 2, self.left // 2, -(-self.bottom // 2), -(-self.right // 2))


@dataclass(frozen=True)
class Scale:
    """One scale of a UNet.

    Attributes:
        size: of the whole map, (height, width).
        boxes: what of it is computed.
        inner: what of the only box comes from the finer scale and goes back to it; None where all of all boxes does.
    """

    size: tuple[int, int]
    boxes: tuple[Box, ...]
    inner: Box | None = None

    @property
    def share(self) -> float:
        """The boxes' part of the map."""
        return sum(box.area for box in self.boxes) / (self.size[0] * self.size[1])


def cut(boxes: Sequence[Box], values: Tensor) -> Tensor:
    """Return what of a map (..., height, width) lies in the boxes, side by side; of a single box as a view."""
    return torch.cat([box.cut(values) for box in boxes], dim=-1) if len(boxes) > 1 else boxes[0].cut(values)


def pasted(part: Tensor, boxes: Sequence[Box], whole: Tensor) -> Tensor:
    """Return a map (1 or row, channel, height, width) in as many rows as `part`, which takes its place in the boxes."""
    joined = whole.to(part).expand(len(part), -1, -1, -1).clone()
    for box, cells in zip(boxes, part.chunk(len(boxes), dim=-1), strict=True):
        box.cut(joined).copy_(cells)
    return joined


def apart(x: Tensor, count: int) -> Tensor:
    """Return boxes side by side (row, channel, height, all widths) as rows of their own, those of a row together."""
    rows, channels, height, width = x.shape
    return x.reshape(rows, channels, height, count, width // count).permute(0, 3, 1, 2, 4).flatten(0, 1)


def together(x: Tensor, count: int) -> Tensor:
    """Undo `apart`."""
    return x.reshape(-1, count, *x.shape[1:]).permute(0, 2, 3, 1, 4).flatten(3)


def box_of(region: Tensor) -> Box | None:
    """Return the least box around all cells of a region (row, 1, height, width) above 0; None where there is none."""
    rows, columns = (torch.nonzero(region.amax(dim=axes) > 0).flatten().tolist() for axes in ((0, 1, 3), (0, 1, 2)))
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def boxes_of(region: Tensor, side: int) -> tuple[Box, ...]:
    """Return boxes of one size around the pieces of a region, which do not overlap; () where the map has no such tiles.

    Args:
        region: (1, 1, height, width), all above 0 are in it.
        side: of a tile in cells; boxes are made of whole ones.
    """
    if region.shape[2] % side or region.shape[3] % side:
        return ()
    tiles = nn.functional.max_pool2d(region, side)
    height, width = tiles.shape[2:]
    boxes = _pieces(tiles > 0)
    while True:
        high, wide = (max((box.size[axis] for box in boxes), default=0) for axis in (0, 1))
        corners = [(min(box.top, height - high), min(box.left, width - wide)) for box in boxes]
        boxes = [Box(top, left, top + high, left + wide) for top, left in corners]
        meeting = next((pair for pair in combinations(boxes, 2) if pair[0].meets(pair[1])), None)
        if meeting is None:
            return tuple(Box(b.top * side, b.left * side, b.bottom * side, b.right * side) for b in boxes)
        boxes = [box for box in boxes if box not in meeting] + [meeting[0].around(meeting[1])]


def _pieces(tiles: Tensor) -> list[Box]:
    """Return the least box around each piece of tiles (1, 1, row, column) that touch one another."""
    marks = torch.arange(1, tiles.numel() + 1, device=tiles.device).reshape(tiles.shape) * tiles.double()
    while True:
        spread = nn.functional.max_pool2d(marks, 3, stride=1, padding=1) * tiles
        if torch.equal(spread, marks):
            found = [box_of(marks == mark) for mark in sorted(set(marks[tiles].tolist()))]
            return [box for box in found if box is not None]
        marks = spread


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
        scales.append(Scale(size, (wide,), inner if index else None))
        inner, size = wide.halved(), (-(-size[0] // 2), -(-size[1] // 2))
    return tuple(scales)


def tiled_scales(boxes: Sequence[Box], size: tuple[int, int], halvings: int) -> tuple[Scale, ...]:
    """Return boxes that `boxes_of` made of tiles of 2**halvings cells a side on every scale, finest first."""
    scales, here = list[Scale](), tuple(boxes)
    for _ in range(halvings + 1):
        scales.append(Scale(size, here))
        here, size = tuple(box.halved() for box in here), (size[0] // 2, size[1] // 2)
    return tuple(scales)
