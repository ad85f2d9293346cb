"""Tokenizers of the families in miniature: real classes over vocabularies of single characters, built offline."""

from __future__ import annotations

import string
from typing import Any

from tests.support import tiny

__all__ = ["CHAT", "SENTENCE_PIECES", "chat_tokenizer", "clip_tokenizer", "sentence_tokenizer"]

CHAT = (
    "{%- for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'] if m['content'] is string else m['content'][0]['text'] }}{{ '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
"""A chat template with turns, a generation prompt and a switch for thinking, as Qwen's have."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
SENTENCE_PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
SENTENCE_PIECES += [(letter, -3.0) for letter in string.ascii_letters + string.digits + string.punctuation]


def clip_tokenizer() -> Any:
    """Return CLIP's."""
    return tiny.tokenizer()


def sentence_tokenizer() -> Any:
    """Return T5's, over single characters; it ends every text with </s>."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=SENTENCE_PIECES, extra_ids=0, model_max_length=512)


def chat_tokenizer() -> Any:
    """Return Qwen's, over single bytes, with a chat template."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    table = {token: index for index, token in enumerate([*sorted(ByteLevel.alphabet()), *_SPECIAL])}
    return Qwen2Tokenizer(
        vocab=table,
        merges=[],
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHAT,
        model_max_length=1024,
    )
