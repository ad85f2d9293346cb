"""What the authors of transformers, and trainers that follow them, call the layers that diffusers calls otherwise.

Each table maps a layer's name to its names in diffusers; `#` stands for the number of a block. Several names are one
layer of the authors' whose outputs are those of several layers here, in this order, as of queries, keys and values.
Layers that both call the same are not in a table.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["AURAFLOW", "FLUX_1", "FLUX_2", "KREA_2", "LUMINA_2", "SANA", "STABLE_DIFFUSION_3", "Z_IMAGE"]

Names = Mapping[str, tuple[str, ...]]

_QKV = "attn.to_q attn.to_k attn.to_v"
_ADDED = "attn.add_q_proj attn.add_k_proj attn.add_v_proj"


def _within(theirs: str, ours: str, table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the names of a block's layers in full; those here are parted by spaces."""
    return {f"{theirs}{key}": tuple(f"{ours}{name}" for name in names.split()) for key, names in table.items()}


_DOUBLE = {
    "img_attn.qkv": _QKV,
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.qkv": _ADDED,
    "txt_attn.proj": "attn.to_add_out",
}
_XLABS = {
    "qkv_lora1": _QKV,
    "proj_lora1": "attn.to_out.0",
    "qkv_lora2": _ADDED,
    "proj_lora2": "attn.to_add_out",
}
"""XLabs has a processor for a block with two LoRAs, of the picture and of the text."""


def _embedder(theirs: str, ours: str, first: str = "in_layer", second: str = "out_layer") -> dict[str, tuple[str, ...]]:
    return _within(f"{theirs}.", f"{ours}.", {first: "linear_1", second: "linear_2"})


FLUX_1: Names = {
    **_within("double_blocks.#.", "transformer_blocks.#.", _DOUBLE | _XLABS | {
        "img_mlp.0": "ff.net.0.proj",
        "img_mlp.2": "ff.net.2",
        "img_mod.lin": "norm1.linear",
        "txt_mlp.0": "ff_context.net.0.proj",
        "txt_mlp.2": "ff_context.net.2",
        "txt_mod.lin": "norm1_context.linear",
    }),
    **_within("single_blocks.#.", "single_transformer_blocks.#.", {
        "linear1": f"{_QKV} proj_mlp",
        "linear2": "proj_out",
        "modulation.lin": "norm.linear",
        "qkv": _QKV,
        "proj": "proj_out",
    }),
    **_embedder("time_in", "time_text_embed.timestep_embedder"),
    **_embedder("vector_in", "time_text_embed.text_embedder"),
    **_embedder("guidance_in", "time_text_embed.guidance_embedder"),
    **_embedder("distilled_guidance_layer.layers.#", "distilled_guidance_layer.layers.#"),
    **_within("", "", {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "norm_out.linear",
    }),
}  # fmt: skip
"""FLUX.1, and Chroma, whose guidance layer is its own; with the names of XLabs (`qkv_lora1`, `qkv`)."""

FLUX_2: Names = {
    **_within("double_blocks.#.", "transformer_blocks.#.", _DOUBLE | {
        "img_mlp.0": "ff.linear_in",
        "img_mlp.2": "ff.linear_out",
        "txt_mlp.0": "ff_context.linear_in",
        "txt_mlp.2": "ff_context.linear_out",
    }),
    **_within("single_blocks.#.", "single_transformer_blocks.#.attn.", {
        "linear1": "to_qkv_mlp_proj",
        "linear2": "to_out",
    }),
    **_embedder("time_in", "time_guidance_embed.timestep_embedder"),
    **_embedder("guidance_in", "time_guidance_embed.guidance_embedder"),
    **_within("", "", {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
        "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
        "single_stream_modulation.lin": "single_stream_modulation.linear",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "norm_out.linear",
    }),
}  # fmt: skip

STABLE_DIFFUSION_3: Names = {
    **_within("joint_blocks.#.", "transformer_blocks.#.", {
        "x_block.attn.qkv": _QKV,
        "x_block.attn.proj": "attn.to_out.0",
        "x_block.attn2.qkv": _QKV.replace("attn", "attn2"),
        "x_block.attn2.proj": "attn2.to_out.0",
        "x_block.mlp.fc1": "ff.net.0.proj",
        "x_block.mlp.fc2": "ff.net.2",
        "x_block.adaLN_modulation.1": "norm1.linear",
        "context_block.attn.qkv": _ADDED,
        "context_block.attn.proj": "attn.to_add_out",
        "context_block.mlp.fc1": "ff_context.net.0.proj",
        "context_block.mlp.fc2": "ff_context.net.2",
        "context_block.adaLN_modulation.1": "norm1_context.linear",
    }),
    **_embedder("t_embedder", "time_text_embed.timestep_embedder", "mlp.0", "mlp.2"),
    **_embedder("y_embedder", "time_text_embed.text_embedder", "mlp.0", "mlp.2"),
    **_within("", "", {
        "x_embedder.proj": "pos_embed.proj",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "norm_out.linear",
    }),
}  # fmt: skip

