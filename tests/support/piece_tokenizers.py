"""More tokenizers in miniature, over single bytes and characters: Gemma's, Llama's, and one of no model's own class."""

from __future__ import annotations

import string
from typing import Any

__all__ = ["byte_tokenizer", "gemma_tokenizer", "llama_tokenizer"]


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
