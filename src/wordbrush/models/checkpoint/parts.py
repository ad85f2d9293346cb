"""Reading the parts of a checkpoint, from a folder in diffusers layout or from a loaded pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.autoencoder import load_vae
from wordbrush.models.checkpoint.card import read_card
from wordbrush.models.checkpoint.digests import digest_files, digest_modules
from wordbrush.models.checkpoint.layout import (
    INDEX,
    MAX_JSON,
    MAX_TOKENIZER,
    Weights,
    check_size,
    choose_weights,
    list_files,
    needed_files,
    read_json,
    whole_files,
)
from wordbrush.models.checkpoint.networks import check_loaded, load_network, translated
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_scheduler, check_stored
from wordbrush.models.checkpoint.weights import check_finite, read_header
from wordbrush.models.family import Family, Parts, PartSpec, classes_of

if TYPE_CHECKING:
    import torch

__all__ = ["check_loaded", "from_pipeline", "load_folder", "load_tokenizer", "move", "translated"]

_SCHEDULER, _VAE = "scheduler", "vae"
_VOCABULARIES = {"tokenizer", "vocab", "merges", "added_tokens", "spiece", "sentencepiece.bpe"}


def move(parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
    """Bring the networks to a device; whatever was added to them since they were loaded gets their dtype."""
    from torch import nn

    with translated(f"the model cannot be brought to {device}"):
        for module in parts.networks.values():
            nn.Module.to(module, device=device, dtype=dtype)  # diffusers' own would log a caution about the dtype


def load_folder(folder: Path, family: Family, where: str, dtype: torch.dtype, vae: Path | None = None) -> Parts:
    """Load a checkpoint in diffusers layout; everything is checked before a weight is read.

    Args:
        folder: with model_index.json.
        family: whose checkpoint it is.
        where: what to call it in messages.
        dtype: of the networks.
        vae: an autoencoder to take in place of its own.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle, or is one under another name.
        ModelError: a file is missing or damaged, or the checkpoint is of another kind.
    """
    names = list_files(folder)
    half = str(dtype) == "torch.float16"
    needed_files(names, family.parts, where, prefer_half=half)
    networks = {name: spec for name, spec in family.parts.items() if spec.weights}
    if vae is not None and _VAE not in networks:
        raise ModelError(f"{family.card.title} have no autoencoder of their own: leave out --vae (vae=)")
    configs = {name: read_json(folder / name / "config.json", where) for name in networks}
    weights = {
        name: choose_weights(names, name, spec.weights, where, prefer_half=half) for name, spec in networks.items()
    }
    files = {name: _checked_files(folder, names, weights[name], configs[name], where) for name in networks}
    family.check(configs, where)
    scheduler = _scheduler(folder, family, where)
    card, words = read_card(folder, names, where)
    classes = classes_of(read_json(folder / INDEX, where))
    modules: dict[str, Any] = {}
    notes: list[str] = []
    with quiet():
        for name, spec in networks.items():
            if name == _VAE and vae is not None:
                other = load_vae(vae, spec, configs[name], dtype)
                modules[name], told, files[name] = other.module, other.notes, dict(other.files)
            else:
                modules[name], told = load_network(
                    spec.library, classes[name], folder, name, weights[name].variant, dtype, where
                )
            notes += told
        others = {
            name: load_tokenizer(folder / name, spec, where)
            for name, spec in family.parts.items()
            if spec.classes and not spec.weights
        }
    digest = digest_files({key: path for own in files.values() for key, path in own.items()})
    return Parts(modules, others, scheduler, digest, card, words, notes=tuple(notes))


def _checked_files(
    folder: Path, names: list[str], weights: Weights, config: Mapping[str, Any], where: str
) -> dict[str, Path]:
    """Return the weight files of a network by name, once their headers and its configuration have been checked."""
    files = {file: folder / file for file in whole_files(folder, weights, where)}
    tensors = {key: entry for path in files.values() for key, entry in read_header(path).tensors.items()}
    name = weights.files[0].split("/", 1)[0]
    check_network(config, f"{where}: {name}/config.json", tensors)
    check_stored(tensors, f"{where}: {name}")
    if f"{name}/adapter_config.json" in names:
        raise ModelError(f"{where}: {name} holds an adapter (adapter_config.json): give it with --lora (loras=)")
    return files


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

    for name in family.parts:
        if getattr(pipeline, name, None) is None:
            raise ModelError(f"{where} has no {name}: load the pipeline with all its parts")
    loaded = {name: getattr(pipeline, name) for name in family.parts if name != _SCHEDULER}
    networks = {name: module for name, module in loaded.items() if family.parts[name].weights}
    configs = {name: _config(module) for name, module in networks.items()}
    for name, module in networks.items():
        check_network(configs[name], f"{where}: the configuration of {name}")
        _check_floating(module, f"{where}: {name}")
        check_finite(module, f"{where}: {name}")
    family.check(configs, where)
    scheduler = dict(pipeline.scheduler.config) if _SCHEDULER in family.parts else {}
    check_scheduler(scheduler, f"{where}: the configuration of its scheduler")
    parts = Parts(
        networks,
        {name: part for name, part in loaded.items() if name not in networks},
        scheduler,
        digest_modules(networks),
        pipeline=pipeline,
    )
    return parts, torch.device(pipeline._execution_device)


def _check_floating(module: Any, where: str) -> None:
    for name, value in module.named_parameters():
        if not value.is_floating_point():
            dtype = str(value.dtype).removeprefix("torch.")
            raise ModelError(f"{where}: {name} is stored as {dtype}: the weights are quantised; load the full ones")


def _config(module: Any) -> dict[str, Any]:
    config = module.config
    return dict(config.to_dict() if hasattr(config, "to_dict") else config)


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
    with translated(f"{where}: the {folder.name} cannot be loaded"):
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
