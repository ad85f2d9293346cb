"""Checkpoints that are known and not supported, so that a refusal can say what was given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from wordbrush.models.header import TensorEntry

__all__ = ["MODULAR", "groups", "kind_of_index", "kind_of_names", "kind_of_tensors", "modular", "named_refusal"]

MODULAR = "modular_model_index.json"
"""What stands in place of model_index.json where a model is made for diffusers' modular pipelines alone."""

_PIPELINES = {
    "Kolors": (
        "Kolors, whose texts are read by ChatGLM with a tokenizer of its own code. Stable Diffusion XL, whose UNet it "
        "has, works"
    ),
    "HiDream": (
        "HiDream, whose texts are read by four encoders, one of them a Llama that its files do not hold. FLUX.1 works"
    ),
    "Ideogram4": (
        "Ideogram 4, which is guided by a second network, trained without texts, and a model here has one. Qwen-Image, "
        "which draws lettering too, works"
    ),
    "PixArtAlpha": (
        "PixArt-Alpha, whose network is told resolution and aspect ratio. PixArt-Sigma, its successor, works"
    ),
    "HunyuanDiT": (
        "Hunyuan-DiT, whose texts are read by two encoders with learnt padding of their own. PixArt-Sigma works"
    ),
    "StableCascade": (
        "Stable Cascade, whose latent is too coarse to hold a picture still outside a mask. Stable Diffusion XL works"
    ),
    "Wuerstchen": (
        "Wuerstchen, whose latent is too coarse to hold a picture still outside a mask. Stable Diffusion XL works"
    ),
    "FluxKontext": (
        "FLUX.1 Kontext, which reads the picture as further tokens and the text as an instruction. FLUX.1 dev works"
    ),
    "FluxFill": "FLUX.1 Fill, which takes the mask and the masked picture beside the latent. FLUX.1 dev works",
    **dict.fromkeys(
        ("FluxControlPipeline", "FluxControlImg2Img", "FluxControlInpaint"),
        "FLUX.1 Depth or Canny, which takes a map of depth or edges beside the latent. FLUX.1 dev works",
    ),
    "QwenImageEdit": (
        "Qwen-Image-Edit, which reads the picture as further tokens and the text as an instruction. Qwen-Image works"
    ),
    "QwenImageLayered": "Qwen-Image-Layered, which draws several layers at once. Qwen-Image works",
    "ZImageOmni": "Z-Image-Omni, which reads pictures beside the text. Z-Image works",
    "CogView4Control": "CogView 4 Control, which takes a control picture beside the latent. CogView 4 works",
}
"""How the names of pipelines begin that are known and cannot be used: what they are, why not, and what works."""

_MODULAR = {
    "Anima": ("Anima", "Stable Diffusion XL and its anime descendants work"),
    "Flux3": ("FLUX.3", "FLUX.2 klein works"),
    "Ideogram4": ("Ideogram 4", "Qwen-Image works"),
}

_PARTS = {
    "transformer": "a model with a transformer of a kind not known here",
}

_BESIDE = "to be given with --lora (loras=) beside a model"
_TENSORS = {
    r"(^|\.)motion_modules\.": "an AnimateDiff motion module",
    r"^(ip_adapter|image_proj|image_proj_model)\.": "an IP-Adapter",
    r"hada_w1": f"a LoHa, {_BESIDE} if it is of a supported kind",
    r"lokr_w": f"a LoKr, {_BESIDE} if it is of a supported kind",
    r"^lora_(unet|te\d?)_": f"a LoRA, {_BESIDE}",
    r"\.lora_(A|B|up|down)\.|\.lora\.(up|down)\.|_lora\.(up|down)\.": f"a LoRA, {_BESIDE}",
    r"(^|\.)(control_model|controlnet_(cond_embedding|(down_)?blocks)|input_hint_block|zero_convs)\.": "a ControlNet",
    r"^(string_to_param|string_to_token)\b|^emb_params$|^clip_[lg]$": "a textual-inversion embedding, not a model",
    r"^(module\.|params_ema\.|params\.)?(conv_first|RRDB_trunk|body\.\d+\.rdb\d|layers\.\d+\.residual_group)\b": (
        "an upscaler"
    ),
    r"^model\.1\.sub\.": "an upscaler",
}
_PIECES = {
    r"(^|\.)conditioner\.embedders\.": "a piece of a Stable Diffusion XL checkpoint",
    r"(^|\.)joint_blocks\.": "a piece of a Stable Diffusion 3 checkpoint",
    r"(^|\.)double_blocks\.": "a piece of a FLUX checkpoint",
}
"""What names say of a file that no family takes."""
_UNET = re.compile(r"(^|\.)(input_blocks\.\d|time_embed(ding)?\.|middle_block\.)|diffusion_model")
_VAE = re.compile(r"(^|\.)(encoder|decoder)\.(conv_in|conv_out|mid|up|down|mid_block|up_blocks|down_blocks)\.")
_TEXT = re.compile(r"(^|\.)(token_embedding\.|text_model\.encoder\.|transformer\.resblocks\.)")
_VISION = re.compile(r"(^|\.)vision_model\.|^visual\.")


