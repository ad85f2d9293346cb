"""Models: `load_model` turns whatever a user has into a `Model`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.addons.distilled import distilled_by_loras
from wordbrush.models.addons.embeddings import EmbeddingSource, apply_embeddings, present_embeddings
from wordbrush.models.addons.loras import LoraSource, apply_loras, present_loras
from wordbrush.models.checkpoint.layout import family_in
from wordbrush.models.checkpoint.offload import hold_back, resolve_offload
from wordbrush.models.checkpoint.parts import from_pipeline, load_folder, move
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.devices import resolve_device, resolve_dtype
from wordbrush.models.family import Origin
from wordbrush.models.model import (
    EmbeddingIdentity,
    Guidance,
    LoraIdentity,
    Model,
    ModelIdentity,
    Prompt,
    TextEncoder,
    UnknownWord,
)
from wordbrush.models.registry import family_of_file, family_of_pipeline

if TYPE_CHECKING:
    import torch

__all__ = [
    "EmbeddingIdentity",
    "Guidance",
    "LoraIdentity",
    "Model",
    "ModelIdentity",
    "Prompt",
    "TextEncoder",
    "UnknownWord",
    "load_model",
]


def load_model(
    source: str | Path | Any,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    offload: str | None = None,
    loras: Sequence[LoraSource] = (),
    embeddings: Sequence[EmbeddingSource] = (),
    name: str | None = None,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    vae: str | Path | None = None,
    parametrisation: str | None = None,
) -> Model:
    """Load a checkpoint of any family known (see `wordbrush.models.registry`), or take over a loaded pipeline.

    Weights are safetensors only, no code of a checkpoint is ever run, and only hub ids are downloaded.

    Args:
        source: `"pocket"`, the model that is shipped; a folder in diffusers layout; a single `.safetensors` file; a hub
            id `owner/name`; or a loaded diffusers pipeline, which is used in place.
        revision: branch, tag or commit of a hub id.
        local_files_only: never go online; HF_HUB_OFFLINE=1 means the same.
        device: by default the first present of CUDA, MPS and the CPU.
        dtype: of the networks; by default float32, and on CUDA the half precision on the family's card. Latents are
            always float32.
        offload: keep weights in main memory until they are needed on the device: of one network at a time ("model"),
            one block ("group") or one layer ("sequential"), from the fastest to the smallest. None = all are on it.
        loras: safetensors files, or (file, scale) pairs.
        embeddings: safetensors files of learnt embeddings, or (file, word) pairs.
        name: what to call it in records.
        config: for a single file of unusual shape, a folder with configurations and tokenizer.
        tokenizer: for a single file, a folder with the tokenizer's files.
        vae: an autoencoder in place of the checkpoint's own, or for a file without one: a folder in diffusers layout,
            or a `.safetensors` file.
        parametrisation: one that the family's card lists, where the checkpoint does not say or says it wrong.

    Raises:
        UnsafeWeightsError: weights are stored as a pickle; it has not been opened.
        ModelError: the checkpoint is missing, damaged or of another kind.
        SettingsError: arguments are out of range or contradict each other.
    """
    if not isinstance(source, str | Path):
        arguments = {"revision": revision, "device": device, "dtype": dtype, "config": config, "tokenizer": tokenizer}
        add_ons = {"vae": vae, "loras": tuple(loras) or None, "embeddings": tuple(embeddings) or None}
        arguments["offload"] = offload
        return _adopt(source, name, parametrisation, {**arguments, **add_ons})
    half = str(dtype) in {"float16", "fp16", "half", "torch.float16"}
    located = locate(source, revision=revision, local_files_only=local_files_only, prefer_half=half)
    single = located.path.is_file()
    if not single and (config is not None or tokenizer is not None):
        raise SettingsError(
            "--config and --tokenizer (config=, tokenizer=) are for single-file checkpoints: a folder has its own"
        )
    given = {"config": config, "tokenizer": tokenizer, "vae": vae, "parametrisation": parametrisation}
    paths: dict[str, Any] = {"config": _folder(config, "config"), "tokenizer": _folder(tokenizer, "tokenizer")}
    if vae is not None:
        paths["vae"] = _vae(vae)
    place = resolve_device(device)
    way, about_offload = resolve_offload(offload, place)
    if single:
        family, file = family_of_file(read_header(located.path), located.path.name)
        kind = resolve_dtype(dtype, place, family.card.half)
        parts = file.load(located.path, kind, **paths)
    else:
        family = family_in(located.path, located.name)
        kind = resolve_dtype(dtype, place, family.card.half)
        parts = load_folder(located.path, family, located.name, kind, paths.get("vae"))
    taught, about_words = apply_embeddings(parts, family, embeddings)
    applied, about_loras = apply_loras(parts, family, loras)
    if way is None:
        move(parts, place, kind)
    else:
        move(parts, resolve_device("cpu"), kind)
        hold_back(parts, place, way)
    origin = Origin(
        name or located.name,
        located.source,
        located.revision,
        place,
        applied,
        parametrisation,
        taught,
        tuple((argument, str(value)) for argument, value in given.items() if value is not None),
    )
    kinds = family.card.parametrisations
    if parametrisation not in {None, *kinds} and len(kinds) == 1:  # where there are several, the family says it
        raise ModelError(f"prediction type {parametrisation!r} is not of {family.card.title}: {kinds[0]} is")
    model = distilled_by_loras(family.build(parts, origin), applied)
    notes = *located.notes, *model.notes, *parts.notes, *about_words, *about_loras, *about_offload
    return replace(model, notes=notes)


def _adopt(pipeline: Any, name: str | None, parametrisation: str | None, arguments: dict[str, Any]) -> Model:
    """Make a model of a loaded pipeline; what would change or copy it is refused."""
    where = type(pipeline).__name__
    if isinstance(pipeline, type) or not hasattr(pipeline, "components") or not hasattr(pipeline, "scheduler"):
        raise ModelError(f"cannot load a model from {where}: give a path, a hub id or a pipeline")
    for argument, value in arguments.items():
        if value is not None:
            raise SettingsError(
                f"{argument} means nothing for a loaded pipeline, which is used as it is: change the pipeline first "
                "(pipeline.to(...), pipeline.load_lora_weights(...), pipeline.load_textual_inversion(...))"
            )
    family = family_of_pipeline(pipeline, where)
    parts, device = from_pipeline(pipeline, family, where)
    source = str(getattr(pipeline.config, "_name_or_path", "") or where)
    called = name or source.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    loras, embeddings = present_loras(parts, family), present_embeddings(parts, family)
    given = () if parametrisation is None else (("parametrisation", parametrisation),)
    model = family.build(parts, Origin(called, source, "", device, loras, parametrisation, embeddings, given))
    return distilled_by_loras(model, loras)


def _folder(path: str | Path | None, argument: str) -> Path | None:
    if path is None:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ModelError(f"--{argument} ({argument}=): {str(path)!r} is not a folder on this machine")
    return folder


def _vae(path: str | Path) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        raise ModelError(f"--vae (vae=): there is no folder or file {str(path)!r} on this machine")
    return found
