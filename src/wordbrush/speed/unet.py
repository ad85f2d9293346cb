"""A UNet run on a box of its map; all outside is stood in for by what a run on the whole map left.

The modules of diffusers stay as they are. While a context lasts,

* a convolution finds beyond the edge of its box the recorded cells instead of zeros,
* a group norm joins the recorded statistics of the outside to those of the box,
* self-attention has queries of the box alone, and keys and values of the box and of the recorded outside,
* the box is widened to even cells on the way down, and narrowed again on the way up (`boxes.scales_of`).

So a run on a box that is the whole map is the plain run, and the only error of any other is that its outside is that of
the record. That the outside of an edit hardly changes and need not be computed is shown by Li et al. 2022 (Spatially
Sparse Inference for Generative Image Editing), who gather tiles around the changed pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.speed.boxes import Box, Scale
from wordbrush.speed.records import OUTPUT, Record, Standing, held_back, keep, replaced

__all__ = ["halvings", "recording", "refusal", "within"]

_BLOCKS = {
    "DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn", "CrossAttnUpBlock2D", "UpBlock2D",
}  # fmt: skip
"""Blocks whose modules are among those that the contexts know."""

_HEAVY, _FEW = 8 << 20, 256
"""On a CPU, convolutions of more weights than the first for fewer cells than the second are matrix products: oneDNN
rearranges the weights at every call, which then takes longer than the convolution (measured: 8 ms instead of 41)."""


def refusal(module: Any) -> str:
    """Return why a network cannot run on a box, in words that follow "because", or ""."""
    if type(module).__name__ != "UNet2DConditionModel":
        return "the network is not a UNet"
    if backend := getattr(module.forward, "whole", ""):
        return f"the backend {backend} computes the UNet as a whole"
    blocks = [*module.down_blocks, module.mid_block, *module.up_blocks]
    strange = [type(block).__name__ for block in blocks if type(block).__name__ not in _BLOCKS]
    if strange:
        return f"the UNet has a {strange[0]}"
    if held_back(module):
        return "the weights of the UNet wait in main memory, layer by layer"
    convs = [part for part in module.modules() if _is_wide(part)]
    plain = all(c.padding_mode == "zeros" and c.groups == 1 and set(c.dilation) == {1} for c in convs)
    return "" if plain else "the UNet has unusual convolutions"


def halvings(module: Any) -> int:
    """Return how often a UNet halves the map."""
    return sum(type(part).__name__ == "Downsample2D" for part in module.modules())


@contextmanager
def recording(module: Any, scales: Sequence[Scale], kept: Record, *, each: bool = False) -> Iterator[None]:
    """Fill `kept` with what later runs on a box need of the run made inside the block.

    Args:
        module: a UNet without `refusal`; it runs as ever.
        scales: the box on every scale of the map.
        kept: filled.
        each: of all its rows; else of the last one.
    """
    by_size = {scale.size: scale for scale in scales}
    by_cells = {scale.size[0] * scale.size[1]: scale for scale in scales}

    def box_in(x: Tensor) -> Box:
        return by_size[x.shape[-2], x.shape[-1]].box

    def conv(name: str) -> Callable[..., None]:
        def before(part: Any, args: Any) -> None:
            keep(kept, name, _frame(args[0], box_in(args[0]), part.padding), each=each)

        return before

    def norm(name: str) -> Callable[..., None]:
        def before(part: Any, args: Any) -> None:
            keep(kept, name, _outside_moments(args[0], box_in(args[0]), part.num_groups), each=each, exact=True)

        return before

    def tokens(name: str) -> Callable[..., None]:
        def after(_part: Any, _args: Any, output: Tensor) -> None:
            keep(kept, name, output[:, _outside(by_cells[output.shape[1]], output.device)], each=each)

        return after

    def down(name: str) -> Callable[..., None]:
        def after(_part: Any, _args: Any, output: Tensor) -> None:
            keep(kept, name, box_in(output).cut(output), each=each)

        return after

    def whole(_part: Any, _args: Any, output: Any) -> None:
        keep(kept, OUTPUT, output[0], each=each)

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if _is_wide(part):
                stack.callback(part.register_forward_pre_hook(conv(name)).remove)
            elif isinstance(part, nn.GroupNorm):
                stack.callback(part.register_forward_pre_hook(norm(name)).remove)
            elif _attends_itself(part):
                for way in ("to_k", "to_v"):
                    stack.callback(getattr(part, way).register_forward_hook(tokens(f"{name}.{way}")).remove)
            elif type(part).__name__ == "Downsample2D":
                stack.callback(part.register_forward_hook(down(name)).remove)
        stack.callback(module.register_forward_hook(whole).remove)
        yield


@contextmanager
def within(module: Any, scales: Sequence[Scale], standing: Standing) -> Iterator[None]:
    """Let the module run on the box alone inside the block; outside of the box its output is the recorded one.

    Args:
        module: a UNet without `refusal`.
        scales: as the records were made for.
        standing: stands in for the outside.
    """
    downwards, upwards = iter(scales[1:]), iter(scales[:0:-1])  # modules come in the order of their calls

    def tokens(name: str) -> Callable[..., Tensor]:
        def after(_part: Any, _args: Any, output: Tensor) -> Tensor:
            return torch.cat([output, standing.of(name, output).to(output).expand(len(output), -1, -1)], dim=1)

        return after

    def down(name: str, scale: Scale) -> Callable[..., Tensor]:
        def after(_part: Any, _args: Any, output: Tensor) -> Tensor:
            return _pasted(output, scale.inner.within(scale.box), standing.of(name, output))

        return after

    def up(scale: Scale) -> Callable[..., Any]:
        def before(_part: Any, args: Any) -> Any:
            return (scale.inner.within(scale.box).cut(args[0]), *args[1:])

        return before

    def enter(_part: Any, args: Any) -> Any:
        return (scales[0].box.cut(args[0]), *args[1:])

    def leave(_part: Any, _args: Any, output: Any) -> Any:
        whole = _pasted(output[0], scales[0].box, standing.of(OUTPUT, output[0]))
        standing.passed(len(whole))
        return (whole, *output[1:])

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if _is_wide(part):
                stack.enter_context(replaced(part, _framed_conv(part, partial(standing.of, name))))
            elif isinstance(part, nn.GroupNorm):
                stack.enter_context(replaced(part, _joint_norm(part, partial(standing.of, name))))
            elif _attends_itself(part):
                for way in ("to_k", "to_v"):
                    stack.callback(getattr(part, way).register_forward_hook(tokens(f"{name}.{way}")).remove)
            elif type(part).__name__ == "Downsample2D":
                stack.callback(part.register_forward_hook(down(name, next(downwards))).remove)
            elif type(part).__name__ == "Upsample2D":
                stack.callback(part.register_forward_pre_hook(up(next(upwards))).remove)
        stack.callback(module.register_forward_pre_hook(enter).remove)
        stack.callback(module.register_forward_hook(leave).remove)
        yield


_Rows = Callable[[Tensor], Tensor]
"""From the rows of a call to what stands beside them."""


def _is_wide(part: Any) -> bool:
    """Say whether a module is a convolution that looks beyond its own cell."""
    return isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1


def _attends_itself(part: Any) -> bool:
    return type(part).__name__ == "Attention" and not part.is_cross_attention


def _outside(scale: Scale, device: torch.device) -> Tensor:
    """Return the numbers of the cells outside the box, row by row of the map."""
    cells = torch.ones(scale.size, dtype=torch.bool, device=device)
    scale.box.cut(cells).fill_(value=False)
    return cells.flatten().nonzero().flatten()


def _pasted(part: Tensor, box: Box, whole: Tensor) -> Tensor:
    """Return recorded cells (1 or row, channel, height, width), in rows as those of `part`, with `part` in the box."""
    joined = whole.to(part).expand(len(part), -1, -1, -1).clone()
    box.cut(joined).copy_(part)
    return joined


def _sides(height: int, width: int, padding: tuple[int, int]) -> list[Box]:
    """Return the frame around a box of that size as four boxes, counted from the frame's corner."""
    (high, wide), (rows, columns) = padding, (height + 2 * padding[0], width + 2 * padding[1])
    return [
        Box(0, 0, high, columns), Box(rows - high, 0, rows, columns),
        Box(high, 0, rows - high, wide), Box(high, columns - wide, rows - high, columns),
    ]  # fmt: skip


