"""Layers of a UNet on boxes of their map: what the outside leaves for them, and how they are computed with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wordbrush.speed.boxes import Box, Scale, apart, cut, together

__all__ = ["frame", "framed_conv", "joint_norm", "outside", "outside_moments"]

Rows = Callable[[Tensor], Tensor]
"""From the rows of a call to what stands beside them."""

_HEAVY, _FEW = 8 << 20, 256
"""On a CPU, convolutions of more weights than the first for fewer cells than the second are matrix products: oneDNN
rearranges the weights at every call, which then takes longer than the convolution (measured: 8 ms instead of 41)."""


def outside(scale: Scale, device: torch.device) -> Tensor:
    """Return the numbers of the cells outside the boxes, row by row of the map."""
    cells = torch.ones(scale.size, dtype=torch.bool, device=device)
    for box in scale.boxes:
        box.cut(cells).fill_(value=False)
    return cells.flatten().nonzero().flatten()


def _sides(height: int, width: int, padding: tuple[int, int]) -> list[Box]:
    """Return the frame around a box of that size as four boxes, counted from the frame's corner."""
    (high, wide), (rows, columns) = padding, (height + 2 * padding[0], width + 2 * padding[1])
    return [
        Box(0, 0, high, columns), Box(rows - high, 0, rows, columns),
        Box(high, 0, rows - high, wide), Box(high, columns - wide, rows - high, columns),
    ]  # fmt: skip


def frame(x: Tensor, boxes: Sequence[Box], padding: tuple[int, int]) -> Tensor:
    """Return the cells around boxes (row, box, channel, cells), zeros beyond the map."""
    (high, wide), sides = padding, _sides(*boxes[0].size, padding)
    padded = nn.functional.pad(x, (wide, wide, high, high))
    around = [Box(box.top, box.left, box.bottom + 2 * high, box.right + 2 * wide).cut(padded) for box in boxes]
    return torch.stack([torch.cat([side.cut(cells).flatten(2) for side in sides], dim=2) for cells in around], dim=1)


def _framed(x: Tensor, ring: Tensor, padding: tuple[int, int]) -> Tensor:
    """Return a box (row, channel, height, width) with the cells of a frame (row, channel, cells) around it."""
    (high, wide), (height, width) = padding, (x.shape[2], x.shape[3])
    whole = x.new_empty(*x.shape[:2], height + 2 * high, width + 2 * wide)
    whole[..., high : high + height, wide : wide + width] = x
    sides = _sides(height, width, padding)
    for side, cells in zip(sides, torch.split(ring, [side.area for side in sides], dim=2), strict=True):
        side.cut(whole).copy_(cells.reshape(*cells.shape[:2], *side.size))
    return whole


def framed_conv(part: nn.Conv2d, ring: Rows) -> Callable[[Tensor], Tensor]:
    """Return a convolution that finds the recorded frame, see `frame`, around boxes side by side instead of zeros."""
    padding = (int(part.padding[0]), int(part.padding[1]))

    def forward(x: Tensor) -> Tensor:
        found = ring(x)
        count = found.shape[1]
        found = found.expand(len(x), -1, -1, -1).flatten(0, 1)
        framed = _framed(apart(x, count), found, padding)
        (high, wide), stride = part.kernel_size, part.stride
        rows, columns = (framed.shape[2] - high) // stride[0] + 1, (framed.shape[3] - wide) // stride[1] + 1
        if x.device.type != "cpu" or part.weight.numel() < _HEAVY or rows * columns > _FEW:
            return together(nn.functional.conv2d(framed, part.weight, part.bias, stride), count)
        patches = nn.functional.unfold(framed, part.kernel_size, stride=stride)
        output = part.weight.flatten(1) @ patches.transpose(0, 1).flatten(1)
        output = together(output.reshape(-1, len(framed), rows, columns).transpose(0, 1), count)
        return output if part.bias is None else output + part.bias[:, None, None]

    return forward


def _moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor, int]:
    """Return mean and sum of squared distances to it of each group (row, group), and how many values they are of."""
    flat = x.reshape(len(x), groups, -1)
    variance, mean = torch.var_mean(flat.float(), dim=2, correction=0)
    return mean, variance * flat.shape[2], flat.shape[2]


def outside_moments(x: Tensor, boxes: Sequence[Box], groups: int) -> Tensor:
    """Return mean, sum of squares about it and count of the cells outside the boxes, (row, 3, group)."""
    (mean, spread, count), (mean_in, spread_in, count_in) = _moments(x, groups), _moments(cut(boxes, x), groups)
    if count == count_in:
        return torch.zeros(len(x), 3, groups, device=x.device)
    rest = count - count_in
    mean_out = (mean * count - mean_in * count_in) / rest
    between = (mean_out - mean_in).square() * (rest * count_in / count)
    return torch.stack([mean_out, (spread - spread_in - between).clamp(min=0), torch.full_like(mean, rest)], dim=1)


def joint_norm(part: nn.GroupNorm, moments: Rows) -> Callable[[Tensor], Tensor]:
    """Return a group norm of boxes whose statistics are of boxes and outside together (Chan et al. 1979)."""

    def forward(x: Tensor) -> Tensor:
        mean_out, spread_out, rest = moments(x).unbind(dim=1)
        mean_in, spread_in, count_in = _moments(x, part.num_groups)
        share = rest / (rest + count_in)
        gap = mean_out - mean_in
        mean = mean_in + gap * share
        variance = (spread_in + spread_out.clamp(min=0)) / (rest + count_in) + gap.square() * share * (1 - share)
        each = x.shape[1] // part.num_groups
        mean, scale = (v.repeat_interleave(each, dim=1) for v in (mean, (variance + part.eps).rsqrt()))
        gain = scale * part.weight
        shift = part.bias - mean * gain
        return torch.addcmul(shift.to(x.dtype)[..., None, None], x, gain.to(x.dtype)[..., None, None])

    return forward
