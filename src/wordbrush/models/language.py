"""Prompts through a language model: hidden states of chosen layers, a row as long as the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.faults import check_items
from wordbrush.errors import SettingsError
from wordbrush.models.codec import evaluating
from wordbrush.models.model import Canvas, Prompt
from wordbrush.models.text import EMBEDDING
from wordbrush.models.words import check_text, dropped_words, unknown_words

__all__ = ["LanguageText", "Reading", "refuse_clip_skip"]


@dataclass(frozen=True)
class Reading:
    """How a family reads a text.

    Attributes:
        laid_out: what is laid around the text, such as a chat template.
        pick: hidden states, the embedding first, to the embedding (1, token, width).
        limit: most tokens.
        padded: every row is padded to the limit, and the padding is given to the network as tokens; else a row is as
            long as its text.
        skip: leading tokens that are left out of the embedding; they come on top of the limit.
        blank: the states of the padding are set to zero.
    """

    laid_out: Callable[[str], str]
    pick: Callable[[Sequence[Tensor]], Tensor]
    limit: int
    padded: bool = False
    skip: int = 0
    blank: bool = False


class LanguageText:
    """A language model as a text encoder. Each text is encoded by itself, so none depends on its mates.

    Args:
        tokenizer: of transformers.
        encoder: whose answer has `hidden_states`.
        device: where the encoder runs.
        reading: how the family reads a text.
        words: the words the model was taught, in lower case; empty when that is not known.
    """

    def __init__(
        self, tokenizer: Any, encoder: Any, device: torch.device, reading: Reading, words: Sequence[str] = ()
    ) -> None:
        self.tokenizer, self.encoder, self.device, self.reading = tokenizer, encoder, device, reading
        self.words = frozenset(words)

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself; these models take no canvas.

        Raises:
            InputError: a text is not text, or longer than 2,000 characters.
            SettingsError: `clip_skip` is not 0.
            NotFiniteError: the encoder overflowed.
        """
        refuse_clip_skip(clip_skip)
        return [self._prompt(check_text(text)) for text in texts]

    def _prompt(self, text: str) -> Prompt:
        reading, limit = self.reading, self.reading.limit + self.reading.skip
        padding = {"padding": "max_length"} if reading.padded else {}
        tokens = self.tokenizer(
            [reading.laid_out(text)], truncation=True, max_length=limit, return_tensors="pt", **padding
        )
        with torch.no_grad(), evaluating(self.encoder):
            output = self.encoder(
                input_ids=tokens.input_ids.to(self.device),
                attention_mask=tokens.attention_mask.to(self.device),
                output_hidden_states=True,
            )
        embedding = check_items(reading.pick(output.hidden_states)[:, reading.skip :], "the text encoder")
        if reading.blank:
            embedding = embedding * tokens.attention_mask[:, reading.skip :, None].to(embedding)
        tensors = {EMBEDDING: embedding}
        if not reading.padded:
            tensors[MASK] = torch.ones(embedding.shape[:2], dtype=torch.bool, device=embedding.device)
        dropped = dropped_words(text, self._count, limit)
        return Prompt(text, Conditioning(tensors), dropped, unknown_words(text, self.words))

    def _count(self, text: str) -> int:
        return len(self.tokenizer([self.reading.laid_out(text)], truncation=False, verbose=False).input_ids[0])


def refuse_clip_skip(clip_skip: int) -> None:
    """Raise SettingsError unless `clip_skip` is 0, for text encoders that are no CLIP."""
    if clip_skip:
        raise SettingsError(f"clip skip {clip_skip} means nothing for this model, which has no CLIP: leave it out")