def _frame(x: Tensor, box: Box, padding: tuple[int, int]) -> Tensor:
    """Return the cells around a box (row, channel, cells), zeros beyond the map."""
    wide = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    around = Box(box.top, box.left, box.bottom + 2 * padding[0], box.right + 2 * padding[1]).cut(wide)
    return torch.cat([side.cut(around).flatten(2) for side in _sides(*box.size, padding)], dim=2)


def _framed(x: Tensor, frame: Tensor, padding: tuple[int, int]) -> Tensor:
    """Return a box (row, channel, height, width) with the cells of `_frame` around it."""
    (high, wide), (height, width) = padding, (x.shape[2], x.shape[3])
    whole = x.new_empty(*x.shape[:2], height + 2 * high, width + 2 * wide)
    whole[..., high : high + height, wide : wide + width] = x
    sides = _sides(height, width, padding)
    for side, cells in zip(sides, torch.split(frame, [side.area for side in sides], dim=2), strict=True):
        side.cut(whole).copy_(cells.reshape(*cells.shape[:2], *side.size))
    return whole


def _framed_conv(part: nn.Conv2d, frame: _Rows) -> Callable[[Tensor], Tensor]:
    padding = (int(part.padding[0]), int(part.padding[1]))

    def forward(x: Tensor) -> Tensor:
        framed = _framed(x, frame(x), padding)
        (high, wide), stride = part.kernel_size, part.stride
        rows, columns = (framed.shape[2] - high) // stride[0] + 1, (framed.shape[3] - wide) // stride[1] + 1
        if x.device.type != "cpu" or part.weight.numel() < _HEAVY or rows * columns > _FEW:
            return nn.functional.conv2d(framed, part.weight, part.bias, stride)
        patches = nn.functional.unfold(framed, part.kernel_size, stride=stride)
        output = part.weight.flatten(1) @ patches.transpose(0, 1).flatten(1)
        output = output.reshape(-1, len(x), rows, columns).transpose(0, 1)
        return output if part.bias is None else output + part.bias[:, None, None]

    return forward


