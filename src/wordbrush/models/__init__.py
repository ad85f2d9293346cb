"""Models: `load_model` turns whatever a user has into a `Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.addons.distilled import distilled_by_loras
from wordbrush.models.addons.embeddings import EmbeddingSource, apply_embeddings, present_embeddings
from wordbrush.models.addons.loras import LoraSource, apply_loras, present_loras
from wordbrush.models.checkpoint.given import flag_of
from wordbrush.models.checkpoint.layout import family_in
from wordbrush.models.checkpoint.offload import encoders_of, place, resolve_offload
from wordbrush.models.checkpoint.parts import from_pipeline, load_folder
from wordbrush.models.checkpoint.single_file import family_of_single
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
from wordbrush.models.registry import family_of_pipeline
from wordbrush.notation import PARTS

if TYPE_CHECKING:
    import torch

__all__ = [
    "EmbeddingIdentity",
    "GivenParts",
    "Guidance",
    "LoraIdentity",
    "Model",
    "ModelIdentity",
    "Prompt",
    "TextEncoder",
    "UnknownWord",
    "load_model",
]


class GivenParts(TypedDict, total=False):
    """Parts in place of a checkpoint's own, or that a single file lacks.

    Each is a folder in diffusers layout (the part's own, or a checkpoint's that has it), a `.safetensors` file under
    the names of its authors or of its library, or a loaded network, which is used in place.
    """

    vae: str | Path | Any
    unet: str | Path | Any
    transformer: str | Path | Any
    text_encoder: str | Path | Any
    text_encoder_2: str | Path | Any
    text_encoder_3: str | Path | Any


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
    parametrisation: str | None = None,
    **parts: Unpack[GivenParts],
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
        config: for a single file, a folder in diffusers layout with configurations and tokenizers, and with the parts
            that the file has not; Stable Diffusion 1.x and 2.x of the usual shape want none.
        tokenizer: for a single file of Stable Diffusion, a folder with the tokenizer's files.
        parametrisation: one that the family's card lists, where the checkpoint does not say or says it wrong.
        parts: parts in place of the checkpoint's own, or that it lacks, by name; see `GivenParts`.

    Raises:
        UnsafeWeightsError: weights are stored as a pickle; it has not been opened.
        ModelError: the checkpoint is missing, damaged or of another kind.
        SettingsError: arguments are out of range or contradict each other.
    """
    given = _parts(parts)
    if not isinstance(source, str | Path):
        arguments = {"revision": revision, "device": device, "dtype": dtype, "config": config, "tokenizer": tokenizer}
        add_ons = {**given, "loras": tuple(loras) or None, "embeddings": tuple(embeddings) or None, "offload": offload}
        return _adopt(source, name, parametrisation, {**arguments, **add_ons})
    half = str(dtype) in {"float16", "fp16", "half", "torch.float16"}
    located = locate(source, revision=revision, local_files_only=local_files_only, prefer_half=half)
    single = located.path.is_file()
    if not single and (config is not None or tokenizer is not None):
        raise SettingsError(
            "--config and --tokenizer (config=, tokenizer=) are for single-file checkpoints: a folder has its own"
        )
    said = {"config": config, "tokenizer": tokenizer, **parts, "parametrisation": parametrisation}
    folder, vocabulary = _folder(config, "config"), _folder(tokenizer, "tokenizer")
    where = resolve_device(device)
    way, about_offload = resolve_offload(offload, where)
    if single:
        family, file = family_of_single(read_header(located.path), located.path.name, folder)
        kind = resolve_dtype(dtype, where, family.card.half)
        loaded = file.load(located.path, kind, config=folder, tokenizer=vocabulary, given=given)
    else:
        family = family_in(located.path, located.name)
        kind = resolve_dtype(dtype, where, family.card.half)
        added = loras or embeddings or given or way
        plain = located.source == "pocket" and where.type == "cpu" and str(kind) == "torch.float32" and not added
        loaded = load_folder(located.path, family, located.name, kind, given, plain=plain)
    taught, about_words = apply_embeddings(loaded, family, embeddings)
    applied, about_loras = apply_loras(loaded, family, loras)
    about_place = place(loaded, where, kind, way)
    origin = Origin(
        name or located.name,
        located.source,
        located.revision,
        where,
        applied,
        parametrisation,
        taught,
        tuple((key, str(value)) for key, value in said.items() if isinstance(value, str | Path)),
    )
    kinds = family.card.parametrisations
    if parametrisation not in {None, *kinds} and len(kinds) == 1:  # where there are several, the family says it
        raise ModelError(f"prediction type {parametrisation!r} is not of {family.card.title}: {kinds[0]} is")
    model = distilled_by_loras(family.build(loaded, origin), applied)
    notes = *located.notes, *model.notes, *loaded.notes, *about_words, *about_loras, *about_offload, *about_place
    may_leave = way is None and not about_place and where.type != "cpu"
    return replace(model, notes=notes, encoders=encoders_of(loaded, family, where) if may_leave else None)


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


def _parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that are given, paths as such.

    Raises:
        TypeError: there is no part of such a name.
        ModelError: a path leads nowhere.
    """
    given: dict[str, Any] = {}
    for part, source in parts.items():
        if part not in PARTS:
            raise TypeError(f"load_model() got an unexpected keyword argument {part!r}")
        if isinstance(source, str | Path):
            given[part] = Path(source).expanduser()
            if not given[part].exists():
                raise ModelError(f"{flag_of(part)}: there is no folder or file {str(source)!r} on this machine")
        elif source is not None:
            given[part] = source
    return given
