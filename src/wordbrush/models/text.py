"""Prompts through CLIP: what diffusers' `encode_prompt` computes, and an account of the words that get lost."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import check_items
from wordbrush.errors import InputError, ModelError, SettingsError
from wordbrush.models.addons.embeddings import learnt_words
from wordbrush.models.codec import evaluating
from wordbrush.models.model import Canvas, Prompt, UnknownWord
from wordbrush.texts import check_text

__all__ = ["EMBEDDING", "MAX_CHARACTERS", "ClipText"]

EMBEDDING = "encoder_hidden_states"
"""The name of the text embedding in a conditioning, (batch, token, width)."""

MAX_CHARACTERS = 2_000
"""Longest prompt accepted. CLIP reads about a tenth of it."""

_NEAR = 3
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


class ClipText:
    """A CLIP text encoder and its tokenizer. Each text is encoded by itself.

    Args:
        tokenizer: a CLIPTokenizer.
        encoder: a CLIPTextModel.
        device: where the encoder runs.
        words: the words the model was taught, in lower case; empty when that is not known.
        convert: applied to a text first; pipelines expand the names of learnt embeddings this way.

    Raises:
        ModelError: the tokenizer has tokens that the encoder has no embedding for.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        device: torch.device,
        words: Sequence[str] = (),
        convert: Callable[[str], str] | None = None,
    ) -> None:
        rows = encoder.get_input_embeddings().num_embeddings
        if len(tokenizer) > rows:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} tokens and the text encoder embeds {rows}: they belong to "
                "different models, give the tokenizer of this one"
            )
        self.tokenizer, self.encoder, self.device = tokenizer, encoder, device
        self.words = frozenset(words)
        self._convert = convert or (lambda text: text)
        self.limit = min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself; these models take no canvas.

        Raises:
            InputError: a text is not text, or longer than 2,000 characters.
            SettingsError: `clip_skip` is negative or leaves no layer.
            NotFiniteError: the encoder overflowed.
        """
        layers = int(self.encoder.config.num_hidden_layers)
        if not 0 <= clip_skip < layers:
            raise SettingsError(f"clip skip {clip_skip} is outside 0 to {layers - 1}: this encoder has {layers} layers")
        return [self._prompt(text, clip_skip) for text in texts]

    def _prompt(self, text: str, clip_skip: int) -> Prompt:
        check_text(text, "prompt")
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"the prompt is {len(text)} characters long; at most {MAX_CHARACTERS} are accepted")
        converted = self._convert(text)
        embedding = check_items(self._embed(converted, clip_skip), "the text encoder")
        return Prompt(text, Conditioning({EMBEDDING: embedding}), self._dropped(converted), self._unknown(text))

    def _embed(self, text: str, clip_skip: int) -> Tensor:
        tokens = self.tokenizer(
            [text], padding="max_length", max_length=self.limit, truncation=True, return_tensors="pt"
        )
        mask = None
        if getattr(self.encoder.config, "use_attention_mask", False):
            mask = tokens.attention_mask.to(self.device)
        with torch.no_grad(), evaluating(self.encoder):
            output = self.encoder(
                tokens.input_ids.to(self.device), attention_mask=mask, output_hidden_states=clip_skip > 0
            )
            if clip_skip == 0:
                embedding: Tensor = output.last_hidden_state
                return embedding
            # transformers 5.6 and later have no text_model inside a CLIPTextModel.
            inner = getattr(self.encoder, "text_model", self.encoder)
            normed: Tensor = inner.final_layer_norm(output.hidden_states[-(clip_skip + 1)])
            return normed

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer([text], truncation=False, verbose=False).input_ids[0])

    def _dropped(self, text: str) -> tuple[str, ...]:
        """Return the words that do not fit, the one that is cut included, by counting the tokens up to each word."""
        if self._tokens(text) <= self.limit:
            return ()
        spans = list(re.finditer(r"\S+", text))
        fitting = bisect_left(spans, True, key=lambda span: self._tokens(text[: span.end()]) > self.limit)
        return tuple(span.group() for span in spans[fitting:])

    def _unknown(self, text: str) -> tuple[UnknownWord, ...]:
        if not self.words:
            return ()
        for word in sorted(learnt_words(self.tokenizer), key=len, reverse=True):
            text = re.sub(re.escape(word), " ", text, flags=re.IGNORECASE)
        unknown = dict.fromkeys(word for word in _WORD.findall(text) if word.lower() not in self.words)
        pool = sorted(self.words)
        return tuple(UnknownWord(word, tuple(get_close_matches(word.lower(), pool, n=_NEAR))) for word in unknown)
