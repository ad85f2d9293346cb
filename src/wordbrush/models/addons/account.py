"""The account of a LoRA file, before anything is applied: each tensor belongs to a layer of the model or is named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.errors import ModelError
from wordbrush.models.addons.authors import Place, places_of, view
from wordbrush.models.addons.kinds import kind_of_file, made_for
from wordbrush.models.addons.layers import Layer, checked_layer
from wordbrush.models.addons.names import Role, algorithm, key_of, other_family, role_of
from wordbrush.models.addons.original import original_key
from wordbrush.models.addons.strength import Declared
from wordbrush.models.addons.tensors import AddOnFile
from wordbrush.models.family import Parts

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoraFile", "read_lora"]

Prefixes = Mapping[str, tuple[str, ...]]
"""For each part that LoRAs may change, how the names of its layers begin in files."""

AuthorsNames = Mapping[str, tuple[str, ...]]
"""What the authors of a network call layers, as `wordbrush.models.family.Family.lora_names`."""

_WRAPPERS = ("base_model_model_", "lycoris_", "unet_base_model_model_", "text_encoder_base_model_model_")
_OLD_TEXT = re.compile(r"_self_attn_to_(q|k|v|out)$")


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file whose every tensor is accounted for.

    Attributes:
        file: the file.
        layers: those that the model has; each is complete and fits.
        notes: what of the file is not applied, in words for the user.
    """

    file: AddOnFile
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


def read_lora(path: Path, parts: Parts, prefixes: Prefixes, names: AuthorsNames) -> LoraFile:
    """Read a file and account for each of its tensors; the model is not changed.

    Args:
        path: the file.
        parts: of the model, without any adapters yet.
        prefixes: of the model's family.
        names: of layers by the authors of the model's family.

    Raises:
        UnsafeWeightsError: it is a pickle.
        ModelError: it is missing or damaged, no LoRA, of an algorithm or for a family that is not supported, or does
            not fit; the message names the file and, where there is one, the tensor.
    """
    file = AddOnFile.open(path, "LoRA")
    _refuse_others(file)
    grouped, unknown = _grouped(file)
    found = _found(grouped, parts, prefixes, names)
    absent = [key for key, places in found.items() if not places]
    is_foreign = 2 * len(absent) > len(grouped)
    # Files for transformers may have layers of text encoders that other families have, too: T5 with FLUX.1.
    if is_foreign or not names:
        _refuse_family(file, [grouped[key][0] for key in absent], _own_names(parts, prefixes, names))
    if is_foreign:
        _refuse_unfit(file, len(grouped), len(absent), grouped[absent[0]][0])
    zeros = file.check_finite()
    declared = Declared.read(file, tuple(prefixes))
    twice = _repeated(found)
    layers: dict[tuple[str, str], Layer] = {}
    for key, place in ((key, place) for key, places in found.items() if key not in twice for place in places):
        name, tensors = grouped[key]
        if (at := (place.part, place.path)) in layers:
            raise ModelError(f"{file.where} changes one layer under two names: {layers[at].name!r} and {name!r}")
        module = parts[place.part].get_submodule(place.path)
        layers[at] = checked_layer(file, Layer(name, *at, module, view(file, name, place, tensors)), declared)
    called = {key: name for key, (name, _) in grouped.items()}
    notes = [*_left_out(file, called, absent, twice, unknown), *declared.notes()]
    zeros |= {name for name, (whole, _) in file.cuts.items() if whole in zeros}
    if all(layer.is_idle(zeros) for layer in layers.values()):
        notes.append(f"{file.where} changes nothing: all of its layers are zero")
    return LoraFile(file, tuple(layers.values()), tuple(notes))


def _found(
    grouped: Mapping[str, object], parts: Parts, prefixes: Prefixes, names: AuthorsNames
) -> dict[str, tuple[Place, ...]]:
    """Return where the model has each layer of a file, by key: under its own name, else under its authors'."""
    tables = {part: _table(parts[part]) for part in prefixes}
    found = {}
    for key in grouped:
        place = _find(key, tables, prefixes)
        modules = {part: parts[part] for part in prefixes}
        found[key] = (Place(*place),) if place else places_of(_readings(key, prefixes), modules, names)
    return found


def _own_names(parts: Parts, prefixes: Prefixes, names: AuthorsNames) -> Iterator[str]:
    """Yield names that layers of the model have in files."""
    yield from names
    for part, starts in prefixes.items():
        for path, _ in parts[part].named_modules():
            yield from (f"{start}{path}" for start in starts)


def _repeated(found: Mapping[str, tuple[Place, ...]]) -> list[str]:
    """Return the keys of layers that the file has under their own names, too, as one trainer of Z-Image writes them."""
    own = {(place.part, place.path) for places in found.values() for place in places if not place.is_theirs}
    theirs = {key: places for key, places in found.items() if places and places[0].is_theirs}
    return [key for key, places in theirs.items() if own.issuperset((at.part, at.path) for at in places)]


