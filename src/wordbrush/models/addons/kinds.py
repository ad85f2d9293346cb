"""What a file is that was given as an add-on and is none of that kind, so that a refusal can say so."""

from __future__ import annotations

import re

from wordbrush.models.addons.names import algorithm, role_of
from wordbrush.models.header import Header

__all__ = ["TEXT_WIDTHS", "kind_of_file", "made_for"]

TEXT_WIDTHS = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "Stable Diffusion XL",
    2048: "Stable Diffusion XL",
}
"""Numbers a token of the text that a family's UNet, or one of its text encoders, works with."""

_ARCHITECTURES = {
    "stable-diffusion-xl": "Stable Diffusion XL",
    "sdxl": "Stable Diffusion XL",
    "stable-diffusion-v1": "Stable Diffusion 1.x",
    "sd_v1": "Stable Diffusion 1.x",
    "stable-diffusion-v2": "Stable Diffusion 2.x",
    "sd_v2": "Stable Diffusion 2.x",
    "stable-diffusion-3": "Stable Diffusion 3",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
}
_DECLARED = ("modelspec.architecture", "ss_base_model_version")

_PREFIXES = {
    "model.diffusion_model.": "a full checkpoint, to be given with --model",
    "conditioner.": "a full checkpoint, to be given with --model",
    "first_stage_model.": "an autoencoder (VAE)",
    "encoder.down": "an autoencoder (VAE)",
    "decoder.up": "an autoencoder (VAE)",
    "control_model.": "a ControlNet",
    "controlnet_": "a ControlNet",
    "ip_adapter.": "an IP-Adapter",
    "image_proj.": "an IP-Adapter",
    "text_model.": "a text encoder",
    "encoder.layers.": "a text encoder",
    "down_blocks.": "a UNet",
    "conv_in.": "a UNet",
}


def kind_of_file(header: Header) -> str:
    """Return what a safetensors file is, for a refusal; "" if it is nothing known."""
    names = tuple(header.tensors)
    if algorithm(names) or any(role_of(name) for name in names):
        return "a LoRA, to be given with --lora"
    flat = all(len(entry.shape) in {1, 2} for entry in header.tensors.values())
    if names and flat and not any(re.search(r"\.(weight|bias)$", name) for name in names):
        return "a learnt embedding, to be given with --embedding"
    return next((kind for start, kind in _PREFIXES.items() if any(name.startswith(start) for name in names)), "")


def made_for(header: Header) -> str:
    """Return the family a LoRA was made for, as its metadata or the width of the text it takes say; "" if neither."""
    for field in _DECLARED:
        said = header.metadata.get(field, "").lower()
        if found := next((family for word, family in _ARCHITECTURES.items() if word in said), ""):
            return found
    for name, entry in header.tensors.items():
        split = role_of(name)
        if split is not None and split[1] == "down" and re.search(r"attn2[._]to_[kv]$", split[0]):
            return TEXT_WIDTHS.get(entry.shape[1], "") if len(entry.shape) > 1 else ""
    return ""
