"""The diffusers folder layout: which files make a Stable Diffusion checkpoint, told from their names.

The same rules serve a folder on disk and the list of files of a hub repository, so that what cannot be used is
refused before it is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wordbrush.errors import ModelError, UnsafeWeightsError
from wordbrush.models.checkpoint.weights import is_pickle_name

__all__ = ["INDEX", "WEIGHTED", "Weights", "check_index", "check_networks", "choose_weights", "needed_files"]

INDEX = "model_index.json"

WEIGHTED = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
"""Components with weights, and what their weight files are called."""

EXTRAS = ("wordbrush.json", "words.json", "words.txt")

_ALLOWED = {
    "unet": {"UNet2DConditionModel"},
    "vae": {"AutoencoderKL", "AutoencoderTiny"},
    "text_encoder": {"CLIPTextModel"},
    "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}
_LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}
_KNOWN = "Stable Diffusion 1.x and 2.x text-to-image checkpoints are supported"


@dataclass(frozen=True)
class Weights:
    """The weight files of one component.

    Attributes:
        variant: as in `fp16`, or None for the plain files.
        files: paths within the checkpoint, the index of a sharded component first.
    """

    variant: str | None
    files: tuple[str, ...]


def check_index(index: Mapping[str, Any], where: str) -> None:
    """Check that a model_index.json describes what can be loaded, with classes of diffusers and transformers only.

    Raises:
        ModelError: it does not; the message names the component.
    """
    if "text_encoder_2" in index:
        raise ModelError(f"{where} is a Stable Diffusion XL checkpoint, with two text encoders: {_KNOWN}")
    if "transformer" in index:
        raise ModelError(f"{where} has a transformer instead of a UNet (Stable Diffusion 3, Flux, ...): {_KNOWN}")
    if not isinstance(index.get("_class_name", ""), str):
        raise ModelError(f"{where}: {INDEX} names pipeline code of its own; remote code is never run")
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        library = value[0] if value else None
        if library is not None and (len(value) != 2 or library not in _LIBRARIES):
            raise ModelError(
                f"{where}: component {name!r} comes from {library!r}, neither diffusers nor transformers; "
                "custom code is never run"
            )
    for name, classes in _ALLOWED.items():
        value = index.get(name)
        if not isinstance(value, list) or len(value) != 2 or value[1] not in classes:
            found = value[1] if isinstance(value, list) and len(value) == 2 else "missing"
            raise ModelError(f"{where}: component {name!r} is {found}, not {' or '.join(sorted(classes))}: {_KNOWN}")


def check_networks(unet: Mapping[str, Any], vae: Mapping[str, Any], where: str) -> None:
    """Check from the configurations that the UNet is a plain text-to-image one.

    Raises:
        ModelError: it is for inpainting, instructions, super-resolution, ...; the message says which and why not.
    """
    latent, given = int(vae.get("latent_channels", 4)), int(unet.get("in_channels", 4))
    if unet.get("addition_embed_type") == "text_time":
        raise ModelError(f"{where} has a Stable Diffusion XL UNet, which wants size and pooled text: {_KNOWN}")
    if given != latent:
        kinds = {2 * latent + 1: "an inpainting UNet, which wants mask and masked picture beside the latent"}
        kinds[2 * latent] = "an instruction or image-conditioned UNet, which wants a second latent"
        kinds[latent + 1] = "a depth UNet, which wants a depth map beside the latent"
        kind = kinds.get(given, "made for another autoencoder")
        raise ModelError(
            f"{where}: the UNet takes {given} channels and the latent has {latent}; it is {kind}. DiffEdit finds its "
            "own mask: use the text-to-image checkpoint of the same family"
        )
    if int(unet.get("out_channels", latent)) != latent:
        raise ModelError(f"{where}: the UNet gives {unet['out_channels']} channels for a latent of {latent}: {_KNOWN}")
    for key in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "addition_embed_type"):
        if unet.get(key) is not None:
            raise ModelError(f"{where}: the UNet wants more than a text ({key} is {unet[key]!r}): {_KNOWN}")


def choose_weights(names: Collection[str], component: str, where: str, *, prefer_half: bool = False) -> Weights:
    """Choose the weight files of a component among the files of a checkpoint.

    Args:
        names: all files of the checkpoint, as paths within it with forward slashes.
        component: a key of `WEIGHTED`.
        where: what to call the checkpoint in messages.
        prefer_half: take the fp16 variant where there is one.

    Raises:
        UnsafeWeightsError: there are only pickles; the message names one.
        ModelError: there are no weights at all; the message names the file that is missing.
    """
    stem = WEIGHTED[component]
    own = sorted(name.removeprefix(f"{component}/") for name in names if name.startswith(f"{component}/"))
    found: dict[str | None, Weights] = {}
    for name in own:
        whole = re.fullmatch(rf"{stem}(?:\.([\w-]+))?\.safetensors", name)
        if whole and not re.search(r"-\d+-of-\d+", name):
            found[whole[1]] = Weights(whole[1], (f"{component}/{name}",))
        index = re.fullmatch(rf"{stem}\.safetensors\.index(?:\.([\w-]+))?\.json", name)
        if index and index[1] not in found:
            tag = re.escape(f".{index[1]}") if index[1] else ""
            shard = re.compile(rf"{stem}(?:{tag}-\d+-of-\d+|-\d+-of-\d+{tag})\.safetensors")
            shards = [f"{component}/{other}" for other in own if shard.fullmatch(other)]
            found[index[1]] = Weights(index[1], (f"{component}/{name}", *shards))
    order = ["fp16", None] if prefer_half else [None, "fp16"]
    for variant in [*order, *sorted(v for v in found if v is not None)]:
        if variant in found:
            return found[variant]
    for name in own:
        if is_pickle_name(name):
            raise UnsafeWeightsError(
                f"{where}: the weights of {component} are only there as {component}/{name}, a pickle, which can run "
                "code when opened; ask for the checkpoint as .safetensors"
            )
    raise ModelError(f"{where}: {component}/{stem}.safetensors is missing")


def needed_files(names: Collection[str], where: str, *, prefer_half: bool = False) -> list[str]:
    """Return the files of a checkpoint that loading it takes, and no others.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle.
        ModelError: a file is missing; the message names it.
    """
    wanted = [INDEX, "scheduler/scheduler_config.json", *(f"{name}/config.json" for name in WEIGHTED)]
    for name in wanted:
        if name not in names:
            raise ModelError(f"{where}: {name} is missing")
    tokenizer = [n for n in names if re.fullmatch(r"tokenizer/[\w.-]+\.(json|txt)", n)]
    if "tokenizer/tokenizer.json" not in tokenizer:
        for name in ("tokenizer/vocab.json", "tokenizer/merges.txt"):
            if name not in tokenizer:
                raise ModelError(f"{where}: {name} is missing")
    weights = [f for c in WEIGHTED for f in choose_weights(names, c, where, prefer_half=prefer_half).files]
    return sorted({*wanted, *tokenizer, *weights, *(extra for extra in EXTRAS if extra in names)})
