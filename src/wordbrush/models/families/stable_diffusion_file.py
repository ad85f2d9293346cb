"""A checkpoint in one safetensors file, under the tensor names of the original Stable Diffusion.

Such a file has no configurations and no tokenizer. The configurations of Stable Diffusion 1.x and 2.x are known here;
the tokenizer's vocabulary is too large to ship and is taken from this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.layout import read_json
from wordbrush.models.checkpoint.parts import check_loaded, load_tokenizer, translated
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.families.stable_diffusion_configs import (
    NETWORKS,
    TOKENIZER,
    Version,
    built_in,
    check_networks,
    write,
)
from wordbrush.models.family import Parts
from wordbrush.models.header import Header
from wordbrush.models.refused import kind_of_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["StableDiffusionFile"]

_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_CLIP = "cond_stage_model.transformer.text_model."
_OPEN_CLIP = "cond_stage_model.model."
_VOCABULARY = 49_408


class StableDiffusionFile:
    """How such a file becomes the parts of a model."""

    network = f"Stable Diffusion UNet ({_FIRST})"

    def recognises(self, header: Header) -> bool:
        """Say whether a file holds a UNet of this family, and is nothing else that holds one too."""
        entry = header.tensors.get(_FIRST)
        return entry is not None and len(entry.shape) == 4 and not kind_of_tensors(header.tensors)

    def load(
        self,
        path: Path,
        dtype: torch.dtype,
        *,
        config: Path | None = None,
        tokenizer: Path | None = None,
        parametrisation: str | None = None,
    ) -> Parts:
        """Load a checkpoint; nothing is downloaded.

        Args:
            path: the safetensors file.
            dtype: of the networks.
            config: a folder in diffusers layout to take configurations and tokenizer from (its weights are not read),
                for checkpoints of another shape than Stable Diffusion 1.x and 2.x.
            tokenizer: a folder with vocab.json and merges.txt.
            parametrisation: for Stable Diffusion 2.x, whose files do not tell epsilon from v prediction; v by default.

        Raises:
            UnsafeWeightsError: it is a pickle, whatever it is called.
            ModelError: parts are missing, or do not fit; the message says which and what to give.
        """
        where = path.name
        header = read_header(path)
        family = _version(header, where)
        if config is None:
            configs = built_in(family, parametrisation or _parametrisation(header, family))
        else:
            configs = _read_configs(config)
        unet, vae = dict(configs["unet/config.json"]), configs["vae/config.json"]
        unet["in_channels"] = header.tensors[_FIRST].shape[1]
        check_networks(unet, vae, where)
        with quiet(), TemporaryDirectory(prefix="wordbrush-") as scratch:
            folder = Path(scratch)
            write(folder, configs)
            reader = _tokenizer(family, config, tokenizer, where)
            modules = _load(path, folder, reader, dtype, where)
        scheduler = configs["scheduler/scheduler_config.json"]
        return Parts(modules, {"tokenizer": reader}, scheduler, file_digest(path))


def _version(header: Header, where: str) -> Version:
    names = header.tensors
    if not any(name.startswith("first_stage_model.decoder.") for name in names):
        raise ModelError(f"{where} holds no autoencoder (first_stage_model. is missing): use the full checkpoint")
    if any(name.startswith(_CLIP) for name in names):
        return "sd1"
    if any(name.startswith(_OPEN_CLIP) for name in names):
        return "sd2"
    raise ModelError(f"{where} holds no text encoder (cond_stage_model. is missing): use the full checkpoint")


def _parametrisation(header: Header, family: Version) -> str:
    """Return the parametrisation that the file declares, else the usual one of its family."""
    declared = header.metadata.get("modelspec.prediction_type", "").lower()
    if declared in {"v", "v_prediction"} or "v_pred" in header.tensors:
        return "v_prediction"
    if declared in {"epsilon", "eps"} or family == "sd1":
        return "epsilon"
    return "v_prediction"


def _read_configs(config: Path) -> dict[str, dict[str, Any]]:
    names = [*(f"{name}/config.json" for name in NETWORKS), "scheduler/scheduler_config.json"]
    return {name: read_json(config / name, f"config folder {config.name}") for name in names}


def _load(path: Path, folder: Path, tokenizer: Any, dtype: torch.dtype, where: str) -> Mapping[str, Any]:
    from diffusers import StableDiffusionPipeline

    advice = (
        "; for a checkpoint of another shape give config=FOLDER, a folder in diffusers layout with its configurations "
        "and tokenizer"
    )
    with translated(f"{where} does not fit the configurations of its family", advice):
        pipeline = StableDiffusionPipeline.from_single_file(
            str(path),
            config=str(folder),
            local_files_only=True,
            torch_dtype=dtype,
            tokenizer=tokenizer,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    return {name: check_loaded(getattr(pipeline, name), f"{where}: {name}") for name in NETWORKS}


def _tokenizer(family: Version, config: Path | None, tokenizer: Path | None, where: str) -> Any:
    if tokenizer is not None:
        inner = tokenizer / "tokenizer"
        folder = inner if inner.is_dir() else tokenizer
        return load_tokenizer(folder, TOKENIZER, "tokenizer folder", **_padding(family, config))
    if config is not None:
        return load_tokenizer(config / "tokenizer", TOKENIZER, f"config folder {config.name}")
    cached = _cached_tokenizer()
    if cached is None:
        raise ModelError(
            f"{where} carries no tokenizer, and the local hub cache has none: give tokenizer=FOLDER with CLIP's "
            "vocab.json and merges.txt, or config=FOLDER, any Stable Diffusion folder in diffusers layout (its weights "
            "are not needed); with a network, `hf download openai/clip-vit-large-patch14 vocab.json merges.txt` "
            "puts it into the cache"
        )
    return load_tokenizer(cached, TOKENIZER, "cached tokenizer", **_padding(family, None))


def _padding(family: Version, config: Path | None) -> dict[str, Any]:
    """Return settings that a bare vocabulary lacks: both families share it, but pad with different tokens."""
    if config is not None:
        return {}
    return {"model_max_length": 77, "pad_token": "!" if family == "sd2" else "<|endoftext|>"}


def _cached_tokenizer() -> Path | None:
    """Return a folder of the local hub cache with CLIP's vocabulary, whichever repository brought it there."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    for pattern in ("models--*/snapshots/*/tokenizer/vocab.json", "models--*/snapshots/*/vocab.json"):
        for path in sorted(cache.glob(pattern)):
            if not (path.parent / "merges.txt").is_file():
                continue
            table = read_json(path, "cached tokenizer")
            ends = (table.get("<|startoftext|>"), table.get("<|endoftext|>"))
            if len(table) == _VOCABULARY and ends == (_VOCABULARY - 2, _VOCABULARY - 1):
                return path.parent
    return None
