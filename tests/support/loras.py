"""LoRA files for the tiny Stable Diffusion 1: layers of each kind, factors, and the model that a file means."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support import tiny
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.models import Model, load_model
from wordbrush.models.text import EMBEDDING

State = dict[str, Tensor]
Change = Callable[[Tensor], Tensor]

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
"""A linear layer, 64 x 64."""
V = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
"""One that reads the text, 64 x 32."""
CONV = "down_blocks.0.resnets.1.conv2"
"""A convolution, 32 x 32 x 3 x 3."""
POINT = "mid_block.attentions.0.proj_in"
"""A 1 x 1 convolution, 64 x 64."""
FC = "encoder.layers.1.mlp.fc1"
"""A linear layer of the text encoder, 64 x 32."""
NORM = "mid_block.resnets.0.norm1"


def trainer(path: str, start: str = "lora_unet_") -> str:
    return start + path.replace(".", "_")


def random(*shape: int, seed: int = 0, size: float = 0.5) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(100 * seed + sum(shape)))


def output(model: Model) -> Tensor:
    x = torch.randn(1, tiny.CHANNELS, 16, 16, generator=torch.Generator().manual_seed(4))
    words: Tensor = model.text.encode(["a blue dog"])[0].conditioning[EMBEDDING]
    return model.denoiser(x, model.schedule.level(0.4), Conditioning({EMBEDDING: words})).eps


def save(path: Path, state: State, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path, metadata)
    return path


def meant(changes: dict[str, Change], scale: float = 1.0) -> Tensor:
    """Return the output of the model whose parameters p are p + scale * (change(p) - p)."""
    unet, encoder = tiny.unet(), tiny.text_encoder()
    own = {**{f"te.{n}": p for n, p in encoder.named_parameters()}, **dict(unet.named_parameters())}
    with torch.no_grad():
        for name, change in changes.items():
            own[name].copy_(own[name] + scale * (change(own[name]) - own[name]))
    return output(load_model(tiny.pipeline(unet=unet, text_encoder=encoder)))


def pair(rank: int, layer: str = Q, seed: int = 0) -> tuple[Tensor, Tensor]:
    shape = {Q: (64, 64), V: (64, 32), FC: (64, 32), POINT: (64, 64)}[layer]
    return random(rank, shape[1], seed=seed), random(shape[0], rank, seed=seed + 1)


A, B = f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight"
GOOD: State = {A: random(2, 64), B: random(64, 2)}
STEM = trainer(Q)
NAN, INF = torch.full((), math.nan), torch.full((), math.inf)
