"""The names that a UNet's layers have in the original Stable Diffusion, which some programs write into LoRA files."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["original_key"]

_TOP = {
    "conv_in": "input_blocks_0_0",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "conv_norm_out": "out_0",
    "conv_out": "out_2",
}
_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.+)")
_MIDDLE = re.compile(r"mid_block_(resnets|attentions)_(\d+)_(.+)")


def original_key(key: str, config: Any) -> str | None:
    """Return a layer's original name for its name in diffusers, both with underscores; None where it has none.

    The original counts its blocks through: the input, then on the way down `layers_per_block` blocks and a downsampler
    a level, and on the way up one block more a level.

    Args:
        key: the name in a UNet2DConditionModel.
        config: of that UNet.
    """
    if key in _TOP:
        return _TOP[key]
    if found := _MIDDLE.fullmatch(key):
        part, index, rest = found.groups()
        if part == "attentions":
            return f"middle_block_1_{rest}"
        return f"middle_block_{2 * int(index)}_{_RESNET.get(rest)}"
    found = _BLOCK.fullmatch(key)
    layers = getattr(config, "layers_per_block", None)
    if found is None or not isinstance(layers, int):
        return None
    way, level, part, index, rest = found.groups()
    first, number = int(level) * (layers + 1), int(index)
    if part == "downsamplers":
        return f"input_blocks_{first + layers + 1}_0_op"
    if part == "upsamplers":
        attends = "Attn" in config.up_block_types[int(level)]
        return f"output_blocks_{first + layers}_{2 if attends else 1}_{rest}"
    block = f"input_blocks_{first + number + 1}" if way == "down" else f"output_blocks_{first + number}"
    return f"{block}_1_{rest}" if part == "attentions" else f"{block}_0_{_RESNET.get(rest)}"
