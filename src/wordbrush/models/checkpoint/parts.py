"""Reading the parts of a checkpoint, from a folder in diffusers layout or from a loaded pipeline."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.card import read_card
from wordbrush.models.checkpoint.digests import digest_digests, digest_modules, file_digest
from wordbrush.models.checkpoint.file_parts import InFile
from wordbrush.models.checkpoint.given import PartSource, check_floating, check_given, config_of, load_given
from wordbrush.models.checkpoint.layout import (
    INDEX,
    MAX_JSON,
    MAX_TOKENIZER,
    Weights,
    check_size,
    choose_weights,
    list_files,
    needed_files,
    parts_of,
    read_json,
    whole_files,
)
from wordbrush.models.checkpoint.lean import import_lean
from wordbrush.models.checkpoint.networks import check_loaded, empty_network, load_network, translated
from wordbrush.models.checkpoint.quantised import method_of, quantised_note
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_scheduler, check_stored
from wordbrush.models.checkpoint.weights import check_finite, read_header
from wordbrush.models.family import Family, Parts, PartSpec, classes_of
from wordbrush.models.header import TensorEntry

if TYPE_CHECKING:
    import torch

__all__ = [
    "Checkpoint",
    "check_loaded",
    "from_pipeline",
    "load_folder",
    "load_tokenizer",
    "move",
    "outlined",
    "read_folder",
    "translated",
]

_SCHEDULER = "scheduler"
_VOCABULARIES = {"tokenizer", "vocab", "merges", "added_tokens", "spiece", "sentencepiece.bpe"}


def move(parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
    """Bring the networks to a device, and the LoRAs attached to them to a dtype.

    The rest has its dtype from loading. That may be a wider one: norms, projections and tables of rotary angles that
    a library keeps in float32 must stay so. A quantised network is on its device from loading where its library has put
    it there, and not every one can be brought to another.
    """
    with translated(f"the model cannot be brought to {device}"):
        for module in parts.networks.values():
            if not (getattr(module, "is_quantized", False) and _is_on(module, device)):
                module.to(device)
            for name, weight in module.named_parameters():
                if ".lora_" in name:
                    weight.data = weight.data.to(dtype)


def _is_on(module: Any, device: torch.device) -> bool:
    """Say whether all weights are on a device; one without a number stands for any of its type."""
    places = {weight.device for weight in module.parameters()}
    return all(place.type == device.type and device.index in {None, place.index} for place in places)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in diffusers layout, before a weight is read.

    Attributes:
        folder: with model_index.json.
        where: what to call it in messages.
        specs: of its parts, by name.
        classes: the names of their classes.
        configs: of its networks, by part.
        weights: the files chosen for each network.
        files: of the weights, by part and by name within the checkpoint.
        tensors: of the networks as the files' headers describe them, by part and by name.
        scheduler: the scheduler's configuration; empty where the family has none.
        card: contents of `wordbrush.json`.
        words: the words the model was taught, where it says so.
        index: contents of model_index.json.
    """

    folder: Path
    where: str
    specs: Mapping[str, PartSpec]
    classes: Mapping[str, str]
    configs: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Weights]
    files: Mapping[str, Mapping[str, Path]]
    tensors: Mapping[str, Mapping[str, TensorEntry]]
    scheduler: Mapping[str, Any]
    card: Mapping[str, Any]
    words: tuple[str, ...]
    index: Mapping[str, Any]

    def tokenizers(self) -> dict[str, Any]:
        """Load the parts without weights: tokenizers.

        Raises:
            ModelError: a file is missing or cannot be read.
        """
        wanted = {name: spec for name, spec in self.specs.items() if spec.classes and not spec.weights}
        return {name: load_tokenizer(self.folder / name, spec, self.where) for name, spec in wanted.items()}


