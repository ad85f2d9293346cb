"""The tokenizer of the pocket model: CLIP's, with a vocabulary of whole words, and the small text encoder.

Every letter is a token too, so a word outside the vocabulary falls to pieces instead of vanishing: a caption is
understood in full exactly when it has as many tokens as words.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .captions import captions
from .scenes import sample_scene
from .words import COLOURS, GROUND_PHRASES, NOUNS

MAX_LENGTH = 32
_START, _END = "<|startoftext|>", "<|endoftext|>"


def known_words() -> list[str]:
    """Return every word that captions use, sorted."""
    words = set(NOUNS) | set(COLOURS)
    for phrase in GROUND_PHRASES.values():
        words.update(phrase.split())
    for count in (0, 1, 2):
        for index in range(400):
            for text in captions(sample_scene(index, "train", count)):
                words.update(text.split())
    return sorted(words)


def byte_letters() -> list[str]:
    """Return the 256 characters that byte-level BPE writes bytes with."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(rest))]


def _split(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Join the pieces of a word as byte-level BPE does: apply the merges in order of rank."""
    for first, second in merges:
        joined: list[str] = []
        for piece in pieces:
            if joined and joined[-1] == first and piece == second:
                joined[-1] = first + second
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def merge_words(tokens: list[str], words: list[list[str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the tokens with those that join each word's letters added, and the merges that keep every word whole.

    Each word in turn is split by the merges so far and its pieces are joined by new ones, left to right. New merges
    rank below the old, so words that were already whole stay whole.
    """
    tokens = [*tokens]
    merges: list[tuple[str, str]] = []
    for letters in words:
        pieces = _split(letters, merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            tokens.append(pieces[0] + pieces[1])
            pieces = _split(letters, merges)
    return tokens, merges


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt that keep every known word whole, and return the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [token for letter in byte_letters() for token in (letter, f"{letter}</w>")]
    tokens, merges = merge_words(letters, [[*word[:-1], f"{word[-1]}</w>"] for word in known_words()])
    vocabulary = {token: index for index, token in enumerate([*dict.fromkeys(tokens), _START, _END])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_LENGTH, pad_token=_END
    )


def new_text_encoder(tokenizer: CLIPTokenizer, width: int = 256, layers: int = 2) -> CLIPTextModel:
    """Return an untrained text encoder for the tokenizer."""
    end = int(tokenizer.convert_tokens_to_ids(_END))
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=width,
            bos_token_id=int(tokenizer.convert_tokens_to_ids(_START)),
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Return token numbers (batch, MAX_LENGTH)."""
    made = tokenizer(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
    ids: Tensor = made["input_ids"].to(torch.long)
    return ids
