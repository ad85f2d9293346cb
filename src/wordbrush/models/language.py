"""Prompts through a language model: hidden states of chosen layers, a row as long as the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.faults import Notes
from wordbrush.errors import SettingsError
from wordbrush.models.model import Canvas, Prompt
from wordbrush.models.precision import answered, evaluating
from wordbrush.models.text import EMBEDDING, ENCODER
from wordbrush.models.words import check_prompt, dropped_words, unknown_words

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
        attends: the encoder is told which tokens are padding; else it reads them as text.
        pads: padding tokens after the text that a row keeps where it is not padded to the limit.
        suffix: what stands after the text even where the text is cut; its tokens count.
        blank: the states of the padding are set to zero.
    """

    laid_out: Callable[[str], str]
    pick: Callable[[Sequence[Tensor]], Tensor]
    limit: int
    padded: bool = False
    skip: int = 0
    attends: bool = True
    pads: int = 0
    suffix: str = ""
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
        self._suffix = self._ids(reading.suffix) if reading.suffix else []
        self._room = reading.limit + reading.skip - len(self._suffix)

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself; these models take no canvas.

        Raises:
            InputError: a text is not text, or longer than 2,000 characters.
            SettingsError: `clip_skip` is not 0.
            NotFiniteError: the encoder overflowed, even in float32.
        """
        refuse_clip_skip(clip_skip)
        return [self._prompt(check_prompt(text)) for text in texts]

    def _prompt(self, text: str) -> Prompt:
        reading = self.reading
        tokens, meant = self._tokens(reading.laid_out(text))

        def read(_rows: Any) -> Tensor:
            output = self.encoder(
                input_ids=tokens.to(self.device),
                attention_mask=meant.to(self.device) if reading.attends else None,
                output_hidden_states=True,
            )
            return reading.pick(output.hidden_states)[:, reading.skip :]

        notes = Notes()
        with torch.no_grad(), evaluating(self.encoder):
            embedding = answered(self.encoder, read, ENCODER, notes)
        if reading.blank:
            embedding = embedding * meant[:, reading.skip :, None].to(embedding)
        tensors = {EMBEDDING: embedding}
        if not reading.padded:
            tensors[MASK] = torch.ones(embedding.shape[:2], dtype=torch.bool)  # not on the device: it is read here, too
        dropped = dropped_words(text, lambda cut: len(self._ids(reading.laid_out(cut))), self._room)
        return Prompt(text, Conditioning(tensors), dropped, unknown_words(text, self.words), notes.texts)

    def _tokens(self, laid_out: str) -> tuple[Tensor, Tensor]:
        """Return the tokens of a text with all that is around it, and 1 where they are no padding, both (1, token)."""
        reading, room = self.reading, self._room
        ids = self._ids(laid_out, truncation=True, max_length=room)
        pads = room - len(ids) if reading.padded else min(reading.pads, room - len(ids))
        pairs = [(token, 1) for token in ids]
        empty = [(self.tokenizer.pad_token_id, 0)] * pads
        pairs = empty + pairs if self.tokenizer.padding_side == "left" else pairs + empty
        tokens, meant = torch.tensor([*pairs, *((token, 1) for token in self._suffix)]).T
        return tokens[None], meant[None]

    def _ids(self, laid_out: str, **limits: Any) -> list[int]:
        """Return the tokens of a text; one that is laid out with its beginning-of-text token gets no second."""
        begins = self.tokenizer.bos_token
        alone = not (begins and laid_out.startswith(begins))
        return list(self.tokenizer([laid_out], add_special_tokens=alone, verbose=False, **limits).input_ids[0])


def refuse_clip_skip(clip_skip: int) -> None:
    """Raise SettingsError unless `clip_skip` is 0, for models that take no layers of a CLIP."""
    if clip_skip:
        raise SettingsError(f"clip skip {clip_skip} means nothing for this model, which takes no CLIP layers: drop it")
