"""Tokenizers of the families in miniature: real classes over vocabularies of single characters, built offline."""

from __future__ import annotations

import string
from typing import Any

from tests.support import tiny

__all__ = ["CHAT", "SENTENCE_PIECES", "chat_tokenizer", "clip_tokenizer", "instruct_tokenizer", "sentence_tokenizer"]

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

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "assistant")
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
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "assistant"],
        chat_template=CHAT,
        model_max_length=1024,
    )


_INSTRUCT = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]")
_INSTRUCT_CHAT = (
    "{{ bos_token }}{%- for m in messages %}"
    "{{ '[SYSTEM_PROMPT]' if m['role'] == 'system' else '[INST]' }}{{ m['content'][0]['text'] }}"
    "{{ '[/SYSTEM_PROMPT]' if m['role'] == 'system' else '[/INST]' }}{%- endfor %}"
)


def instruct_tokenizer() -> Any:
    """Return Mistral's, over single bytes; it begins every text with <s>, and so does its chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    named = ("<unk>", "<s>", "</s>", "<pad>", *_INSTRUCT)
    table = {token: index for index, token in enumerate([*named, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    plain = Tokenizer(models.BPE(vocab=table, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    roles = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), named, strict=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        additional_special_tokens=list(_INSTRUCT),
        chat_template=_INSTRUCT_CHAT,
        model_max_length=1024,
        **roles,
    )


def chat_processor() -> Any:
    """Return a Qwen3VLProcessor of its tokenizer alone: its picture side wants torchvision, which texts do not."""
    from transformers import Qwen3VLProcessor as Whole

    class Qwen3VLProcessor(Whole):  # type: ignore[misc]
        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer = tokenizer

        def __call__(self, text: list[str], **how: Any) -> Any:
            return self.tokenizer(text, **how)

        def apply_chat_template(self, messages: Any, **_: Any) -> list[list[int]]:
            system = messages[0]["content"][0]["text"]
            return [list(self.tokenizer(f"<|im_start|>system\n{system}<|im_end|>\n").input_ids)]

        def save_pretrained(self, folder: Any, **_: Any) -> None:
            self.tokenizer.save_pretrained(folder)

    Qwen3VLProcessor.__module__ = Whole.__module__
    return Qwen3VLProcessor(chat_tokenizer())
