"""The diffusers folder layout: which files make a checkpoint of a family, told from their names.

The same rules serve a folder on disk and the list of files of a hub repository, so that what cannot be used is
refused before it is downloaded.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordbrush.errors import ModelError, UnsafeWeightsError
from wordbrush.models.checkpoint.weights import is_pickle_name
from wordbrush.models.family import Family, PartSpec, parts_in
from wordbrush.models.refused import MODULAR, modular
from wordbrush.models.registry import families, family_of

__all__ = [
    "INDEX",
    "MAX_JSON",
    "MAX_TOKENIZER",
    "Weights",
    "check_size",
    "choose_weights",
    "family_in",
    "list_files",
    "needed_files",
    "parts_of",
    "read_json",
    "read_text",
    "refuse_by_names",
    "whole_files",
]

INDEX = "model_index.json"

MAX_JSON = 4 << 20
"""Most bytes of a configuration or index."""

MAX_TOKENIZER = 64 << 20
"""Most bytes of one file of a tokenizer; the largest vocabularies have about half of it."""

EXTRAS = ("wordbrush.json", "words.json", "words.txt")

_NOT_WHOLE = "is missing, so the checkpoint is not whole: fetch or copy it again, or take another"

_LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}


@dataclass(frozen=True)
class Weights:
    """The weight files of one component.

    Attributes:
        variant: as in `fp16`, or None for the plain files.
        files: paths within the checkpoint, the index of a sharded component first.
    """

    variant: str | None
    files: tuple[str, ...]


def list_files(folder: Path) -> list[str]:
    """Return the files of a checkpoint folder, two levels deep, as paths within it with forward slashes."""
    return sorted(p.relative_to(folder).as_posix() for g in ("*", "*/*") for p in folder.glob(g) if p.is_file())


def read_text(path: Path, where: str, limit: int = MAX_JSON) -> str:
    """Read a text file of a checkpoint, up to a limit in bytes.

    Raises:
        ModelError: it is missing, too large, special or not UTF-8; the message names the file within `where`.
    """
    name = _called(path, where)
    try:
        check_size(path, where, limit)
        with path.open("rb") as file:
            raw = file.read(limit + 1)  # a file may grow after its size was asked for
        if len(raw) > limit:
            raise ModelError(f"{where}: {name} has more than {limit / 1e6:.0f} MB")
        return raw.decode("utf-8")
    except FileNotFoundError as error:
        raise ModelError(f"{where}: {name} {_NOT_WHOLE}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{where}: {name} is not readable: {error}") from error


def _called(path: Path, where: str) -> str:
    """Return what to call a file of a checkpoint: its name in its folder, the checkpoint's own left out."""
    return path.name if path.parent.name in {where, ""} else f"{path.parent.name}/{path.name}"


def check_size(path: Path, where: str, limit: int) -> None:
    """Raise where a file is no plain file, or larger than a limit in bytes.

    Raises:
        ModelError: as said; the message names the file within `where`.
        OSError: it is not there.
    """
    status, name = path.stat(), _called(path, where)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{where}: {name} is no plain file")
    if status.st_size > limit:
        size = f"{status.st_size / 1e6:.0f} MB, and at most {limit / 1e6:.0f} MB are read"
        raise ModelError(f"{where}: {name} has {size}: it is not what its name says")


def read_json(path: Path, where: str, limit: int = MAX_JSON) -> dict[str, Any]:
    """Read a JSON table, of at most `limit` bytes.

    Raises:
        ModelError: it is missing, too large or not a table; the message names the file within `where`.
    """
    name = _called(path, where)
    try:
        table = json.loads(read_text(path, where, limit))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: {name} is not readable JSON, so it is damaged: {error}") from error
    if not isinstance(table, dict):
        raise ModelError(f"{where}: {name} is not a table")
    return table


def family_in(folder: Path, where: str) -> Family:
    """Return the family of a checkpoint folder, told from its index; no weight and no other file is read.

    Raises:
        ModelError: there is no index, it names code of its own, or no family takes it.
    """
    if not (folder / INDEX).is_file():
        if (folder / MODULAR).is_file():
            raise ModelError(f"{where} is not supported: {modular(read_json(folder / MODULAR, where))}")
        loose = sorted(path.name for path in folder.glob("*.safetensors"))
        hint = f"; did you mean the file {loose[0]}?" if loose else ""
        raise ModelError(f"{where}: {INDEX} is missing, so it is not a folder in diffusers layout{hint}")
    index = read_json(folder / INDEX, where)
    family = family_of(index, where)
    _check_code(index, family, where)
    return family


def parts_of(folder: Path, family: Family, where: str) -> dict[str, PartSpec]:
    """Return the parts that a checkpoint folder of a family has, told from its index."""
    return parts_in(family.parts, read_json(folder / INDEX, where))


