"""A transformer run on some tokens of its picture; for all others stands what a run on all of them left.

The modules of diffusers stay as they are. While a context lasts, the network is given the chosen tokens with their
places, and every token of the text. Norms, projections and feed-forward layers see one token at a time and need no
more. Attention has queries of these tokens alone, and besides their keys and values those of the record, which were
turned to their places already. So a run on all tokens is the plain run, and the only error of any other is that the
tokens left out are those of the record. Chosen tokens may lie anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wordbrush.speed.records import OUTPUT, Record, Standing, held_back, keep, replaced

__all__ = ["Tokens", "recording", "refusal", "tokens_of", "within"]


@dataclass(frozen=True)
class _Layout:
    """Where a class of transformers has the tokens of its picture.

    Attributes:
        first: whether they stand before those of the text where both attend to one another.
        packed: whether the network is given tokens, of 2 x 2 cells each, as its first argument.
        given: other arguments with one entry a token, of text and picture together or of the picture alone.
        made: how many tensors of a module's answer, from its first on, have one entry a token of the picture.
        output: the module that answers a row a token.
        texts: attention modules of the text alone, or of the picture to the text.
    """

    first: bool = False
    packed: bool = False
    given: tuple[str, ...] = ()
    made: Mapping[str, int] = field(default_factory=dict)
    output: str = "proj_out"
    texts: str = "$."


_PLACED = {"pos_embed": 1}
_FLUX = _Layout(packed=True, given=("img_ids", "attention_mask"))
_LAYOUTS = {
    "FluxTransformer2DModel": _FLUX,
    "ChromaTransformer2DModel": _FLUX,
    "Flux2Transformer2DModel": _FLUX,
    "QwenImageTransformer2DModel": _Layout(packed=True, made=_PLACED),
    "Krea2Transformer2DModel": _Layout(
        packed=True, given=("position_ids",), output="final_layer", texts="text_fusion"
    ),
    "SD3Transformer2DModel": _Layout(first=True, made=_PLACED),
    "AuraFlowTransformer2DModel": _Layout(made=_PLACED),
    "CogView4Transformer2DModel": _Layout(made={"rope": 2, "patch_embed": 1}),
    "PixArtTransformer2DModel": _Layout(made=_PLACED, texts="attn2"),
    "DiTTransformer2DModel": _Layout(made=_PLACED, output="proj_out_2"),
    "ZImageTransformer2DModel": _Layout(first=True, output="all_final_layer.2-1", texts="context_refiner"),
}

@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a picture, row by row.

    Attributes:
        total: how many there are.
        chosen: numbers of those that are computed, rising.
        others: numbers of the rest, rising.
    """

    total: int
    chosen: Tensor
    others: Tensor

    @property
    def share(self) -> float:
        """The chosen ones among all."""
        return len(self.chosen) / self.total

    def of(self, values: Tensor, axis: int = -2) -> Tensor:
        """Return the chosen entries along an axis that ends with one entry a token, and all entries before those."""
        before = values.shape[axis] - self.total
        kept = torch.arange(before, device=values.device)
        return values.index_select(axis, torch.cat([kept, before + self.chosen.to(values.device)]))


def refusal(module: Any) -> str:
    """Return why a network cannot run on some tokens, in words that follow "because", or ""."""
    name = type(module).__name__
    if name not in _LAYOUTS:
        return f"{f'a {name}' if isinstance(module, nn.Module) else 'this network'} is computed as a whole"
    if backend := getattr(module.forward, "whole", ""):
        return f"the backend {backend} computes the transformer as a whole"
    return "the weights of the transformer wait in main memory, layer by layer" if held_back(module) else ""


def tokens_of(module: Any, region: Tensor, halo: int) -> Tokens:
    """Return the tokens that a region touches.

    Args:
        module: a transformer without `refusal`.
        region: (row, 1, height, width) in latent cells; all above 0 are in it.
        halo: cells around the region that belong to it too.
    """
    layout = _LAYOUTS[type(module).__name__]
    side = 2 if layout.packed else int(getattr(module.config, "patch_size", 2))
    inside = (region.amax(dim=0, keepdim=True) > 0).float()
    wide = nn.functional.max_pool2d(inside, 2 * halo + 1, stride=1, padding=halo)
    touched = nn.functional.max_pool2d(wide, side).flatten() > 0
    return Tokens(len(touched), touched.nonzero().flatten(), (~touched).nonzero().flatten())


