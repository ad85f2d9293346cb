"""One layer of a LoRA: whether it fits the model's layer, and what change of the weight it stands for.

With factors up (out, rank), down (rank, in) and s = alpha / rank the change of a weight W is s * up @ down (Hu et al.,
LoRA, 2021). For convolutions down has the kernel; where there is a `mid` (rank, rank, height, width) the kernel is its
own, and down and up are 1 x 1 (LyCORIS). A DoRA (Liu et al., 2024) gives the lengths m of the changed weight's columns
or rows: W becomes m * V / |V| with V = W + s * up @ down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from wordbrush.errors import ModelError
from wordbrush.models.addons.kinds import made_for
from wordbrush.models.addons.names import Role
from wordbrush.models.addons.strength import Declared, checked_alpha
from wordbrush.models.addons.tensors import AddOnFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ["Layer", "checked_layer", "factors", "weight_change"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer of the model and the tensors of a file that change it.

    Attributes:
        name: what the file calls it.
        part: the part of the model that has it, as `unet`.
        path: its name in that part.
        module: itself.
        tensors: names of the tensors by what they are to it.
        rank: of the factors; 0 where there are none.
        alpha: their strength, in ranks.
    """

    name: str
    part: str
    path: str
    module: nn.Module
    tensors: Mapping[Role, str]
    rank: int = 0
    alpha: float = 0.0

    @property
    def is_dora(self) -> bool:
        """Whether the file gives the lengths of the changed weight."""
        return "dora_scale" in self.tensors or "magnitude" in self.tensors

    @property
    def has_factors(self) -> bool:
        """Whether the change of the weight is a product."""
        return "down" in self.tensors

    def is_idle(self, zeros: frozenset[str]) -> bool:
        """Say whether the layer changes nothing, given the names of the tensors that are zero throughout."""
        moving = {role for role, name in self.tensors.items() if name not in zeros} - {"alpha"}
        return not self.is_dora and not moving & {"diff", "diff_b", "bias"} and not {"down", "up"} <= moving

    @property
    def weight(self) -> Tensor:
        """The model's weight: (out, in) or (out, in, height, width)."""
        weight: Tensor = self.module.weight  # type: ignore[assignment]
        return weight


def checked_layer(file: AddOnFile, layer: Layer, declared: Declared) -> Layer:
    """Return the layer with its rank and strength, after a check that it is whole and fits; no value but alpha is read.

    Raises:
        ModelError: a factor is missing, shapes do not fit one another or the model, or alpha is no strength.
    """
    tensors = layer.tensors
    for role, other in (("down", "up"), ("up", "down"), ("mid", "down"), ("bias", "up"), ("dora_scale", "down")):
        if role in tensors and other not in tensors:
            raise ModelError(f"{file.where}: layer {layer.name} has {role!r} without {other!r}: the file is damaged")
    if "magnitude" in tensors and ("down" not in tensors or "dora_scale" in tensors):
        raise ModelError(f"{file.where}: layer {layer.name} has DoRA magnitudes and no single LoRA they belong to")
    _check_bias(file, layer)
    if "diff" in tensors and _core(file.shape(tensors["diff"])) != _core(tuple(layer.weight.shape)):
        raise _unfit(file, layer, file.shape(tensors["diff"]), tuple(layer.weight.shape))
    if not layer.has_factors:
        return layer
    rank = _check_factors(file, layer)
    if layer.is_dora:
        _axis(file, layer)
    elif declared.is_dora(layer.part):
        raise ModelError(f"{file.where} says that it is a DoRA, and layer {layer.name} has no magnitudes")
    if "alpha" in tensors:
        return replace(layer, rank=rank, alpha=checked_alpha(file, file.number(tensors["alpha"]), layer.name))
    return replace(layer, rank=rank, alpha=declared.alpha(layer.part, layer.path, rank))


def _check_factors(file: AddOnFile, layer: Layer) -> int:
    """Check the shapes of the factors and return their rank."""
    from torch import nn

    if not isinstance(layer.module, nn.Linear | nn.Conv2d):
        kind = type(layer.module).__name__
        raise ModelError(f"{file.where}: layer {layer.name} is a {kind} in this model, which takes no LoRA")
    weight = tuple(layer.weight.shape)
    down, up = (file.shape(layer.tensors[role]) for role in ("down", "up"))
    mid = file.shape(layer.tensors["mid"]) if "mid" in layer.tensors else None
    if min(len(down), len(up)) < 2 or not down[0]:
        raise ModelError(f"{file.where}: layer {layer.name} has factors of shapes {_x(down)} and {_x(up)}: no rank")
    if mid is not None:
        if len(mid) != 4 or mid[:2] != (up[1], down[0]):
            joined = f"{_x(up)} and {_x(down)}"
            raise ModelError(f"{file.where}: layer {layer.name}: 'mid' of {_x(mid)} does not join {joined}")
        made: Shape = (up[0], down[1], *mid[2:])
    else:
        if prod(up[1:]) != down[0]:
            raise ModelError(f"{file.where}: layer {layer.name}: the ranks of {_x(down)} and {_x(up)} differ")
        made = (up[0], *down[1:])
    flat = len(made) == 2 and made == (weight[0], prod(weight[1:]))
    if _core(made) != _core(weight) and not flat:
        raise _unfit(file, layer, made, weight)
    return down[0]