def _moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor, int]:
    """Return mean and sum of squared distances to it of each group (row, group), and how many values they are of."""
    flat = x.reshape(len(x), groups, -1)
    variance, mean = torch.var_mean(flat.float(), dim=2, correction=0)
    return mean, variance * flat.shape[2], flat.shape[2]


def _outside_moments(x: Tensor, box: Box, groups: int) -> Tensor:
    """Return mean, sum of squares about it and count of the cells outside a box, (row, 3, group)."""
    (mean, spread, count), (mean_in, spread_in, count_in) = _moments(x, groups), _moments(box.cut(x), groups)
    if count == count_in:
        return torch.zeros(len(x), 3, groups, device=x.device)
    rest = count - count_in
    outside = (mean * count - mean_in * count_in) / rest
    between = (outside - mean_in).square() * (rest * count_in / count)
    return torch.stack([outside, (spread - spread_in - between).clamp(min=0), torch.full_like(mean, rest)], dim=1)


def _joint_norm(part: nn.GroupNorm, outside: _Rows) -> Callable[[Tensor], Tensor]:
    """Return a group norm of a box whose statistics are of box and outside together (Chan et al. 1979)."""

    def forward(x: Tensor) -> Tensor:
        mean_out, spread_out, rest = outside(x).unbind(dim=1)
        mean_in, spread_in, count_in = _moments(x, part.num_groups)
        share = rest / (rest + count_in)
        apart = mean_out - mean_in
        mean = mean_in + apart * share
        variance = (spread_in + spread_out.clamp(min=0)) / (rest + count_in) + apart.square() * share * (1 - share)
        each = x.shape[1] // part.num_groups
        mean, scale = (v.repeat_interleave(each, dim=1) for v in (mean, (variance + part.eps).rsqrt()))
        gain = scale * part.weight
        shift = part.bias - mean * gain
        return torch.addcmul(shift.to(x.dtype)[..., None, None], x, gain.to(x.dtype)[..., None, None])

    return forward