@contextmanager
def recording(module: Any, tokens: Tokens, kept: Record, *, each: bool = False) -> Iterator[None]:
    """Fill `kept` with what later runs on the chosen tokens need of the run made inside the block.

    Args:
        module: a transformer without `refusal`; it runs as ever.
        tokens: those that will be chosen.
        kept: filled; it stays empty where attention is computed by anything but torch.
        each: of all its rows; else of the last one.
    """
    layout = _LAYOUTS[type(module).__name__]

    def seen(name: str, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        begin = 0 if layout.first else key.shape[2] - tokens.total
        rest = begin + tokens.others.to(key.device)
        for way, values in (("k", key), ("v", value)):
            keep(kept, f"{name}.{way}", values[:, :, rest], each=each)
        return key, value, mask

    def answered(_part: Any, _args: Any, output: Tensor) -> None:
        keep(kept, OUTPUT, output[:, : tokens.total], each=each)

    with ExitStack() as stack:
        names = _attended(module, layout, seen, stack)
        stack.callback(module.get_submodule(layout.output).register_forward_hook(answered).remove)
        yield
        if not all(f"{name}.k" in kept for name in names):
            kept.clear()


@contextmanager
def within(module: Any, tokens: Tokens, standing: Standing) -> Iterator[None]:
    """Let the module run on the chosen tokens alone inside the block; its answer for all others is the recorded one.

    Args:
        module: a transformer without `refusal`.
        tokens: as the records were made for.
        standing: stands in for the other tokens.
    """
    layout = _LAYOUTS[type(module).__name__]

    def joined(name: str, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        key, value = (
            torch.cat([mine, standing.of(f"{name}.{way}", mine).to(mine).expand(len(mine), -1, -1, -1)], dim=2)
            for mine, way in ((key, "k"), (value, "v"))
        )
        if mask is not None:
            seen = 1.0 if mask.dtype == torch.bool else 0.0
            mask = nn.functional.pad(mask, (0, len(tokens.others)), value=seen)
        return key, value, mask

    def enter(_part: Any, args: Any, given: dict[str, Any]) -> Any:
        named = [name for name in layout.given if name in given]
        cut = {name: tokens.of(given[name], -1 if name.endswith("mask") else -2) for name in named}
        return (tokens.of(args[0]), *args[1:]), given | cut

    def made(count: int) -> Callable[..., Any]:
        def after(_part: Any, _args: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return tokens.of(output)
            return (*(tokens.of(one) for one in output[:count]), *output[count:])

        return after

    def leave(_part: Any, _args: Any, output: Tensor) -> Tensor:
        whole = standing.of(OUTPUT, output).to(output).expand(len(output), -1, -1)
        standing.passed(len(output))
        return whole.index_copy(1, tokens.chosen.to(output.device), output[:, : len(tokens.chosen)])

    with ExitStack() as stack:
        _attended(module, layout, joined, stack)
        if layout.packed:
            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        for name, count in layout.made.items():
            stack.callback(module.get_submodule(name).register_forward_hook(made(count)).remove)
        if hasattr(module, "patchify_and_embed"):
            stack.enter_context(_patches(module, tokens))
        stack.callback(module.get_submodule(layout.output).register_forward_hook(leave).remove)
        yield


_Seen = Callable[[str, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor | None]]
"""From an attention's name, its keys and values (row, head, token, number) and its mask to what takes their place."""


def _attended(module: Any, layout: _Layout, seen: _Seen, stack: ExitStack) -> list[str]:
    """Let `seen` change what the picture's attention modules attend to while the stack lasts; return their names."""
    names = []
    for name, part in module.named_modules():
        if hasattr(part, "processor") and not re.search(layout.texts, name):
            names.append(name)
            stack.enter_context(replaced(part, _watched(part.forward, partial(seen, name))))
    return names


def _watched(forward: Callable[..., Any], seen: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **given: Any) -> Any:
        with _Attention(seen):
            return forward(*args, **given)

    return run


class _Attention(TorchFunctionMode):
    """Changes keys, values and mask of the attention that torch computes inside the block.

    Every family has its own way to it, yet all end there, with keys turned to their places.
    """

    def __init__(self, seen: Callable[..., Any]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `torch.overrides.TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
        changed = self.seen(given["key"], given["value"], given.get("attn_mask"))
        return func(**given | dict(zip(("key", "value", "attn_mask"), changed, strict=True)))


def _patches(module: Any, tokens: Tokens) -> Any:
    """Let Z-Image lay out the chosen tokens alone; those that fill its sequence up stay, like those of the text."""
    whole = module.patchify_and_embed

    def some(*args: Any) -> Any:
        out = list(whole(*args))
        for place in (0, 3, 5):  # numbers, places and filling of the picture's tokens, one tensor a row
            out[place] = [_leading(values, tokens) for values in out[place]]
        return tuple(out)

    return _method(module, "patchify_and_embed", some)


@contextmanager
def _method(module: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    setattr(module, name, method)
    try:
        yield
    finally:
        delattr(module, name)


def _leading(values: Tensor, tokens: Tokens) -> Tensor:
    """Return the chosen of the first entries, which are those of the picture, and all after them."""
    return torch.cat([values[tokens.chosen.to(values.device)], values[tokens.total :]])
