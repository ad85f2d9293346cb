"""Checkpoints that are known and not supported, so that a refusal can say what was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["kind_of_index", "kind_of_tensors"]

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


def kind_of_tensors(names: Iterable[str]) -> str:
    """Return what a single file is, from the names of its tensors, or "" if it is nothing known."""
    every = tuple(names)
    return next((kind for prefix, kind in _TENSORS.items() if any(n.startswith(prefix) for n in every)), "")