def read_folder(
    folder: Path, family: Family, where: str, *, prefer_half: bool = False, given: Collection[str] = ()
) -> Checkpoint:
    """Read and check all of a checkpoint in diffusers layout but its tokenizers and its weights.

    Args:
        folder: with model_index.json.
        family: whose checkpoint it is.
        where: what to call it in messages.
        prefer_half: take the fp16 variant of weights where there is one.
        given: parts that come from elsewhere, whose weights it may lack.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle, or is one under another name.
        ModelError: a file is missing or damaged, or the checkpoint is of another kind.
    """
    names = list_files(folder)
    specs = parts_of(folder, family, where)
    check_given(given, specs, where)
    wanted = {name: replace(spec, weights="") if name in given else spec for name, spec in specs.items()}
    needed_files(names, wanted, where, prefer_half=prefer_half)
    networks = {name: spec for name, spec in specs.items() if spec.weights}
    configs = {name: read_json(folder / name / "config.json", where) for name in networks}
    weights = {
        name: choose_weights(names, name, spec.weights, where, prefer_half=prefer_half)
        for name, spec in networks.items()
        if name not in given
    }
    files = {name: {file: folder / file for file in whole_files(folder, weights[name], where)} for name in weights}
    tensors = {name: _checked_tensors(files[name], names, configs[name], f"{where}: {name}") for name in weights}
    family.check(configs, where)
    scheduler = _scheduler(folder, family, where)
    card, words = read_card(folder, names, where)
    index = read_json(folder / INDEX, where)
    return Checkpoint(
        folder, where, specs, classes_of(index), configs, weights, files, tensors, scheduler, card, words, index
    )


def load_folder(
    folder: Path,
    family: Family,
    where: str,
    dtype: torch.dtype,
    given: Mapping[str, PartSource] = MappingProxyType({}),
    file: str = "",
    *,
    plain: bool = False,
) -> Parts:
    """Load a checkpoint in diffusers layout; everything is checked before a weight is read.

    Args:
        folder: with model_index.json.
        family: whose checkpoint it is.
        where: what to call it in messages.
        dtype: of the networks.
        given: parts to take in place of its own, by name; its own weights need not be there then.
        file: what to call a file that parts lie in, in messages.
        plain: it is the shipped model, and nothing will be added to it.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle, or is one under another name.
        ModelError: a file is missing or damaged, a part does not fit, or the checkpoint is of another kind.
    """
    own = read_folder(folder, family, where, prefer_half=str(dtype) == "torch.float16", given=given.keys())
    digests: dict[str, str] = {}
    modules: dict[str, Any] = {}
    configs, replaced = dict(own.configs), []
    notes: list[str] = []
    load, lean = load_network, plain and import_lean()
    if lean:  # the module imports torch, which is not needed to say that a model is not there
        from wordbrush.models.checkpoint.shipped import load_shipped as load
        from wordbrush.models.checkpoint.shipped import load_shipped_tokenizer
    with quiet():
        for name, config in own.configs.items():
            spec, kind = own.specs[name], own.classes[name]
            if name in given:
                other = load_given(given[name], name, spec, kind, config, dtype, file or where)
                modules[name], configs[name], told = other.module, other.config, other.notes
                digests |= other.digests
                replaced += [] if isinstance(given[name], InFile) else [(name, other.sha256)]
            else:
                variant = own.weights[name].variant
                modules[name], told = load(spec.library, kind, folder, name, variant, dtype, where)
                told = (*told, *quantised_note(config, f"{where}: {name}"))
                digests |= {place: file_digest(path) for place, path in own.files[name].items()}
            notes += told
        others = {"tokenizer": load_shipped_tokenizer(folder / "tokenizer", where)} if lean else own.tokenizers()
    if given:
        family.check(configs, where)
    return Parts(
        modules,
        others,
        own.scheduler,
        digest_digests(digests),
        own.card,
        own.words,
        own.index,
        notes=tuple(notes),
        replaced=tuple(replaced),
    )


