"""Tensor names of the original Stable Diffusion repositories, for writing tiny single-file checkpoints.

The layout follows from how the original UNet counts its blocks: one running number over residual blocks and
downsamplers, another over residual blocks of the way up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
}


def _resnet(rest: str) -> str:
    head, tail = rest.split(".", 1)
    return f"{_RESNET[head]}.{tail}"


def _unet_name(name: str, layers: int, up_has_attention: list[bool]) -> str:
    for ours, theirs in _TOP.items():
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    if found:
        way, block, part, index, rest = found.groups()
        number = int(block) * (layers + 1) + int(index)
        if way == "down":
            number += 1
            if part == "downsamplers":
                return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
            prefix = f"input_blocks.{number}"
        else:
            if part == "upsamplers":
                place = 2 if up_has_attention[int(block)] else 1
                return f"output_blocks.{int(block) * (layers + 1) + layers}.{place}.{rest}"
            prefix = f"output_blocks.{number}"
        return f"{prefix}.0.{_resnet(rest)}" if part == "resnets" else f"{prefix}.1.{rest}"
    middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if middle is None:
        raise AssertionError(name)
    part, index, rest = middle.groups()
    return f"middle_block.{2 * int(index)}.{_resnet(rest)}" if part == "resnets" else f"middle_block.1.{rest}"


def _vae_name(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"mid_block.attentions.0.{ours}", f"mid.attn_1.{theirs}")
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    up = re.match(r"(.*)up_blocks\.(\d+)\.(.*)", name)
    if up:
        rest = up[3].replace("resnets.", "block.").replace("upsamplers.0.", "upsample.")
        name = f"{up[1]}up.{blocks - 1 - int(up[2])}.{rest}"
    return name


def vae_state(vae: Any) -> Iterator[tuple[str, Tensor]]:
    blocks = len(vae.config.block_out_channels)
    for name, value in vae.state_dict().items():
        theirs = _vae_name(name, blocks)
        convolution = "mid.attn_1" in theirs and value.ndim == 2
        yield theirs, value[:, :, None, None] if convolution else value


def open_clip_state(encoder: Any) -> Iterator[tuple[str, Tensor]]:
    state = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    names = {"embeddings.token_embedding.weight": "token_embedding.weight"}
    names |= {"embeddings.position_embedding.weight": "positional_embedding"}
    names |= {f"final_layer_norm.{end}": f"ln_final.{end}" for end in ("weight", "bias")}
    for ours, theirs in names.items():
        yield theirs, state[ours]
    projection = state.get("text_projection.weight")
    yield "text_projection", torch.eye(encoder.config.hidden_size) if projection is None else projection.T
    for index in range(encoder.config.num_hidden_layers):
        own, other = f"encoder.layers.{index}.", f"transformer.resblocks.{index}."
        for end in ("weight", "bias"):
            parts = [state[f"{own}self_attn.{part}_proj.{end}"] for part in "qkv"]
            yield f"{other}attn.in_proj_{end}", torch.cat(parts)
            yield f"{other}attn.out_proj.{end}", state[f"{own}self_attn.out_proj.{end}"]
            for ours, theirs in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2")):
                yield f"{other}{theirs}.{end}", state[f"{own}{ours}.{end}"]
            for ours, theirs in (("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                yield f"{other}{theirs}.{end}", state[f"{own}{ours}.{end}"]


def unet_state(unet: Any) -> dict[str, Tensor]:
    """Return all tensors of a UNet under their original names."""
    attention = ["CrossAttn" in block for block in unet.config.up_block_types]
    layers = unet.config.layers_per_block
    return {_unet_name(name, layers, attention): value for name, value in unet.state_dict().items()}


def original_state(unet: Any, vae: Any, encoder: Any, kind: str) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint under their original names; `kind` is `sd1` or `sd2`."""
    state = {f"model.diffusion_model.{name}": value for name, value in unet_state(unet).items()}
    state |= {f"first_stage_model.{name}": value for name, value in vae_state(vae)}
    if kind == "sd2":
        state |= {f"cond_stage_model.model.{name}": value for name, value in open_clip_state(encoder)}
    else:
        inner = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
        state |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in inner.items()}
    return {name: value.clone().contiguous() for name, value in state.items()}