_STACKS = ("layers.#.", "noise_refiner.#.", "context_refiner.#.")

Z_IMAGE: Names = {
    name: ours
    for stack in _STACKS
    for name, ours in _within(f"{stack}attention.", f"{stack}attention.", {
        "qkv": "to_q to_k to_v",
        "out": "to_out.0",
    }).items()
} | _within("", "", {
    "x_embedder": "all_x_embedder.2-1",
    "final_layer.linear": "all_final_layer.2-1.linear",
    "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
})  # fmt: skip

LUMINA_2: Names = {
    name: ours
    for stack in _STACKS
    for name, ours in _within(stack, stack, {
        "attention.qkv": _QKV,
        "attention.out": "attn.to_out.0",
        "feed_forward.w1": "feed_forward.linear_1",
        "feed_forward.w2": "feed_forward.linear_2",
        "feed_forward.w3": "feed_forward.linear_3",
        "adaLN_modulation.1": "norm1.linear",
    }).items()
} | _within("", "", {
    "cap_embedder.0": "time_caption_embed.caption_embedder.0",
    "cap_embedder.1": "time_caption_embed.caption_embedder.1",
    "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "norm_out.linear_1",
    "final_layer.linear": "norm_out.linear_2",
})  # fmt: skip

KREA_2: Names = {
    name: ours
    for theirs, here in (
        ("blocks.#.", "transformer_blocks.#."),
        ("txtfusion.layerwise_blocks.#.", "text_fusion.layerwise_blocks.#."),
        ("txtfusion.refiner_blocks.#.", "text_fusion.refiner_blocks.#."),
    )
    for name, ours in _within(theirs, here, {
        "attn.wq": "attn.to_q",
        "attn.wk": "attn.to_k",
        "attn.wv": "attn.to_v",
        "attn.wo": "attn.to_out.0",
        "attn.gate": "attn.to_gate",
        "mlp.gate": "ff.gate",
        "mlp.up": "ff.up",
        "mlp.down": "ff.down",
    }).items()
} | _within("", "", {
    "first": "img_in",
    "last.linear": "final_layer.linear",
    "tmlp.0": "time_embed.linear_1",
    "tmlp.2": "time_embed.linear_2",
    "tproj.1": "time_mod_proj",
    "txtmlp.1": "txt_in.linear_1",
    "txtmlp.3": "txt_in.linear_2",
    "txtfusion.projector": "text_fusion.projector",
})  # fmt: skip

SANA: Names = {
    **_within("blocks.#.", "transformer_blocks.#.", {
        "attn.qkv": _QKV.replace("attn", "attn1"),
        "attn.proj": "attn1.to_out.0",
        "cross_attn.q_linear": "attn2.to_q",
        "cross_attn.kv_linear": "attn2.to_k attn2.to_v",
        "cross_attn.proj": "attn2.to_out.0",
        "mlp.inverted_conv.conv": "ff.conv_inverted",
        "mlp.depth_conv.conv": "ff.conv_depth",
        "mlp.point_conv.conv": "ff.conv_point",
    }),
    **_embedder("t_embedder", "time_embed.emb.timestep_embedder", "mlp.0", "mlp.2"),
    **_embedder("y_embedder.y_proj", "caption_projection", "fc1", "fc2"),
    **_within("", "", {
        "x_embedder.proj": "patch_embed.proj",
        "t_block.1": "time_embed.linear",
        "final_layer.linear": "proj_out",
    }),
}  # fmt: skip

_GATED = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}

AURAFLOW: Names = {
    **_within("double_layers.#.", "joint_transformer_blocks.#.", {
        "attn.w2q": "attn.to_q",
        "attn.w2k": "attn.to_k",
        "attn.w2v": "attn.to_v",
        "attn.w2o": "attn.to_out.0",
        "attn.w1q": "attn.add_q_proj",
        "attn.w1k": "attn.add_k_proj",
        "attn.w1v": "attn.add_v_proj",
        "attn.w1o": "attn.to_add_out",
        "modX.1": "norm1.linear",
        "modC.1": "norm1_context.linear",
    }),
    **_within("double_layers.#.mlpX.", "joint_transformer_blocks.#.ff.", _GATED),
    **_within("double_layers.#.mlpC.", "joint_transformer_blocks.#.ff_context.", _GATED),
    **_within("single_layers.#.", "single_transformer_blocks.#.", {
        "attn.w1q": "attn.to_q",
        "attn.w1k": "attn.to_k",
        "attn.w1v": "attn.to_v",
        "attn.w1o": "attn.to_out.0",
        "modCX.1": "norm1.linear",
    }),
    **_within("single_layers.#.mlp.", "single_transformer_blocks.#.ff.", _GATED),
    **_within("", "", {
        "cond_seq_linear": "context_embedder",
        "init_x_linear": "pos_embed.proj",
        "t_embedder.mlp.0": "time_step_proj.linear_1",
        "t_embedder.mlp.2": "time_step_proj.linear_2",
        "final_linear": "proj_out",
        "modF.1": "norm_out.linear",
    }),
}  # fmt: skip
