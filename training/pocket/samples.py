"""Sample sheets: pictures of fixed captions and fixed noise, to be looked at while the model trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .autoencoder import load_vae
from .denoiser import Denoiser
from .precision import autocast
from .store import write_sheet
from .text import token_ids
from .unet import new_scheduler

CAPTIONS = (
    "a zebra on grass", "a strawberry on a wooden floor", "a red car on a road", "a fox on snow",
    "a dog and a cat on sand", "a panda on the moon", "a blue ball on water", "a cake on a pink table",
    "a horse on grass at night", "a green bus on snow", "a house on grass", "a cactus on sand",
    "an owl and a pumpkin on grass", "a penguin on snow at night", "a robot on the moon", "a purple shirt",
    "a cow on sand", "a pig on grass", "a banana on a pink table", "a watermelon on water",
    "a yellow car and a tree on a road", "a lion on a wooden floor", "a castle on grass", "a turtle on water at night",
)  # fmt: skip
"""Captions of the sheet, in rows of eight."""


@torch.no_grad()
def generate(model: Denoiser, texts: list[str], seed: int, steps: int = 16, guidance: float = 4.0) -> Tensor:
    """Return latents (batch, channel, 16, 16) drawn with DDIM and classifier-free guidance."""
    scheduler = new_scheduler()
    scheduler.set_timesteps(steps)
    device = model.unet.device
    shape = (len(texts), model.channels, 16, 16)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    tokens = token_ids(model.tokenizer, [*texts, *[""] * len(texts)]).to(device)
    states = model.text(tokens).last_hidden_state
    for level in scheduler.timesteps:
        with autocast(device):
            both = model.unet(torch.cat([latents, latents]), level, states).sample.float()
        told, plain = both[: len(texts)], both[len(texts) :]
        latents = scheduler.step(plain + guidance * (told - plain), level, latents).prev_sample
    return latents


@torch.no_grad()
def sample_sheet(
    model: Any,
    vae_weights: Path,
    path: Path,
    count: int = 16,
    seed: int = 3,
    generate: Callable[[Any, list[str], int], Tensor] = generate,
) -> None:
    """Draw the first `count` of `CAPTIONS` and write them as one PNG, eight a row."""
    vae = load_vae(vae_weights)
    scale = float(json.loads(vae_weights.with_suffix(".json").read_text())["scaling_factor"])
    latents = generate(model, list(CAPTIONS[:count]), seed).cpu() / scale
    with autocast(torch.device("cpu")):
        pictures = torch.cat([vae.decode(latents[i : i + 8]).sample.float() for i in range(0, len(latents), 8)])
    write_sheet([pictures[i : i + 8] for i in range(0, len(pictures), 8)], path)