def kind_of_index(index: Mapping[str, Any]) -> str:
    """Return what a folder or pipeline is, from the parts that it names, or "" if it is nothing known."""
    return next((kind for part, kind in _PARTS.items() if part in index), "")


def named_refusal(index: Mapping[str, Any]) -> str:
    """Return what a folder or pipeline is, why it cannot be used and what works, or "" where its name is not known."""
    pipeline = str(index.get("_class_name", ""))
    return next((kind for name, kind in _PIPELINES.items() if pipeline.startswith(name)), "")


def modular(index: Mapping[str, Any]) -> str:
    """Return why a folder whose index is `MODULAR` cannot be used, and what works.

    Args:
        index: its contents; empty where they are not at hand.
    """
    pipeline = str(index.get("_class_name", ""))
    title, works = next((pair for name, pair in _MODULAR.items() if pipeline.startswith(name)), ("", ""))
    known = f" ({title})" if title else ""
    return (
        f"it holds {MODULAR} and no model_index.json: it is made for diffusers' modular pipelines alone{known}, whose "
        f"blocks are code and no list of parts{f'. {works}' if works else ''}"
    )


def kind_of_names(names: Iterable[str]) -> str:
    """Return what a single file is by names that no checkpoint has, or ""."""
    return _first(_TENSORS, tuple(names))


def _first(patterns: Mapping[str, str], names: tuple[str, ...]) -> str:
    found = (kind for pattern, kind in patterns.items() if any(map(re.compile(pattern).search, names)))
    return next(found, "")


def kind_of_tensors(tensors: Mapping[str, TensorEntry]) -> str:
    """Return what a single file is, from its tensors, or "" if it is nothing known, or a whole checkpoint."""
    every = tuple(tensors)
    if kind := kind_of_names(every) or _first(_PIECES, every):
        return kind
    if 1 <= len(every) <= 2 and all(len(entry.shape) <= 2 for entry in tensors.values()):
        width = max(entry.shape[-1] if entry.shape else 0 for entry in tensors.values())
        if width in {768, 1024, 1280}:
            return "a textual-inversion embedding, not a model"
    unet, vae, text = (any(map(pattern.search, every)) for pattern in (_UNET, _VAE, _TEXT))
    if vae and not (unet or text):
        return "an autoencoder alone, to be given with --vae (vae=) beside a model"
    if not (unet or vae) and (text or any(map(_VISION.search, every))):
        return "a CLIP encoder alone, without UNet and autoencoder"
    return ""


def groups(names: Iterable[str]) -> str:
    """Return in words which tensors a file holds: the first parts of their names, the most frequent first."""
    counted = Counter(re.split(r"[.]|(?<=lora)_", name, maxsplit=1)[0][:60] for name in names)
    if not counted:
        return "it holds no tensor at all"
    shown = [f"{name} ({count})" for name, count in counted.most_common(4)]
    more = f" and {len(counted) - 4} more" if len(counted) > 4 else ""
    return f"it holds tensors named {', '.join(shown)}{more}"
