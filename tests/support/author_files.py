"""Networks under the names of their authors, for writing tiny single files: what diffusers' converters read, inverted.

The names of layers are those that LoRA files use (`wordbrush.models.families.layer_names`); the rest is here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tests.support.original_names import open_clip_state, unet_state, vae_state
from wordbrush.models.families import layer_names

__all__ = ["author_state", "whole_state"]

_DOUBLE = {
    "transformer_blocks.#.attn.norm_q.weight": "double_blocks.#.img_attn.norm.query_norm.scale",
    "transformer_blocks.#.attn.norm_k.weight": "double_blocks.#.img_attn.norm.key_norm.scale",
    "transformer_blocks.#.attn.norm_added_q.weight": "double_blocks.#.txt_attn.norm.query_norm.scale",
    "transformer_blocks.#.attn.norm_added_k.weight": "double_blocks.#.txt_attn.norm.key_norm.scale",
    "single_transformer_blocks.#.attn.norm_q.weight": "single_blocks.#.norm.query_norm.scale",
    "single_transformer_blocks.#.attn.norm_k.weight": "single_blocks.#.norm.key_norm.scale",
    "distilled_guidance_layer.norms.#.weight": "distilled_guidance_layer.norms.#.scale",
}
_KREA_BLOCK = {
    "norm1.weight": "prenorm.scale",
    "norm2.weight": "postnorm.scale",
    "attn.norm_q.weight": "attn.qknorm.qnorm.scale",
    "attn.norm_k.weight": "attn.qknorm.knorm.scale",
}
_STACKS = ("layers.#", "noise_refiner.#", "context_refiner.#")
_LUMINA = {"attn.norm_q": "attention.q_norm", "attn.norm_k": "attention.k_norm", "norm2": "attention_norm2"}
_LUMINA |= {"norm1.norm": "attention_norm1", "norm1": "attention_norm1"}

_TENSORS: Mapping[str, Mapping[str, str]] = {
    "FluxTransformer2DModel": _DOUBLE,
    "ChromaTransformer2DModel": _DOUBLE,
    "Flux2Transformer2DModel": _DOUBLE,
    "SD3Transformer2DModel": {
        "pos_embed.pos_embed": "pos_embed",
        "transformer_blocks.#.attn.norm_q.weight": "joint_blocks.#.x_block.attn.ln_q.weight",
        "transformer_blocks.#.attn.norm_k.weight": "joint_blocks.#.x_block.attn.ln_k.weight",
        "transformer_blocks.#.attn.norm_added_q.weight": "joint_blocks.#.context_block.attn.ln_q.weight",
        "transformer_blocks.#.attn.norm_added_k.weight": "joint_blocks.#.context_block.attn.ln_k.weight",
    },
    "ZImageTransformer2DModel": {
        f"{stack}.attention.norm_{one}.weight": f"{stack}.attention.{one}_norm.weight"
        for stack in _STACKS
        for one in "qk"
    },
    "Lumina2Transformer2DModel": {
        f"{stack}.{ours}.weight": f"{stack}.{theirs}.weight" for stack in _STACKS for ours, theirs in _LUMINA.items()
    },
    "AuraFlowTransformer2DModel": {"pos_embed.pos_embed": "positional_encoding"},
    "SanaTransformer2DModel": {
        "scale_shift_table": "final_layer.scale_shift_table",
        "transformer_blocks.#.scale_shift_table": "blocks.#.scale_shift_table",
        "caption_norm.weight": "attention_y_norm.weight",
    },
    "QwenImageTransformer2DModel": {},
    "QwenImage21Transformer2DModel": {},
    "Krea2Transformer2DModel": {
        "txt_in.norm.weight": "txtmlp.0.scale",
        "final_layer.norm.weight": "last.norm.scale",
        "final_layer.scale_shift_table": "last.modulation.lin",
        "transformer_blocks.#.scale_shift_table": "blocks.#.mod.lin",
        **{
            f"{ours}.#.{name}": f"{theirs}.#.{other}"
            for ours, theirs in (
                ("transformer_blocks", "blocks"),
                ("text_fusion.layerwise_blocks", "txtfusion.layerwise_blocks"),
                ("text_fusion.refiner_blocks", "txtfusion.refiner_blocks"),
            )
            for name, other in _KREA_BLOCK.items()
        },
    },
}
_LAYERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "FluxTransformer2DModel": layer_names.FLUX_1,
    "ChromaTransformer2DModel": layer_names.FLUX_1,
    "Flux2Transformer2DModel": layer_names.FLUX_2,
    "SD3Transformer2DModel": layer_names.STABLE_DIFFUSION_3,
    "ZImageTransformer2DModel": layer_names.Z_IMAGE,
    "Lumina2Transformer2DModel": layer_names.LUMINA_2,
    "AuraFlowTransformer2DModel": layer_names.AURAFLOW,
    "SanaTransformer2DModel": layer_names.SANA,
    "Krea2Transformer2DModel": layer_names.KREA_2,
    "QwenImage21Transformer2DModel": {  # in ComfyUI's files
        "transformer_blocks.#.img_mlp.gate_up": (
            "transformer_blocks.#.img_mlp.gate_layer",
            "transformer_blocks.#.img_mlp.proj",
        )
    },
}
_SHIFT_FIRST = re.compile(r"final_layer\.adaLN_modulation\.1\.|modF\.1\.")
"""Where the authors have shift and scale, and diffusers scale and shift; Lumina and Z-Image scale alone."""


def author_state(network: Any) -> dict[str, Tensor]:
    """Return all tensors of a network under the names of its authors."""
    kind = type(network).__name__
    left = dict(network.state_dict())
    state: dict[str, Tensor] = {}
    for theirs, ours in _LAYERS.get(kind, {}).items():
        numbers = {found[1] for name in left if (found := re.match(_pattern(ours[0]), name))} if "#" in theirs else {""}
        for number in sorted(numbers):
            for end in ("weight", "bias"):
                names = [f"{name.replace('#', number)}.{end}" for name in ours]
                if all(name in left for name in names):
                    state[f"{theirs.replace('#', number)}.{end}"] = torch.cat([left.pop(name) for name in names])
    for name in list(left):
        state[_renamed(name, _TENSORS[kind])] = left.pop(name)
    for name in state:
        last = kind == "SD3Transformer2DModel" and name.startswith(
            f"joint_blocks.{network.config.num_layers - 1}.context_block.adaLN"
        )
        if last or (kind not in {"ZImageTransformer2DModel", "Lumina2Transformer2DModel"} and _SHIFT_FIRST.match(name)):
            state[name] = torch.cat(state[name].chunk(2)[::-1])
        if name.startswith("blocks.") and name.endswith("mod.lin"):
            state[name] = state[name].flatten()
    if kind == "SanaTransformer2DModel":
        state |= {"pos_embed": torch.zeros(1, 4, 8), "y_embedder.y_embedding": torch.zeros(300, 8)}
    return {name: value.clone().contiguous() for name, value in state.items()}


def _pattern(name: str) -> str:
    return re.escape(name).replace(r"\#", r"(\d+)") + r"\.(weight|bias)$"


def _renamed(name: str, table: Mapping[str, str]) -> str:
    number = next(iter(re.findall(r"\.(\d+)\.", name)), "")
    return table.get(name) or table.get(name.replace(f".{number}.", ".#.", 1), name).replace("#", number)


def whole_state(pipeline: Any) -> dict[str, Tensor]:
    """Return all tensors of a pipeline of Stable Diffusion XL or 3 as in one file of its authors."""
    state = {f"first_stage_model.{name}": value for name, value in vae_state(pipeline.vae)}
    if hasattr(pipeline, "unet"):
        state |= {f"model.diffusion_model.{name}": value for name, value in unet_state(pipeline.unet).items()}
        inner = {f"text_model.{name}": value for name, value in pipeline.text_encoder.state_dict().items()}
        state |= {f"conditioner.embedders.0.transformer.{name}": value for name, value in inner.items()}
        state |= {f"conditioner.embedders.1.model.{name}": v for name, v in open_clip_state(pipeline.text_encoder_2)}
    else:
        state |= {f"model.diffusion_model.{name}": value for name, value in author_state(pipeline.transformer).items()}
        encoders = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"}
        for theirs, part in encoders.items():
            own = getattr(pipeline, part).state_dict().items()
            state |= {f"text_encoders.{theirs}.transformer.{name}": value for name, value in own}
    return {name: value.clone().contiguous() for name, value in state.items()}
