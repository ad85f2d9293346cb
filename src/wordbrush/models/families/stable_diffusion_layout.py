"""Tensor names of single-file checkpoints in the wild: which parts a file holds, and under which names.

A part is found by tensors that it cannot be without, whatever their names begin with, so that the text encoder without
`text_model.`, a wrapper's `module.` or `state_dict.`, and the prefixes of other programs all load. The names that come
out are those of the original Stable Diffusion, which diffusers converts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.autoencoder import find_vae
from wordbrush.models.header import TensorEntry

__all__ = ["Layout", "TextStyle", "find_unet", "layout_of"]

Tensors = Mapping[str, TensorEntry]
TextStyle = Literal["clip", "open_clip"]

UNET = "model.diffusion_model."
CLIP = "cond_stage_model.transformer.text_model."
OPEN_CLIP = "cond_stage_model.model."

_ORIGINAL = re.compile(r"((?:.*\.)?)input_blocks\.0\.0\.weight")
_DIFFUSERS = re.compile(r"((?:.*\.)?)time_embedding\.linear_1\.weight")
_FLAT = re.compile(r"((?:.*\.)?model_ema\.(?:model)?diffusion_model)input_blocks00weight")
_CLIP_FIRST = re.compile(r"((?:.*\.)?)embeddings\.token_embedding\.weight")
_OPEN_CLIP_FIRST = re.compile(r"((?:.*\.)?)(?<!embeddings\.)token_embedding\.weight")
_CLIP_PARTS = ("embeddings.", "encoder.", "final_layer_norm.")
_OPEN_CLIP_PARTS: tuple[str, ...] = ("transformer.resblocks.", "token_embedding.", "positional_embedding", "ln_final.")
_OPEN_CLIP_PARTS += ("text_projection",)

_TOP: tuple[str, ...] = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed", "out.", "label_emb.")
_TOP += ("down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "conv_norm_out.", "class_embedding.")
"""What the names of a UNet alone begin with."""

_WORDS = "input_blocks middle_block output_blocks time_embed label_emb in_layers emb_layers out_layers skip_connection"
_WORDS += " transformer_blocks attn1 attn2 norm1 norm2 norm3 to_q to_k to_v to_out proj_in proj_out proj ff net op conv"
_WORDS += " norm out weight bias"
_PIECE = re.compile(
    r"(input_blocks|output_blocks)(\d+)(\d)|(\d)|" + "|".join(sorted(_WORDS.split(), key=len, reverse=True))
)


@dataclass(frozen=True)
class Layout:
    """Where the parts of a checkpoint lie in a file.

    Attributes:
        unet: name as diffusers converts it -> name in the file.
        text: the same of the text encoder.
        style: whose names the text encoder has.
        vae: what the autoencoder's names begin with, or None where there is none.
        notes: what a user should know.
    """

    unet: Mapping[str, str]
    text: Mapping[str, str]
    style: TextStyle
    vae: str | None
    notes: tuple[str, ...] = ()


def find_unet(tensors: Tensors) -> Mapping[str, str]:
    """Return the UNet in a file, as name that diffusers reads -> name in the file; empty where there is none.

    Weights as trained come before their moving averages (EMA), under whatever names.
    """
    plain = [name for name in tensors if "model_ema." not in name]
    for names in (plain, list(tensors)):
        for prefix in _prefixes(_ORIGINAL, names):
            if len(tensors[f"{prefix}input_blocks.0.0.weight"].shape) == 4:
                return {UNET + name.removeprefix(prefix): name for name in names if name.startswith(prefix or _TOP)}
        for prefix in _prefixes(_DIFFUSERS, names):
            return {name.removeprefix(prefix): name for name in names if name.startswith(prefix or _TOP)}
    for prefix in _prefixes(_FLAT, tensors):
        return {UNET + _dotted(name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}
    return {}


def layout_of(tensors: Tensors, where: str, *, without_vae: bool = False) -> Layout:
    """Find the parts of a checkpoint.

    Args:
        tensors: of the file, by name.
        where: what to call it in messages.
        without_vae: the autoencoder comes from elsewhere, and may be missing.

    Raises:
        ModelError: a part is missing; the message says which are there and what to do.
    """
    unet, vae = find_unet(tensors), find_vae(tensors)
    texts = _text_encoders(tensors)
    if len(texts) > 1:
        raise ModelError(f"{where} holds {len(texts)} text encoders ({', '.join(prefix for prefix, _ in texts)})")
    if vae is None and not texts:
        raise ModelError(
            f"{where} is a UNet alone, without autoencoder (first_stage_model. is missing) and text encoder "
            "(cond_stage_model. is missing): use the full checkpoint, or a folder in diffusers layout"
        )
    if not texts:
        raise ModelError(
            f"{where} holds UNet and autoencoder, but no text encoder (cond_stage_model. is missing): use the full "
            "checkpoint"
        )
    if vae is None and not without_vae:
        raise ModelError(
            f"{where} holds UNet and text encoder, but no autoencoder (first_stage_model. is missing): give one with "
            "--vae (vae=), a folder in diffusers layout or a .safetensors file, or use the full checkpoint"
        )
    prefix, style = texts[0]
    parts, target = (_CLIP_PARTS, CLIP) if style == "clip" else (_OPEN_CLIP_PARTS, OPEN_CLIP)
    text = {
        target + name.removeprefix(prefix): name
        for name in tensors
        if name.startswith(prefix) and name.removeprefix(prefix).startswith(parts)
    }
    averages = any("model_ema." in name for name in unet.values())
    notes = (f"{where} holds the UNet as a moving average (EMA) only, which is used",) if averages else ()
    return Layout(unet, text, style, vae, notes)


def _prefixes(first: re.Pattern[str], names: Tensors | list[str]) -> list[str]:
    """Return what comes before a part's first tensor, the usual prefix first."""
    found = {match[1] for match in map(first.fullmatch, names) if match}
    return sorted(found, key=lambda prefix: (prefix != UNET, prefix))


def _text_encoders(tensors: Tensors) -> list[tuple[str, TextStyle]]:
    found: list[tuple[str, TextStyle]] = [(prefix, "clip") for prefix in _prefixes(_CLIP_FIRST, tensors)]
    others = (prefix for prefix in _prefixes(_OPEN_CLIP_FIRST, tensors) if f"{prefix}positional_embedding" in tensors)
    return [*found, *((prefix, "open_clip") for prefix in others)]


def _dotted(flat: str) -> str:
    """Give a name back the dots that a trainer's moving average dropped: input_blocks10in_layers0weight."""
    pieces = [match.group(1, 2, 3) if match[1] else (match[0],) for match in _PIECE.finditer(flat)]
    return ".".join(part for piece in pieces for part in piece)
