"""The tokenizer of pocket-flow, Qwen's with a vocabulary of whole words, and its small Qwen 3 text encoder."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTokenizer, Qwen2Tokenizer, Qwen3Config, Qwen3Model

from .text import byte_letters, known_words, merge_words

_START, _END, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_SPACE = "Ġ"
CHAT = (
    "{%- for m in messages %}"
    "{%- set text = (m['content'] if m['content'] is string else m['content'][0]['text']) | trim | lower -%}"
    "{{ '<|im_start|>' + (' ' + text if text else '') + '<|im_end|>' }}"
    "{%- endfor %}"
)
"""The chat template: no roles, small letters, and a space before every word, so that all words are alike."""
READER_LAYERS = 2
"""Trained layers of the text encoder. Z-Image takes the states before the last layer: an export has one more."""


def build_chat_tokenizer() -> Qwen2Tokenizer:
    """Return a Qwen tokenizer with one token for every known word; letters are tokens too, as in `text`."""
    tokens, merges = merge_words(byte_letters(), [[_SPACE, *word] for word in known_words()])
    vocabulary = {token: index for index, token in enumerate([*dict.fromkeys(tokens), _START, _END, _PAD])}
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, additional_special_tokens=[_START, _END], chat_template=CHAT,
        model_max_length=512,
    )  # fmt: skip


def token_table(pocket: CLIPTokenizer, chat: Qwen2Tokenizer) -> Tensor:
    """Return the number in `chat` of each token of pocket's; letters, which no caption has, become padding."""
    theirs, ours = pocket.get_vocab(), chat.get_vocab()
    table = torch.full((len(theirs),), ours[_PAD])
    table[pocket.bos_token_id], table[pocket.eos_token_id] = ours[_START], ours[_END]
    for word in known_words():
        table[theirs[f"{word}</w>"]] = ours[_SPACE + word]
    return table


def new_reader(tokenizer: Qwen2Tokenizer, width: int, layers: int = READER_LAYERS) -> Qwen3Model:
    """Return an untrained text encoder.

    Its last norm stays as it is: the transformer's first step with texts is the same norm again, so that states after
    it, in training, and before it, in the pipeline, are the same to the transformer.
    """
    made = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 64,
            head_dim=64,
            max_position_embeddings=512,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    made.norm.requires_grad_(False)
    return made
