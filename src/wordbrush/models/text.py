"""Prompts through CLIP: what diffusers' `encode_prompt` computes, and an account of the words that get lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.addons.embeddings import learnt_words
from wordbrush.models.model import Canvas, Prompt
from wordbrush.models.precision import answered, evaluating
from wordbrush.models.words import MAX_CHARACTERS, check_prompt, dropped_words, unknown_words

__all__ = ["EMBEDDING", "ENCODER", "MAX_CHARACTERS", "ClipText"]

EMBEDDING = "encoder_hidden_states"
"""The name of the text embedding in a conditioning, (batch, token, width)."""

ENCODER = "the text encoder"
"""What messages call it."""


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
            NotFiniteError: the encoder overflowed, even in float32.
        """
        layers = int(self.encoder.config.num_hidden_layers)
        if not 0 <= clip_skip < layers:
            raise SettingsError(f"clip skip {clip_skip} is outside 0 to {layers - 1}: this encoder has {layers} layers")
        return [self._prompt(text, clip_skip) for text in texts]

    def _prompt(self, text: str, clip_skip: int) -> Prompt:
        converted = self._convert(check_prompt(text))
        notes = Notes()
        embedding = answered(self.encoder, lambda _: self._embed(converted, clip_skip), ENCODER, notes)
        dropped = dropped_words(converted, self._tokens, self.limit)
        unknown = unknown_words(text, self.words, learnt_words(self.tokenizer))
        return Prompt(text, Conditioning({EMBEDDING: embedding}), dropped, unknown, notes.texts)

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