def _refuse_others(file: AddOnFile) -> None:
    names = tuple(file.header.tensors)
    if found := algorithm(names):
        supported = "LoRA, LoCon and DoRA are"
        raise ModelError(f"{file.where} is a {found[0]} ({found[1]!r}), which is not supported: {supported}")
    if not any(role_of(name) for name in names):
        kind = kind_of_file(file.header)
        said = f"is {kind}" if kind else "holds no tensor that a LoRA has"
        raise ModelError(f"{file.where} {said}, not a LoRA for this model")


def _grouped(file: AddOnFile) -> tuple[dict[str, tuple[str, dict[Role, str]]], list[str]]:
    """Return the layers by key, each with its name in the file and its tensors, and the tensors of no known role."""
    layers: dict[str, tuple[str, dict[Role, str]]] = {}
    unknown: list[str] = []
    for name in file.header.tensors:
        split = role_of(name)
        if split is None:
            unknown.append(name)
            continue
        _, tensors = layers.setdefault(key_of(split[0]), (split[0], {}))
        if split[1] in tensors:
            raise ModelError(f"{file.where} has two tensors for one thing: {tensors[split[1]]!r} and {name!r}")
        tensors[split[1]] = name
    alone = [key for key, (_, tensors) in layers.items() if set(tensors) == {"alpha"}]
    unknown += [layers.pop(key)[1]["alpha"] for key in alone]
    if not layers:
        raise ModelError(f"{file.where} has strengths (alpha) only, and no layers that they belong to")
    return layers, unknown


def _table(module: nn.Module) -> dict[str, str]:
    """Return the layers of a part by key, and those of a UNet by their original keys, too."""
    paths = [path for path, layer in module.named_modules() if path and hasattr(layer, "weight")]
    # The text encoders of transformers have their layers with or without `text_model.`.
    table = {key_of(path).removeprefix("text_model_"): path for path in paths}
    older = {original_key(key, getattr(module, "config", None)): path for key, path in table.items()}
    return {key: path for key, path in older.items() if key is not None} | table


def _find(key: str, tables: Mapping[str, Mapping[str, str]], prefixes: Prefixes) -> tuple[str, str] | None:
    """Return the part and the path of the layer with a key, or None."""
    for part, rest in _readings(key, prefixes):
        inner = rest.removeprefix("text_model_")
        old = _OLD_TEXT.sub(r"_self_attn_\1_proj", inner)
        for spelling in (inner, f"{inner}_0", old):  # the first names of diffusers: `to_out`, and `to_q` in encoders
            if spelling in tables[part] and (spelling != f"{inner}_0" or inner.endswith("_to_out")):
                return part, tables[part][spelling]
    return None


def _readings(key: str, prefixes: Prefixes) -> Iterator[tuple[str, str]]:
    """Yield what a key may mean, as a part and the rest: by its prefix, else in any of the parts."""
    for part, starts in prefixes.items():
        for start in map(key_of, starts):
            if key.startswith(start):
                yield part, key.removeprefix(start)
    bare = next((key.removeprefix(start) for start in _WRAPPERS if key.startswith(start)), key)
    for part in prefixes:
        yield part, bare


def _refuse_family(file: AddOnFile, absent: list[str], own: Iterator[str]) -> None:
    if other := other_family(absent, own):
        raise ModelError(f"{file.where} was made for another family, {other[0]} (its layer {other[1]!r})")


def _refuse_unfit(file: AddOnFile, layers: int, absent: int, first: str) -> None:
    family = made_for(file.header)
    made = f"it was made for another model{f', {family}' if family else ''}"
    if absent == layers:
        raise ModelError(f"{file.where} has no layers for this model: {made} (its first layer is {first!r})")
    count = f"{absent} of its {layers} layers"
    raise ModelError(f"{file.where} does not fit this model: {count} are not in it (first: {first!r}); {made}")


def _left_out(
    file: AddOnFile, called: Mapping[str, str], absent: list[str], twice: list[str], unknown: list[str]
) -> Iterator[str]:
    for keys, one, several in (
        (absent, "is not in this model and was", "are not in this model and were"),
        (twice, "is in it twice and was", "are in it twice and were"),
    ):
        if keys:
            count = f"{len(keys)} of its {len(called)} layers {one if len(keys) == 1 else several}"
            yield f"{file.where}: {count} left out (first: {called[keys[0]]})"
    if unknown:
        are = "is of no kind known here and was" if len(unknown) == 1 else "are of no kind known here and were"
        count = f"{len(unknown)} of its {len(file.header.tensors)} tensors"
        yield f"{file.where}: {count} {are} left out (first: {unknown[0]})"
