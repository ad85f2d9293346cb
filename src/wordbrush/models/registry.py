"""The families known: those of this package, and those that installed packages name as entry points.

A package offers a family in the entry-point group `wordbrush.families`, as `name = "module:OBJECT"`. Such a family is
imported only where the families of this package do not fit, or where all are listed; one that cannot be imported takes
nothing else down, and is told of where it may have been the one that was wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from wordbrush.errors import ModelError
from wordbrush.models.family import Family, SingleFile, mismatch
from wordbrush.models.header import Header
from wordbrush.models.refused import groups, kind_of_index, kind_of_tensors, named_refusal

__all__ = ["GROUP", "broken", "families", "family_of", "family_of_file", "family_of_pipeline", "index_of"]

GROUP = "wordbrush.families"
"""The entry-point group."""

_MODULES = {
    "stable-diffusion": "stable_diffusion",
    "stable-diffusion-xl": "stable_diffusion_xl",
    "stable-diffusion-3": "stable_diffusion_3",
    "latent-consistency": "latent_consistency",
    "pixart-sigma": "pixart",
    "sana": "sana",
    "auraflow": "auraflow",
    "lumina-2": "lumina_2",
    "cogview-4": "cogview_4",
    "dit": "dit",
    "z-image": "z_image",
    "flux-1": "flux_1",
    "chroma": "chroma",
    "flux-2": "flux_2",
    "flux-2-klein": "flux_2_klein",
    "qwen-image": "qwen_image",
    "qwen-image-2.1": "qwen_image_2_1",
    "krea-2": "krea_2",
}
_BUILT_IN = tuple(
    EntryPoint(name, f"wordbrush.models.families.{module}:FAMILY", GROUP) for name, module in _MODULES.items()
)


_faults: dict[str, str] = {}


def families() -> tuple[Family, ...]:
    """Return every family that can be imported, this package's first."""
    return (*_own(), *_installed())


def broken() -> tuple[str, ...]:
    """Return a sentence for each installed family that turned out to be unusable."""
    _installed()
    return tuple(_faults.values())


def family_of(index: Mapping[str, Any], where: str) -> Family:
    """Return the family of a checkpoint in diffusers layout.

    Args:
        index: contents of model_index.json.
        where: what to call the checkpoint in messages.

    Raises:
        ModelError: no family takes it; the message says what it is, or which part is not as wanted.
    """
    near: list[Family] = []
    for family in _recognising(lambda family: family.recognises(index)):
        if not mismatch(family.parts, index):
            return _allowed(family, index, where)
        near.append(family)
    _refuse_by_name(index, where)
    if near:
        raise _refusal(f"{where}: {mismatch(near[0].parts, index)}", near[0])
    raise _unknown(where, kind_of_index(index))


def family_of_pipeline(pipeline: Any, where: str) -> Family:
    """Return the family of a loaded pipeline; classes derived from the usual ones are taken, too.

    Raises:
        ModelError: no family takes it.
    """
    index = index_of(pipeline)
    near = list(_recognising(lambda family: family.recognises(index)))
    for family in near:
        if not mismatch(family.parts, index):
            return _allowed(family, index, where)
    _refuse_by_name(index, where)
    if not near:
        raise _unknown(where, kind_of_index(index))
    return near[0]


def family_of_file(header: Header, where: str) -> tuple[Family, SingleFile]:
    """Return the family of a checkpoint in one safetensors file, and how it reads such files.

    Raises:
        ModelError: no family takes it; the message says what it is.
    """
    for family in _recognising(lambda family: family.file is not None and family.file.recognises(header)):
        if family.file is not None:
            return family, family.file
    if kind := kind_of_tensors(header.tensors):
        raise _unknown(where, kind)
    *some, last = [family.file.network for family in families() if family.file is not None]
    raise _refusal(f"{where} holds no {', '.join(some)} or {last}; {groups(header.tensors)}", *families())


def index_of(pipeline: Any) -> dict[str, Any]:
    """Return what model_index.json would say of a loaded pipeline."""
    parts = {name: part for name, part in pipeline.components.items() if part is not None}
    names = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    return {"_class_name": type(pipeline).__name__, **names}


@cache
def _own() -> tuple[Family, ...]:
    return tuple(entry.load() for entry in _BUILT_IN)


@cache
def _installed() -> tuple[Family, ...]:
    usable = []
    for entry in entry_points(group=GROUP):
        what = f"the family {entry.name!r} of the package {entry.dist.name if entry.dist else entry.module}"
        try:
            family = entry.load()
        except Exception as error:  # whatever the code of others raises when it is imported
            _faults[entry.name] = f"{what} cannot be imported: {_first_line(error)}"
            continue
        if isinstance(family, Family) and not isinstance(family, type):
            usable.append(family)
        else:
            _faults[entry.name] = f"{what} is no family: {entry.value} lacks members of wordbrush.models.family.Family"
    return tuple(usable)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _recognising(question: Callable[[Family], bool]) -> Iterator[Family]:
    """Yield the families that answer yes; others are imported only when those of this package have been looked at.

    Of this package's the last is asked first: Stable Diffusion takes whatever has a UNet, others are more particular.
    """
    yield from filter(question, reversed(_own()))
    for family in _installed():
        try:
            answer = question(family)
        except Exception as error:  # as above
            _faults[family.name] = f"the family {family.name!r} fails to say what it recognises: {_first_line(error)}"
            continue
        if answer:
            yield family


def _allowed(family: Family, index: Mapping[str, Any], where: str) -> Family:
    """Return a family that takes a checkpoint; one of this package does not take what is refused by name."""
    if family in _own():
        _refuse_by_name(index, where)
    return family


def _refuse_by_name(index: Mapping[str, Any], where: str) -> None:
    """Raise ModelError for what is known and cannot be used; an installed family that takes it comes first."""
    if kind := named_refusal(index):
        raise ModelError("; ".join([f"{where} is not supported: it is {kind}", *broken()]))


def _unknown(where: str, kind: str) -> ModelError:
    return _refusal(f"{where} is not supported: it is {kind or 'of no family known here'}", *families())


def _refusal(what: str, *known: Family) -> ModelError:
    names = f"the families supported are {', '.join(family.name for family in known)}"
    told = f"{known[0].card.title} are supported" if len(known) == 1 else names
    return ModelError("; ".join([f"{what}: {told}", *broken()]))
