"""What the tensors of a LoRA file are called, by all who write such files, and what each name means.

A name is a layer's name and a role. Trainers write the layer's name with underscores after a prefix
(`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`), diffusers and peft with dots
(`unet.mid_block.attentions.0.proj_in.lora_A.weight`); both are one key here, with underscores throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

__all__ = ["Role", "algorithm", "key_of", "other_family", "role_of"]

Role = Literal["down", "up", "mid", "alpha", "bias", "dora_scale", "magnitude", "diff", "diff_b"]
"""What a tensor is to its layer: `down`, `up` and `mid` are factors of the change, `alpha` its strength in ranks,
`bias` that of the second factor, `dora_scale` and `magnitude` the lengths of a DoRA as trainers and as peft write them,
`diff` and `diff_b` the change of the weight and of the bias themselves."""

_PATTERNS: dict[Role, str] = {
    "down": r"(?:\.lora_(?:down|A)(?:\.\w+)?|[._]lora\.down|(?<=_lora\d)\.down|\.lora_linear_layer\.down)\.weight",
    "up": r"(?:\.lora_(?:up|B)(?:\.\w+)?|[._]lora\.up|(?<=_lora\d)\.up|\.lora_linear_layer\.up)\.weight",
    "mid": r"\.lora_mid\.weight",
    "alpha": r"\.alpha",
    "bias": r"\.lora_B(?:\.\w+)?\.bias",
    "dora_scale": r"\.dora_scale",
    "magnitude": r"\.lora_magnitude_vector(?:\.\w+)??(?:\.weight)?",
    "diff": r"\.(?:diff|w_norm)",
    "diff_b": r"\.(?:diff_b|b_norm)",
}
_ROLES: dict[Role, re.Pattern[str]] = {role: re.compile(pattern + "$") for role, pattern in _PATTERNS.items()}

_ALGORITHMS = {
    "LoHa": r"\.hada_[wt]\d",
    "LoKr": r"\.lokr_[wt]\d",
    "GLoRA": r"\.(?:a1|a2|b1|b2|bm1|bm2)(?:\.weight)?$",
    "BOFT": r"\.boft_",
    "OFT": r"\.oft_",
    "IA3": r"\.(?:on_input|ia3_l)\b",
    "VeRA": r"\.vera_",
    "control LoRA": r"^lora_controlnet$",
}

_OTHERS = {
    "Stable Diffusion XL": r"^(?:lora_te2_|text_encoder_2\.)",
    "Stable Diffusion 3": r"^(?:lora_te3_|text_encoder_3\.)|joint_(?:transformer_)?blocks",
    "Flux": r"double_blocks|single_(?:transformer_)?blocks",
    "Stable Cascade": r"^(?:lora_prior_|prior\.)",
    "a model with a transformer instead of a UNet": r"^(?:transformer\.|lora_transformer_)",
}


def role_of(name: str) -> tuple[str, Role] | None:
    """Return the layer's name in a tensor's name, and the tensor's role; None for a name of no known form."""
    for role, pattern in _ROLES.items():
        if found := pattern.search(name):
            return (name[: found.start()], role) if found.start() else None
    return None


def key_of(layer: str) -> str:
    """Return a layer's name in the form in which all ways of writing it are equal."""
    return layer.replace(".processor.", ".").replace(".", "_")


def algorithm(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the algorithm that is none of those read here, with the first name that tells it, or None."""
    return _first(_ALGORITHMS, tuple(names))


def other_family(names: Iterable[str], own: Iterable[str]) -> tuple[str, str] | None:
    """Return the family of models that has layers of such names, with the first of them, or None.

    Args:
        names: of layers that the model has not.
        own: of layers that it has; a family that has such ones, too, is not told from it.
    """
    known = tuple(own)
    return _first({kind: p for kind, p in _OTHERS.items() if not _first({kind: p}, known)}, tuple(names))


def _first(table: dict[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    for kind, pattern in table.items():
        compiled = re.compile(pattern)
        if found := next((name for name in names if compiled.search(name)), None):
            return kind, found
    return None
