"""LoRA layers under the names of a network's authors: which layers of the model they are, and which outputs are whose.

The authors of transformers join what diffusers keeps apart: one layer makes queries, keys and values. The change of a
joined weight, s * up @ down, is cut by rows: each layer of the model gets its rows of `up` and the whole of `down`. In
the norms before the last layer the authors put the shift before the scale, and diffusers after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wordbrush.errors import ModelError
from wordbrush.models.addons.kinds import made_for
from wordbrush.models.addons.names import Role, key_of
from wordbrush.models.addons.tensors import AddOnFile, Rows

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Place", "places_of", "view"]

_SCALE_FIRST = frozenset({"AdaLayerNormContinuous", "AuraFlowPreFinalBlock"})
"""Modules of diffusers with a layer `linear` for scale and shift, which the authors have as shift and scale."""

_BY_OUTPUT: tuple[Role, ...] = ("up", "bias", "magnitude", "diff", "diff_b")
"""What has a row for each output of its layer."""


@dataclass(frozen=True)
class Place:
    """A layer of the model that a layer of a file changes.

    Attributes:
        part: the part of the model that has it, as `transformer`.
        path: its name in that part.
        rows: which outputs of the file's layer are its own, in its own order; () = all, as they are.
        outputs: how many outputs the file's layer must have; 0 where rows is ().
        is_theirs: whether the file calls it as the authors do.
    """

    part: str
    path: str
    rows: Rows = ()
    outputs: int = 0
    is_theirs: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all outputs of the file's layer are this one's."""
        return sum(end - begin for begin, end in self.rows) == self.outputs


def places_of(
    readings: Iterable[tuple[str, str]], module_of: Mapping[str, nn.Module], names: Mapping[str, tuple[str, ...]]
) -> tuple[Place, ...]:
    """Return the layers that a layer of a file is under its authors' names; () where the model has not all of them.

    Args:
        readings: what the layer may be, as a part and a key in it.
        module_of: the parts.
        names: of the family, as `wordbrush.models.family.Family.lora_names`.
    """
    for part, key in readings:
        for theirs, ours in names.items():
            pattern = re.escape(key_of(theirs)).replace(r"\#", r"(\d+)")
            if found := re.fullmatch(pattern, key):
                number = found.group(1) if found.groups() else ""
                if places := _placed(part, module_of[part], [path.replace("#", number) for path in ours]):
                    return places
    return ()


def _placed(part: str, module: nn.Module, paths: list[str]) -> tuple[Place, ...]:
    try:
        layers = [module.get_submodule(path) for path in paths]
    except AttributeError:
        return ()
    sizes = [int(layer.weight.shape[0]) for layer in layers]  # type: ignore[index]
    if type(module.get_submodule(paths[0].rpartition(".")[0])).__name__ in _SCALE_FIRST:
        half, end = sizes[0] // 2, sizes[0]
        return (Place(part, paths[0], ((half, end), (0, half)), end, True),)
    if len(paths) == 1:
        return (Place(part, paths[0], is_theirs=True),)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    spans = [(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return tuple(Place(part, path, (span,), ends[-1], True) for path, span in zip(paths, spans, strict=True))


def view(file: AddOnFile, layer: str, place: Place, tensors: Mapping[Role, str]) -> Mapping[Role, str]:
    """Return a layer's tensors by role as a place takes them; those cut to its outputs become tensors of the file.

    Raises:
        ModelError: the layer has another number of outputs, or is a DoRA by columns, which cannot be cut.
    """
    if not place.rows:
        return tensors
    cut: dict[Role, str] = dict(tensors)
    for role, name in tensors.items():
        shape = file.shape(name)
        columns = role == "dora_scale" and (len(shape) < 2 or shape[0] == 1)
        if columns and not place.is_whole:
            raise ModelError(f"{file.where}: layer {layer} is a DoRA of joined layers by columns: not supported")
        if role not in _BY_OUTPUT and (role != "dora_scale" or columns):
            continue
        if not shape or shape[0] != place.outputs:
            made = f"; it was made for {family}" if (family := made_for(file.header)) else ""
            sizes = f"has {shape[0] if shape else 1} outputs, and {place.outputs} in it"
            raise ModelError(f"{file.where} does not fit this model: layer {layer} {sizes}{made}")
        cut[role] = file.cut(name, place.rows)
    return cut
