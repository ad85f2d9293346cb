"""Tokenizers of the families in miniature: real classes over vocabularies of single characters, built offline."""

from __future__ import annotations

import string
from typing import Any

from tests.support import tiny

__all__ = [
    "CHAT",
    "SENTENCE_PIECES",
    "byte_tokenizer",
    "chat_tokenizer",
    "clip_tokenizer",
    "gemma_tokenizer",
    "llama_tokenizer",
    "sentence_tokenizer",
]

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


def _pieces(*special: str) -> dict[str, int]:
    """Return a vocabulary of single bytes and characters after the special tokens, as SentencePiece models have."""
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    letters += list("▁" + string.ascii_letters + string.digits + string.punctuation)
    return {token: index for index, token in enumerate([*special, *letters])}


def gemma_tokenizer() -> Any:
    """Return Gemma's, over single characters; it begins every text with <bos>."""
    from tokenizers import processors
    from transformers import GemmaTokenizer

    built = GemmaTokenizer(vocab=_pieces("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"), merges=[])
    built.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return built


def llama_tokenizer() -> Any:
    """Return Llama's, over single characters."""
    from transformers import LlamaTokenizer

    built = LlamaTokenizer(vocab=_pieces("<unk>", "<s>", "</s>"), merges=[], model_max_length=512)
    built.pad_token = built.eos_token
    return built


def byte_tokenizer() -> Any:
    """Return one of no model's own class, over single bytes, padded on the left, with a token ahead, as GLM's is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("<unk>", "<s>", "</s>", "<pad>")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    table = {token: index for index, token in enumerate([*special, *letters])}
    backend = Tokenizer(models.BPE(vocab=table, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    roles = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **roles)
