"""The two networks that are trained together, and how they start from an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .text import build_tokenizer, new_text_encoder
from .truth_head import TruthHead
from .unet import TEXT_WIDTH, new_unet


class Denoiser(nn.Module):
    """The denoiser and its text encoder, with the truth head beside them."""

    def __init__(self, folder: Path, widths: tuple[int, ...], layers: int, channels: int = 16) -> None:
        """Build untrained networks for latents of `channels`; the tokenizer's files are written under `folder`."""
        super().__init__()
        self.tokenizer = build_tokenizer(folder / "vocabulary")
        self.text = new_text_encoder(self.tokenizer, TEXT_WIDTH)
        self.unet = new_unet(widths, layers, channels).to(memory_format=torch.channels_last)
        self.head = TruthHead(self.unet)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.unet.config.in_channels)

    def forward(self, noised: Tensor, level: Tensor, tokens: Tensor, truth: bool = False) -> Any:
        """Return the predicted v, and with `truth` the head's logits too.

        Latents are (batch, channel, 16, 16), levels (batch,), tokens (batch, MAX_LENGTH).
        """
        self.head.listening = truth
        states = self.text(tokens).last_hidden_state
        made = self.unet(noised, level, states).sample
        return (made, self.head()) if truth else made


def warm_start(model: Denoiser, folder: Path) -> None:
    """Start from an exported model of the same widths, which may have other latent channels and other words.

    The denoiser keeps every weight but, for other channels, its first and last convolution. The text encoder keeps the
    vector of every token that both vocabularies hold, and the positions that both have.
    """
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    weights = unet.state_dict()
    if unet.config.in_channels != model.channels:
        ends = ("conv_in.", "conv_out.")
        weights |= {name: kept for name, kept in model.unet.state_dict().items() if name.startswith(ends)}
    model.unet.load_state_dict(weights)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    old, new = text.state_dict(), model.text.state_dict()
    for name, kept in new.items():
        if name.endswith("token_embedding.weight"):
            here, there = model.tokenizer.get_vocab(), tokenizer.get_vocab()
            shared = sorted(here.keys() & there.keys())
            kept[[here[token] for token in shared]] = old[name][[there[token] for token in shared]]
        elif name.endswith("position_embedding.weight"):
            length = min(len(kept), len(old[name]))
            kept[:length] = old[name][:length]
        elif not name.endswith("position_ids"):
            kept.copy_(old[name])
    model.text.load_state_dict(new)