def _check_code(index: Mapping[str, Any], family: Family, where: str) -> None:
    """Raise where an index names code that is neither the libraries' nor the family's own."""
    if not isinstance(index.get("_class_name", ""), str):
        raise ModelError(f"{where}: {INDEX} names pipeline code of its own; remote code is never run")
    libraries = _LIBRARIES | {spec.library for spec in family.parts.values()}
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        if all(isinstance(entry, int | float) for entry in value):  # a setting, such as layers of a text encoder
            continue
        library = value[0]
        if library is not None and (len(value) != 2 or library not in libraries):
            raise ModelError(
                f"{where}: component {name!r} comes from {library!r}, neither diffusers nor transformers; "
                "custom code is never run"
            )


def choose_weights(
    names: Collection[str], component: str, stem: str, where: str, *, prefer_half: bool = False
) -> Weights:
    """Choose the weight files of a component among the files of a checkpoint.

    Args:
        names: all files of the checkpoint, as paths within it with forward slashes.
        component: the part's name.
        stem: what its weight files are called.
        where: what to call the checkpoint in messages.
        prefer_half: take the fp16 variant where there is one.

    Raises:
        UnsafeWeightsError: there are only pickles; the message names one.
        ModelError: there are no weights at all; the message names the file that is missing.
    """
    own = sorted(name.removeprefix(f"{component}/") for name in names if name.startswith(f"{component}/"))
    by_variant: dict[str | None, Weights] = {}
    for name in own:
        whole = re.fullmatch(rf"{stem}(?:\.([\w-]+))?\.safetensors", name)
        if whole and not re.search(r"-\d+-of-\d+", name):
            by_variant[whole[1]] = Weights(whole[1], (f"{component}/{name}",))
        index = re.fullmatch(rf"{stem}\.safetensors\.index(?:\.([\w-]+))?\.json", name)
        if index and index[1] not in by_variant:
            tag = re.escape(f".{index[1]}") if index[1] else ""
            shard = re.compile(rf"{stem}(?:{tag}-\d+-of-\d+|-\d+-of-\d+{tag})\.safetensors")
            shards = [f"{component}/{other}" for other in own if shard.fullmatch(other)]
            by_variant[index[1]] = Weights(index[1], (f"{component}/{name}", *shards))
    order = ["fp16", None] if prefer_half else [None, "fp16"]
    for variant in [*order, *sorted(v for v in by_variant if v is not None)]:
        if variant in by_variant:
            return by_variant[variant]
    for name in own:
        if is_pickle_name(name):
            raise UnsafeWeightsError(
                f"{where}: the weights of {component} are only there as {component}/{name}, a pickle, which can run "
                "code when opened; ask for the checkpoint as .safetensors"
            )
    raise ModelError(f"{where}: {component}/{stem}.safetensors {_NOT_WHOLE}")


def whole_files(folder: Path, weights: Weights, where: str) -> list[str]:
    """Return the safetensors files of a component; the shards that its index names must all be there.

    Raises:
        ModelError: one is missing, or the index names something else.
    """
    if not weights.files[0].endswith(".json"):
        return list(weights.files)
    index = weights.files[0]
    component = index.split("/", 1)[0]
    table = read_json(folder / index, where).get("weight_map")
    named = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    for name in named:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise ModelError(f"{where}: {index} names {name!r}, which is not a safetensors file beside it")
        if f"{component}/{name}" not in weights.files:
            raise ModelError(f"{where}: {component}/{name} {_NOT_WHOLE}")
    if not named:
        raise ModelError(f"{where}: {index} names no weights")
    return [f"{component}/{name}" for name in named]


def needed_files(
    names: Collection[str], parts: Mapping[str, PartSpec], where: str, *, prefer_half: bool = False
) -> list[str]:
    """Return the files of a checkpoint with these parts that loading it takes, and no others.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle.
        ModelError: a file is missing; the message names it.
    """
    if INDEX not in names:
        raise ModelError(f"{where}: {INDEX} is missing")
    needed = {INDEX, *(extra for extra in EXTRAS if extra in names)}
    for part, spec in parts.items():
        own = frozenset(name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/"))
        if lost := spec.lacks(own):
            raise ModelError(f"{where}: {part}/{lost} {_NOT_WHOLE}")
        needed |= {f"{part}/{name}" for name in own if re.fullmatch(spec.keeps, name)}
    for part, spec in parts.items():
        if spec.weights:
            needed |= set(choose_weights(names, part, spec.weights, where, prefer_half=prefer_half).files)
    return sorted(needed)


def refuse_by_names(names: Collection[str], where: str, *, prefer_half: bool = False) -> None:
    """Raise for a hub repository that no family can use, as far as the names of its files tell.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle.
        ModelError: there is no index, or a file is missing.
    """
    if INDEX not in names:
        if MODULAR in names:
            raise ModelError(f"{where} is not supported: {modular({})}")
        raise ModelError(f"{where}: {INDEX} is missing")
    folders = {name.split("/", 1)[0] for name in names if "/" in name}
    problems = []
    for family in families():
        parts = {name: spec for name, spec in family.parts.items() if not spec.optional or name in folders}
        if folders >= set(parts):
            try:
                needed_files(names, parts, where, prefer_half=prefer_half)
            except ModelError as error:
                problems.append(error)
            else:
                return
    if problems:
        raise problems[0]
