"""The rectified-flow transformer in the layout of Z-Image and its text encoder, trained together.

The forward pass here is the module's own for pictures of one size and texts of at most 32 tokens, in one batch: no
lists of pictures, no lengths to compare. Its parts are the module's own, so that what is learned is what is exported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen3Model

from .flow_text import READER_LAYERS, build_chat_tokenizer, new_reader, token_table
from .latents import SIDE
from .text import build_tokenizer
from .truth_head import CLASSES

PATCH = 2
HEADS = {"axes_dims": [16, 24, 24], "axes_lens": [128, 64, 64]}
"""Each head is 64 wide: 16 of them turn with the place of a word, 24 with the row and 24 with the column."""
TEXT_TOKENS = 32
"""Z-Image pads texts to multiples of this; pocket's captions have at most 25 tokens."""


def new_transformer(width: int, layers: int, channels: int) -> ZImageTransformer2DModel:
    """Return an untrained transformer: each block begins with a fifth of its answer, the last layer answers 0."""
    made = ZImageTransformer2DModel(
        in_channels=channels, dim=width, n_layers=layers, n_refiner_layers=1, n_heads=width // 64,
        n_kv_heads=width // 64, cap_feat_dim=width, **HEADS,
    )  # fmt: skip
    with torch.no_grad():
        for block in [*made.noise_refiner, *made.layers]:
            modulation = block.adaLN_modulation[0]
            modulation.weight.zero_()
            modulation.bias.copy_(torch.tensor([0.0, 0.2, 0.0, 0.2]).repeat_interleave(width))
        for ending in made.all_final_layer.values():
            for layer in (ending.adaLN_modulation[1], ending.linear):
                layer.weight.zero_()
                layer.bias.zero_()
    return made


class FlowTruthHead(nn.Module):
    """Predicts the class map, cell by cell, from the picture tokens after the middle block; it is not exported."""

    def __init__(self, width: int) -> None:
        """Build an untrained head for tokens of a width."""
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, PATCH**2 * CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of picture tokens (batch, token, width)."""
        return unpatched(self.layers(tokens), CLASSES)


class FlowDenoiser(nn.Module):
    """The transformer and its text encoder, with the truth head beside them.

    Captions come as tokens of pocket's tokenizer, as they are cached: `tokenizer`; `chat` is the one that is exported.
    """

    table: Tensor
    _turns: Tensor

    def __init__(self, folder: Path, width: int, layers: int, channels: int = 16) -> None:
        """Build untrained networks; the files of pocket's tokenizer are written under `folder`."""
        super().__init__()
        self.tokenizer, self.chat = build_tokenizer(folder / "vocabulary"), build_chat_tokenizer()
        self.text = new_reader(self.chat, width)
        self.transformer = new_transformer(width, layers, channels)
        self.head = FlowTruthHead(width)
        self.register_buffer("table", token_table(self.tokenizer, self.chat), persistent=False)
        # Words stand at 1 to 32 of the first axis, the picture at 33 of it; the other axes are row and column.
        words = torch.tensor([[1 + i, 0, 0] for i in range(TEXT_TOKENS)])
        cells = torch.tensor([[TEXT_TOKENS + 1, i, j] for i in range(SIDE // PATCH) for j in range(SIDE // PATCH)])
        turns = self.transformer.rope_embedder(torch.cat([cells, words]))
        self.register_buffer("_turns", turns[None], persistent=False)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.transformer.config.in_channels)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (batch, 32, width) of pocket's tokens (batch, 32), and which of them are text (batch, 32)."""
        end = tokens == self.tokenizer.eos_token_id
        present = end.cumsum(1) - end.long() == 0
        return self.text(input_ids=self.table[tokens]).last_hidden_state, present

    def forward(self, noised: Tensor, level: Tensor, tokens: Tensor, truth: bool = False) -> Any:
        """Return the network's answer, minus the velocity, and with `truth` the head's logits too.

        Latents are (batch, channel, 16, 16), flow times t (batch,) in 0 to 1, tokens of pocket (batch, 32).
        """
        net, (states, present) = self.transformer, self.read(tokens)
        told = net.t_embedder((1 - level) * net.t_scale)
        x = net.all_x_embedder["2-1"](patched(noised))
        count = x.shape[1]
        pictures, words = self._turns[:, :count], self._turns[:, count:]
        for block in net.noise_refiner:
            x = block(x, None, pictures, told)
        text = torch.where(present[..., None], net.cap_embedder(states), net.cap_pad_token)
        for block in net.context_refiner:
            text = block(text, None, words)
        x, logits = torch.cat([x, text], 1), None
        for index, block in enumerate(net.layers):
            x = block(x, None, self._turns, told)
            if truth and index == len(net.layers) // 2:
                logits = self.head(x[:, :count])
        made = unpatched(net.all_final_layer["2-1"](x[:, :count], c=told), self.channels)
        return (made, logits) if truth else made


def warm_start(model: FlowDenoiser, folder: Path) -> None:
    """Start from an exported model of the same width, depth, channels and words; the truth head begins anew."""
    model.transformer.load_state_dict(
        ZImageTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32).state_dict()
    )
    text = Qwen3Model.from_pretrained(folder / "text_encoder", dtype=torch.float32).state_dict()
    further = f"layers.{READER_LAYERS}."  # the layer that adds nothing
    model.text.load_state_dict({name: kept for name, kept in text.items() if not name.startswith(further)})


def patched(latents: Tensor) -> Tensor:
    """Return latents (batch, channel, row, column) as tokens (batch, token, cell of the patch and channel)."""
    batch, channels, high, wide = latents.shape
    cells = latents.view(batch, channels, high // PATCH, PATCH, wide // PATCH, PATCH)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, PATCH**2 * channels)


def unpatched(tokens: Tensor, channels: int) -> Tensor:
    """Undo `patched` for square latents."""
    batch, count, _ = tokens.shape
    side = round(count**0.5)
    cells = tokens.view(batch, side, side, PATCH, PATCH, channels)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, side * PATCH, side * PATCH)