def _check_bias(file: AddOnFile, layer: Layer) -> None:
    bias = getattr(layer.module, "bias", None)
    if (name := layer.tensors.get("diff_b")) is not None:
        if bias is None:
            raise ModelError(f"{file.where}: layer {layer.name} has no bias in this model, and {name!r} changes it")
        if file.shape(name) != tuple(bias.shape):
            raise _unfit(file, layer, file.shape(name), tuple(bias.shape))
    if (name := layer.tensors.get("bias")) is not None:
        if layer.is_dora:
            raise ModelError(f"{file.where}: layer {layer.name} is a DoRA with a bias ({name!r}): not supported")
        if file.shape(name) != tuple(layer.weight.shape[:1]):
            raise _unfit(file, layer, file.shape(name), tuple(layer.weight.shape[:1]))


def factors(file: AddOnFile, layer: Layer) -> tuple[Tensor, Tensor]:
    """Return the factors as a layer of peft has them, in float32: down with the kernel, and up without.

    Returns:
        (rank, in) and (out, rank); for a convolution (rank, in, height, width) and (out, rank, 1, 1).

    Raises:
        ModelError: a value is too large for the dtype of the model.
    """
    import torch

    down, up = file.get(layer.tensors["down"]), file.get(layer.tensors["up"])
    if "mid" in layer.tensors:
        mid = file.get(layer.tensors["mid"])
        down = torch.einsum("pqhw,qi->pihw", mid, down.flatten(1))
        up = up.flatten(1)
    rank, weight = down.shape[0], layer.weight
    if not all(bool(factor.to(weight.dtype).isfinite().all()) for factor in (down, up)):
        dtype = str(weight.dtype).removeprefix("torch.")
        raise ModelError(f"{file.where}: the factors of layer {layer.name} leave the range of {dtype}")
    return down.reshape(rank, *weight.shape[1:]), up.reshape(weight.shape[0], rank, *(1,) * (weight.dim() - 2))


def weight_change(file: AddOnFile, layer: Layer) -> Tensor | None:
    """Return what the file adds to the weight beside a plain product of factors, at full strength.

    Returns:
        The change of the weight, its shape, float32, for a DoRA or for a change given as it is; else None.
    """
    import torch

    if not layer.is_dora and "diff" not in layer.tensors:
        return None
    weight = layer.weight.detach().float()
    change = weight.new_zeros(weight.shape)
    if "diff" in layer.tensors:
        change += file.get(layer.tensors["diff"]).reshape(weight.shape)
    if layer.is_dora:
        down, up = factors(file, layer)
        moved = weight + layer.alpha / layer.rank * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        lengths, axis = _axis(file, layer)
        others = [i for i in range(weight.dim()) if i != axis]
        shape = [weight.shape[axis] if i == axis else 1 for i in range(weight.dim())]
        found = torch.linalg.vector_norm(moved, dim=others, keepdim=True).clamp_min(1e-12)
        change += file.get(lengths).reshape(shape) * moved / found - weight
    return change


def _axis(file: AddOnFile, layer: Layer) -> tuple[str, int]:
    """Return the tensor of a DoRA's lengths and the axis of the weight that they run along.

    peft has one length for each output. Trainers have one for each input, (1, in), or, since LyCORIS has a switch for
    it, one for each output, (out, 1).
    """
    weight = tuple(layer.weight.shape)
    if "magnitude" in layer.tensors:
        name = layer.tensors["magnitude"]
        shape = file.shape(name)
        fits = prod(shape) == max(shape, default=1) == weight[0]
        axis = 0
    else:
        name = layer.tensors["dora_scale"]
        shape = file.shape(name)
        axis = 1 if len(shape) > 1 and shape[0] == 1 and weight[0] != 1 else 0
        fits = prod(shape) == max(shape, default=1) == weight[axis] and (axis == 1 or shape[0] == weight[0])
    if not fits:
        raise _unfit(file, layer, shape, weight)
    return name, axis


def _core(shape: Shape) -> Shape:
    """Return a shape without the ones at its end: a 1 x 1 convolution is a linear layer."""
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _unfit(file: AddOnFile, layer: Layer, theirs: Shape, ours: Shape) -> ModelError:
    made = f"; it was made for {family}" if (family := made_for(file.header)) else ""
    sizes = f"{_x(theirs)}, and {_x(ours)} in it"
    return ModelError(f"{file.where} does not fit this model: layer {layer.name} is {sizes}{made}")


def _x(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"
