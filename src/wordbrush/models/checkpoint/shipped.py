"""The text encoder and the tokenizer of the shipped model without transformers, whose import takes a second.

Both are stand-ins for CLIPTextModel and CLIPTokenizer with what an edit needs of them, and give the same bits. They are
for the files that are shipped and for no other checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from wordbrush.models.checkpoint.layout import read_json
from wordbrush.models.checkpoint.networks import check_loaded, load_network, translated

__all__ = ["ShippedText", "ShippedTokenizer", "load_shipped", "load_shipped_tokenizer"]

_TABLES = ("token", "position")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


class ShippedText(nn.Module):
    """CLIP's text model (Radford et al. 2021): layers with the norm first, causal attention, quick GELU, a last norm.

    Args:
        config: contents of `text_encoder/config.json`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        rows = (config["vocab_size"], config["max_position_embeddings"])
        self.embeddings = nn.ModuleDict(
            {f"{name}_embedding": nn.Embedding(count, width) for name, count in zip(_TABLES, rows, strict=True)}
        )

        def layer() -> nn.ModuleDict:
            attention = nn.ModuleDict({name: nn.Linear(width, width) for name in _PROJECTIONS})
            mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})
            norms = {f"layer_norm{place}": nn.LayerNorm(width, eps=eps) for place in (1, 2)}
            return nn.ModuleDict({"self_attn": attention, "mlp": mlp, **norms})

        self._layers: list[Any] = [layer() for _ in range(config["num_hidden_layers"])]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(self._layers)})
        self.final_layer_norm = nn.LayerNorm(width, eps=eps)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.final_layer_norm.weight.dtype

    def get_input_embeddings(self) -> Any:
        """Return the table of tokens."""
        return self.embeddings["token_embedding"]

    def forward(self, input_ids: Tensor, attention_mask: None = None, **_: Any) -> SimpleNamespace:
        """Encode tokens, (batch, token), all of which count.

        Returns:
            `last_hidden_state`, (batch, token, width), and `hidden_states`, what goes into each layer and comes out of
            the last.
        """
        tokens, places = (self.embeddings[f"{name}_embedding"] for name in _TABLES)
        states = [tokens(input_ids) + places(torch.arange(input_ids.shape[1], device=input_ids.device)[None])]
        for layer in self._layers:
            x = states[-1] + self._attend(layer["self_attn"], layer["layer_norm1"](states[-1]))
            inner = layer["mlp"]["fc1"](layer["layer_norm2"](x))
            states.append(x + layer["mlp"]["fc2"](inner * torch.sigmoid(1.702 * inner)))
        return SimpleNamespace(last_hidden_state=self.final_layer_norm(states[-1]), hidden_states=tuple(states))

    def _attend(self, part: Any, x: Tensor) -> Tensor:
        heads = self.config.num_attention_heads
        query, key, value = (part[name](x).unflatten(-1, (heads, -1)).transpose(1, 2) for name in _PROJECTIONS[:3])
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: Tensor = part["out_proj"](mixed.transpose(1, 2).flatten(2))
        return attended


class ShippedTokenizer:
    """CLIP's tokenizer from `tokenizer.json`, which was taught no words of learnt embeddings.

    Args:
        folder: `tokenizer` of the shipped model.
    """

    def __init__(self, folder: Path) -> None:
        settings = read_json(folder / "tokenizer_config.json", str(folder))
        self.model_max_length = int(settings["model_max_length"])
        self.all_special_tokens = [settings[f"{name}_token"] for name in ("bos", "eos", "pad", "unk")]
        self._pad = settings["pad_token"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def __call__(
        self,
        texts: Sequence[str],
        *,
        padding: str | None = None,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> SimpleNamespace:
        """Turn texts into `input_ids` and `attention_mask`, as CLIPTokenizer does."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if truncation:
            self._tokenizer.enable_truncation(max_length or self.model_max_length)
        if padding == "max_length":
            self._tokenizer.enable_padding(pad_id=self.get_vocab()[self._pad], pad_token=self._pad, length=max_length)
        read = self._tokenizer.encode_batch(list(texts))
        rows: list[Any] = [[one.ids for one in read], [one.attention_mask for one in read]]
        if return_tensors == "pt":
            rows = [torch.tensor(row) for row in rows]
        return SimpleNamespace(input_ids=rows[0], attention_mask=rows[1])

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens with their numbers."""
        return dict(self._tokenizer.get_vocab())

    def get_added_vocab(self) -> dict[str, int]:
        """Return the tokens that stand for themselves, with their numbers."""
        return {token.content: number for number, token in self._tokenizer.get_added_tokens_decoder().items()}


def load_shipped(
    library: str, kind: str, folder: Path, name: str, variant: str | None, dtype: torch.dtype, where: str
) -> tuple[Any, tuple[str, ...]]:
    """Load a network of the shipped model, its text encoder without transformers; else as `load_network`."""
    if library != "transformers":
        return load_network(library, kind, folder, name, variant, dtype, where)
    with translated(f"{where}: {name} cannot be loaded", "; the shipped files are damaged: install wordbrush again"):
        config = read_json(folder / name / "config.json", where)
        module = ShippedText(config)  # not on device meta, whose random numbers would import torch's compiler
        weights = load_file(folder / name / "model.safetensors")
        module.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, assign=True)
    return check_loaded(module, f"{where}: {name}"), ()


def load_shipped_tokenizer(folder: Path, where: str) -> ShippedTokenizer:
    """Load the tokenizer of the shipped model.

    Raises:
        ModelError: a file is missing or damaged.
    """
    with translated(f"{where}: the tokenizer cannot be loaded", "; the shipped files are damaged"):
        return ShippedTokenizer(folder)
