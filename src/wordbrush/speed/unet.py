"""A UNet run on boxes of its map; all outside is stood in for by what a run on the whole map left.

The modules of diffusers stay as they are. While a context lasts,

* a convolution finds beyond the edges of its boxes the recorded cells instead of zeros,
* a group norm joins the recorded statistics of the outside to those of the boxes,
* self-attention has queries of the boxes alone, and keys and values of the boxes and of the recorded outside,
* a box is widened to even cells on the way down, and narrowed again on the way up (`boxes.scales_of`). Several boxes
  of one size lie side by side, on the grid of the coarsest cells (`boxes.tiled_scales`).

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

from wordbrush.speed.box_layers import frame, framed_conv, joint_norm, outside, outside_moments
from wordbrush.speed.boxes import Box, Scale, cut, pasted
from wordbrush.speed.records import OUTPUT, Record, Standing, held_back, keep, replaced

__all__ = ["halvings", "recording", "refusal", "within"]

_BLOCKS = {
    "DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn", "CrossAttnUpBlock2D", "UpBlock2D",
}  # fmt: skip
"""Blocks whose modules are among those that the contexts know."""


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
    """Fill `kept` with what later runs on boxes need of the run made inside the block.

    Args:
        module: a UNet without `refusal`; it runs as ever.
        scales: the boxes on every scale of the map.
        kept: filled.
        each: of all its rows; else of the last one.
    """
    by_size = {scale.size: scale for scale in scales}
    by_cells = {scale.size[0] * scale.size[1]: scale for scale in scales}

    def boxes_in(x: Tensor) -> Sequence[Box]:
        return by_size[x.shape[-2], x.shape[-1]].boxes

    def conv(name: str) -> Callable[..., None]:
        def before(part: Any, args: Any) -> None:
            keep(kept, name, frame(args[0], boxes_in(args[0]), part.padding), each=each)

        return before

    def norm(name: str) -> Callable[..., None]:
        def before(part: Any, args: Any) -> None:
            keep(kept, name, outside_moments(args[0], boxes_in(args[0]), part.num_groups), each=each, exact=True)

        return before

    def tokens(name: str) -> Callable[..., None]:
        def after(_part: Any, _args: Any, output: Tensor) -> None:
            keep(kept, name, output[:, outside(by_cells[output.shape[1]], output.device)], each=each)

        return after

    def down(name: str) -> Callable[..., None]:
        def after(_part: Any, _args: Any, output: Tensor) -> None:
            if by_size[output.shape[2], output.shape[3]].inner is not None:
                keep(kept, name, cut(boxes_in(output), output), each=each)

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
    """Let the module run on the boxes alone inside the block; outside of them its output is the recorded one.

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
            if scale.inner is None:
                return output
            return pasted(output, [scale.inner.within(scale.boxes[0])], standing.of(name, output))

        return after

    def up(scale: Scale) -> Callable[..., Any]:
        def before(_part: Any, args: Any) -> Any:
            return args if scale.inner is None else (scale.inner.within(scale.boxes[0]).cut(args[0]), *args[1:])

        return before

    def enter(_part: Any, args: Any) -> Any:
        return (cut(scales[0].boxes, args[0]), *args[1:])

    def leave(_part: Any, _args: Any, output: Any) -> Any:
        whole = pasted(output[0], scales[0].boxes, standing.of(OUTPUT, output[0]))
        standing.passed(len(whole))
        return (whole, *output[1:])

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if _is_wide(part):
                stack.enter_context(replaced(part, framed_conv(part, partial(standing.of, name))))
            elif isinstance(part, nn.GroupNorm):
                stack.enter_context(replaced(part, joint_norm(part, partial(standing.of, name))))
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


def _is_wide(part: Any) -> bool:
    """Say whether a module is a convolution that looks beyond its own cell."""
    return isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1


def _attends_itself(part: Any) -> bool:
    return type(part).__name__ == "Attention" and not part.is_cross_attention
