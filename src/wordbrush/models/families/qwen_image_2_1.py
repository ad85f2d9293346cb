"""Qwen-Image-2.1: a rectified flow in one block-causal transformer, an RGBA autoencoder, texts read by Qwen3-VL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.errors import ModelError
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import Model, Prompt
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "QwenImage21Network"]

CARD = flow_card(
    title="Qwen-Image-2.1 checkpoints",
    scale=1.0,  # the models are meant to be run without guidance, and take it
    licence="Qwen Research License: non-commercial",
)
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("QwenImage21Transformer2DModel"),
    "vae": network("AutoencoderKLQwenImage21"),
    "text_encoder": network("Qwen3VLForConditionalGeneration", library="transformers"),
    # Of the processor, the tokenizer is all that a text needs.
    "processor": tokenizer("Qwen2Tokenizer", "Qwen2TokenizerFast", "Qwen3VLProcessor"),
    "scheduler": SCHEDULER,
}
_PREFIX = "<|im_start|>system\nComprehend and analyze the provided prompt.<|im_end|>\n"
"""What the models were trained to be told before every text; its states are left out."""

_LIMIT = 2048
"""Tokens of a text; the pipeline has no limit, and 2,000 characters are all that a text may have here."""

_GROUP = 4
"""Cells of the latent, 2 x 2, for a place in the sequence that the text encoder would count."""


class QwenImage21Network(ModuleNetwork):
    """The transformer over single cells; the label is the flow time t in thousandths.

    A picture's place among the tokens is the length of its text, and padding counts for it. So only rows whose texts
    are of one length go through the network together.
    """

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`."""
        text, lengths = self.given(conditioning, EMBEDDING), conditioning[MASK].sum(1).tolist()
        answer = torch.empty_like(x)
        for length in sorted(set(lengths)):
            rows = [row for row, other in enumerate(lengths) if other == length]
            answer[rows] = self._alike(x[rows], label[rows], text[rows, :length])
        return answer

    def _alike(self, x: Tensor, label: Tensor, text: Tensor) -> Tensor:
        rows, _, height, width = x.shape
        cells = height * width
        of_picture = torch.arange(text.shape[1] + cells // _GROUP, device=x.device) >= text.shape[1]
        tokens: Tensor = self.module(
            hidden_states=x.flatten(2).transpose(1, 2),
            timestep=label / 1000,
            encoder_hidden_states=text,
            img_shapes=[[(1, height, width)]] * rows,
            img_mask=of_picture.expand(rows, -1),
            return_dict=False,
        )[0]
        return tokens[:, -cells:].transpose(1, 2).reshape(x.shape)


class UnnormedText(LanguageText):
    """A language model whose last layer is read as it is: transformers normalises what it hands out of that layer."""

    def _prompt(self, text: str) -> Prompt:
        with _without(self.encoder.model.language_model.norm):
            return super()._prompt(text)


@contextmanager
def _without(norm: Any) -> Iterator[None]:
    """Let a norm hand on what it is given inside the block."""
    hook = norm.register_forward_hook(lambda _module, given, _answer: given[0])
    try:
        yield
    finally:
        hook.remove()


class QwenImage21(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "qwen-image-2.1"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "QwenImage21Transformer2DModel", "Qwen-Image-2.1 transformer")
    begins = "QwenImage21"

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer is for another latent than the autoencoder's."""
        taken, latent = configs["transformer"].get("in_channels", 64), configs["vae"].get("z_dim", 64)
        if taken != latent:
            raise ModelError(f"{where}: the transformer takes {taken} channels and the latent has {latent}")

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        Raises:
            ModelError: the checkpoint prescribes the levels of its few steps, which an inversion cannot keep to.
        """
        if parts.index.get("sample_sigmas"):
            raise ModelError(
                f"{origin.name} prescribes its levels (sample_sigmas), as a model distilled to few steps does; "
                "Qwen-Image-2.1 itself works"
            )
        processor = parts["processor"]
        reader = getattr(processor, "tokenizer", processor)
        skip = len(reader(_PREFIX, add_special_tokens=False).input_ids)
        reading = Reading(_chat, lambda states: states[-1], _LIMIT, skip=skip)
        return assembled(
            self,
            parts,
            origin,
            QwenImage21Network(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler, patch=1),
            text=UnnormedText(reader, parts["text_encoder"], origin.device, reading, parts.words),
            patch=2,
        )


def _chat(text: str) -> str:
    return f"{_PREFIX}<|im_start|>user\n{text or ' '}<|im_end|>\n<|im_start|>assistant\n"


FAMILY = QwenImage21()
