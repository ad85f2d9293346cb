"""Checkpoints that are known and not supported, so that a refusal can say what was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MODULAR", "kind_of_index", "kind_of_tensors", "modular", "named_refusal"]

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

_TENSORS = {
    "conditioner.embedders.": "a Stable Diffusion XL checkpoint",
    "model.diffusion_model.joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "model.diffusion_model.double_blocks.": "a FLUX checkpoint in one file (a folder in diffusers layout is read)",
    "double_blocks.": "a FLUX transformer alone (a folder in diffusers layout is read)",
    "lora_unet_": "a LoRA, to be given as loras= beside a model",
    "lora_te_": "a LoRA, to be given as loras= beside a model",
    "unet.": "a LoRA or a part of a checkpoint",
    "control_model.": "a ControlNet",
    "down_blocks.": "a UNet alone, without autoencoder and text encoder",
}


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


def kind_of_tensors(names: Iterable[str]) -> str:
    """Return what a single file is, from the names of its tensors, or "" if it is nothing known."""
    every = tuple(names)
    return next((kind for prefix, kind in _TENSORS.items() if any(n.startswith(prefix) for n in every)), "")
