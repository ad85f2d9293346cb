"""A UNet run on a box of its map; everything outside is stood in for by what a run on the whole map left.

The modules of diffusers are used as they are. Their hooks

* give a convolution the border of its box from the recorded map instead of zeros,
* give a group norm the statistics of the recorded outside together with those of the box,
* give self-attention the recorded keys and values of the outside beside those of the box, which alone has queries,
* widen the box to even cells on the way down, and narrow it again on the way up (see `boxes.scales_of`).

So a run on a box that is the whole map is the plain run, and the only error of another is that the outside is as old
as its record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.speed.boxes import Box, Scale

__all__ = ["Record", "recording", "halvings", "supported", "within"]

Record = dict[str, Tensor]
"""What a whole run left, by name, one row a row of the call."""

_BLOCKS = {
    "DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn", "CrossAttnUpBlock2D", "UpBlock2D",
}  # fmt: skip
_OUTPUT = ""


def supported(module: Any) -> bool:
    if type(module).__name__ != "UNet2DConditionModel":
        return False
    parts = [*module.down_blocks, module.mid_block, *module.up_blocks]
    return all(type(part).__name__ in _BLOCKS for part in parts)


def halvings(module: Any) -> int:
    """Return how often a UNet halves the map."""
    return sum(type(part).__name__ == "Downsample2D" for part in module.modules())


@contextmanager
def recording(module: Any, scales: tuple[Scale, ...], kept: Record) -> Iterator[None]:
    """Fill `kept` with what runs within the box need of the whole run made inside the block."""
    by_size = {scale.size: scale for scale in scales}
    by_tokens = {scale.size[0] * scale.size[1]: scale for scale in scales}

    def conv(name: str) -> Any:
        def hook(part: Any, args: Any) -> None:
            kept[name] = _half(_frame(args[0], by_size[tuple(args[0].shape[-2:])].box, part.padding))

        return hook

    def norm(name: str) -> Any:
        def hook(part: Any, args: Any) -> None:
            kept[name] = _outside_moments(args[0], by_size[tuple(args[0].shape[-2:])].box, part.num_groups)

        return hook

    def tokens(name: str) -> Any:
        def hook(part: Any, args: Any, output: Tensor) -> None:
            scale = by_tokens[output.shape[1]]
            kept[name] = _half(output[:, _outside(scale, output.device)])

        return hook

    def down(name: str) -> Any:
        def hook(part: Any, args: Any, output: Tensor) -> None:
            kept[name] = _half(by_size[tuple(output.shape[-2:])].box.cut(output).clone())

        return hook

    def whole(part: Any, args: Any, output: Any) -> None:
        kept[_OUTPUT] = output[0].clone()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
                stack.enter_context(_held(part.register_forward_pre_hook(conv(name))))
            elif isinstance(part, nn.GroupNorm):
                stack.enter_context(_held(part.register_forward_pre_hook(norm(name))))
            elif type(part).__name__ == "Attention" and not part.is_cross_attention:
                for way in ("to_k", "to_v"):
                    stack.enter_context(_held(getattr(part, way).register_forward_hook(tokens(f"{name}.{way}"))))
            elif type(part).__name__ == "Downsample2D":
                stack.enter_context(_held(part.register_forward_hook(down(name))))
        stack.enter_context(_held(module.register_forward_hook(whole)))
        yield


@contextmanager
def within(module: Any, scales: tuple[Scale, ...], record: Mapping[str, Tensor]) -> Iterator[None]:
    """Run the module on the box inside the block."""
    inputs = {scale.box.size: scale for scale in scales}
    coarser = {fine.box.halved().size: scale for fine, scale in zip(scales, scales[1:])}

    def conv(name: str) -> Any:
        def hook(part: Any, args: Any) -> Any:
            return (_framed(args[0], record[name], part_padding[name]), *args[1:])

        return hook

    def tokens(name: str) -> Any:
        def hook(part: Any, args: Any, output: Tensor) -> Any:
            return torch.cat([output, record[name].to(output)], dim=1)

        return hook

    def down(name: str) -> Any:
        def hook(part: Any, args: Any, output: Tensor) -> Any:
            scale = coarser[tuple(output.shape[-2:])]
            if scale.inner == scale.box:
                return output
            wide = record[name].to(output, copy=True)
            scale.inner.within(scale.box).cut(wide).copy_(output)
            return wide

        return hook

    def up(part: Any, args: Any) -> Any:
        scale = inputs[tuple(args[0].shape[-2:])]
        return (scale.inner.within(scale.box).cut(args[0]), *args[1:])

    def enter(part: Any, args: Any, kwargs: Any) -> Any:
        return ((scales[0].box.cut(args[0]), *args[1:]), kwargs)

    def leave(part: Any, args: Any, output: Any) -> Any:
        whole = record[_OUTPUT].to(output[0], copy=True)
        scales[0].box.cut(whole).copy_(output[0])
        return (whole, *output[1:])

    part_padding: dict[str, Any] = {}
    with ExitStack() as stack:
        for name, part in module.named_modules():
            if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
                part_padding[name] = part.padding
                stack.enter_context(_set(part, "padding", (0, 0)))
                stack.enter_context(_held(part.register_forward_pre_hook(conv(name))))
            elif isinstance(part, nn.GroupNorm):
                stack.enter_context(_set(part, "forward", _joint_norm(part, record[name])))
            elif type(part).__name__ == "Attention" and not part.is_cross_attention:
                for way in ("to_k", "to_v"):
                    stack.enter_context(_held(getattr(part, way).register_forward_hook(tokens(f"{name}.{way}"))))
            elif type(part).__name__ == "Downsample2D":
                stack.enter_context(_held(part.register_forward_hook(down(name))))
            elif type(part).__name__ == "Upsample2D":
                stack.enter_context(_held(part.register_forward_pre_hook(up)))
        stack.enter_context(_held(module.register_forward_pre_hook(enter, with_kwargs=True)))
        stack.enter_context(_held(module.register_forward_hook(leave)))
        yield


@contextmanager
def _held(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _set(part: Any, name: str, value: Any) -> Iterator[None]:
    had = name in part.__dict__
    before = part.__dict__.get(name)
    part.__dict__[name] = value
    try:
        yield
    finally:
        if had:
            part.__dict__[name] = before
        else:
            del part.__dict__[name]


def _half(values: Tensor) -> Tensor:
    return values.half() if values.dtype == torch.float32 else values.clone()


def _outside(scale: Scale, device: Any) -> Tensor:
    mask = torch.ones(scale.size, dtype=torch.bool, device=device)
    scale.box.cut(mask)[...] = False
    return mask.flatten().nonzero().flatten()


def _frame(x: Tensor, box: Box, padding: tuple[int, int]) -> Tensor:
    """Return the border of a box, (row, channel, cells): top rows, bottom rows, left and right columns, zeros beyond."""
    (high, wide), (height, width) = padding, x.shape[-2:]
    top, left = box.top - high, box.left - wide
    bottom, right = box.bottom + high, box.right + wide

    def piece(t: int, l: int, b: int, r: int) -> Tensor:
        inside = x[..., max(t, 0) : min(b, height), max(l, 0) : min(r, width)]
        pads = (max(-l, 0), max(r - width, 0), max(-t, 0), max(b - height, 0))
        if inside.shape[-1] == 0 or inside.shape[-2] == 0:
            return x.new_zeros(*x.shape[:2], (b - t) * (r - l))
        return nn.functional.pad(inside, pads).flatten(2)

    return torch.cat([
        piece(top, left, box.top, right), piece(box.bottom, left, bottom, right),
        piece(box.top, left, box.bottom, box.left), piece(box.top, box.right, box.bottom, right),
    ], dim=2)


def _framed(x: Tensor, frame: Tensor, padding: tuple[int, int]) -> Tensor:
    (high, wide), (height, width) = padding, x.shape[-2:]
    rows, columns = height + 2 * high, width + 2 * wide
    whole = x.new_empty(*x.shape[:2], rows, columns)
    whole[..., high : high + height, wide : wide + width] = x
    spots = (
        whole[..., :high, :], whole[..., rows - high :, :],
        whole[..., high : rows - high, :wide], whole[..., high : rows - high, columns - wide :],
    )
    begin = 0
    for spot in spots:
        cells = spot.shape[-2] * spot.shape[-1]
        spot.copy_(frame[..., begin : begin + cells].reshape(spot.shape))
        begin += cells
    return whole


def _moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor, int]:
    flat = x.reshape(x.shape[0], groups, -1)
    variance, mean = torch.var_mean(flat.float(), dim=2, correction=0)
    return mean, variance * flat.shape[2], flat.shape[2]


def _outside_moments(x: Tensor, box: Box, groups: int) -> Tensor:
    (mean, spread, count), (mean_in, spread_in, count_in) = _moments(x, groups), _moments(box.cut(x), groups)
    rest = count - count_in
    if rest == 0:
        return torch.zeros(*mean.shape, 3, device=x.device)
    outside = (mean * count - mean_in * count_in) / rest
    spread_out = (spread - spread_in - (outside - mean_in) ** 2 * (rest * count_in / count)).clamp(min=0)
    return torch.stack([outside, spread_out, torch.full_like(outside, rest)], dim=2)


def _joint_norm(part: Any, outside: Tensor) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        mean_in, spread_in, count_in = _moments(x, part.num_groups)
        mean_out, spread_out, rest = outside.unbind(2)
        count = rest + count_in
        mean = mean_in + (mean_out - mean_in) * rest / count
        spread = spread_in + spread_out + (mean_out - mean_in) ** 2 * (rest * count_in / count)
        scale = (spread / count + part.eps).rsqrt()
        per = x.shape[1] // part.num_groups
        scale, mean = (v.repeat_interleave(per, dim=1) for v in (scale, mean))
        gain = scale * part.weight
        shift = part.bias - mean * gain
        return torch.addcmul(shift.to(x)[..., None, None], x, gain.to(x)[..., None, None])

    return forward