def outlined(own: Checkpoint) -> Parts:
    """Return the parts of a checkpoint with networks of the right classes and shapes that hold no weights.

    They are on torch's device `meta`: whatever a family reads from configurations it can read from them.

    Raises:
        ModelError: a class does not take its configuration, or a tokenizer cannot be read.
    """
    with quiet():
        modules = {
            name: empty_network(own.specs[name].library, own.classes[name], own.folder, name, own.where)
            for name in own.configs
        }
        return Parts(modules, own.tokenizers(), own.scheduler, "", own.card, own.words, own.index)


def _checked_tensors(
    files: Mapping[str, Path], names: list[str], config: Mapping[str, Any], where: str
) -> dict[str, TensorEntry]:
    """Return the tensors of a network by name, once their headers and its configuration have been checked."""
    tensors = {key: entry for path in files.values() for key, entry in read_header(path).tensors.items()}
    check_network(config, f"{where}/config.json", tensors, quantised=True)
    check_stored(tensors, where, config)
    name = next(iter(files)).split("/", 1)[0]
    if f"{name}/adapter_config.json" in names:
        raise ModelError(f"{where} holds an adapter (adapter_config.json): give it with --lora (loras=)")
    return tensors


def _scheduler(folder: Path, family: Family, where: str) -> Mapping[str, Any]:
    if _SCHEDULER not in family.parts:
        return {}
    scheduler = read_json(folder / _SCHEDULER / "scheduler_config.json", where)
    check_scheduler(scheduler, f"{where}: scheduler_config.json")
    return scheduler


def from_pipeline(pipeline: Any, family: Family, where: str) -> tuple[Parts, torch.device]:
    """Take the parts of a loaded pipeline, in place: nothing is copied, moved or changed, nor is its scheduler.

    Raises:
        ModelError: a part is absent, a weight is not finite, or the pipeline is of another kind.
    """
    import torch

    for name, spec in family.parts.items():
        if getattr(pipeline, name, None) is None and not spec.optional:
            raise ModelError(f"{where} has no {name}: load the pipeline with all its parts")
    found = {name: getattr(pipeline, name, None) for name in family.parts if name != _SCHEDULER}
    loaded = {name: part for name, part in found.items() if part is not None}
    networks = {name: module for name, module in loaded.items() if family.parts[name].weights}
    configs = {name: config_of(module) for name, module in networks.items()}
    for name, module in networks.items():
        check_network(configs[name], f"{where}: the configuration of {name}", quantised=True)
        if not method_of(configs[name]):
            check_floating(module, f"{where}: {name}")
        check_finite(module, f"{where}: {name}")
    family.check(configs, where)
    scheduler = dict(pipeline.scheduler.config) if _SCHEDULER in family.parts else {}
    check_scheduler(scheduler, f"{where}: the configuration of its scheduler")
    parts = Parts(
        networks,
        {name: part for name, part in loaded.items() if name not in networks},
        scheduler,
        digest_modules(networks),
        index=dict(pipeline.config),
        pipeline=pipeline,
    )
    return parts, torch.device(pipeline._execution_device)


def load_tokenizer(folder: Path, spec: PartSpec, where: str, **changes: Any) -> Any:
    """Load a tokenizer from its folder; `changes` replace settings, as `pad_token`.

    Raises:
        ModelError: a file is missing or cannot be read.
    """
    files = [path for path in folder.glob("*") if path.is_file()]
    if lost := spec.lacks(frozenset(path.name for path in files)):
        raise ModelError(f"{where}: {folder.name}/{lost} is missing")
    for path in files:
        if path.suffix in {".json", ".txt", ".model"}:
            check_size(path, where, MAX_TOKENIZER if path.stem in _VOCABULARIES else MAX_JSON)
    kind = getattr(import_module(spec.library), spec.classes[0])
    with translated(f"{where}: the {folder.name} cannot be loaded", "; its files are damaged: fetch them again"):
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
