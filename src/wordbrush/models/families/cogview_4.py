"""CogView 4: a flow whose network is told the unshifted time while the latent is at the shifted one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.schedule import FlowSchedule, Schedule
from wordbrush.errors import ModelError
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import Canvas, Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "CogViewNetwork", "FilledText"]

CARD = flow_card(title="CogView 4 checkpoints", scale=5.0, licence="Apache-2.0")
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("CogView4Transformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("GlmModel", "GlmForCausalLM", library="transformers"),
    "tokenizer": tokenizer("PreTrainedTokenizerFast", "TokenizersBackend", alone=("tokenizer.json",)),
    "scheduler": SCHEDULER,
}
_LIMIT = 1024
_ROUND = 16
"""Tokens that a text is filled up to a multiple of."""


class CogViewNetwork(ModuleNetwork):
    """The transformer: it is told the picture's size in pixels and answers with the velocity.

    Args:
        module: used in place and left as it was.
        device: where it runs.
        cell: pixels a latent cell.
    """

    def __init__(self, module: Any, device: torch.device, cell: int) -> None:
        super().__init__(module, device)
        self.cell = cell

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; it knows no mask, so texts of unlike lengths are called for one by one."""
        texts, output = conditioning.texts(EMBEDDING), torch.empty_like(x)
        for length in {len(text) for text in texts}:
            rows = [row for row, text in enumerate(texts) if len(text) == length]
            batch = torch.stack([texts[row] for row in rows]).to(self.device, x.dtype)
            output[rows] = self._alike(x[rows], label[rows], batch)
        return output

    def _alike(self, x: Tensor, label: Tensor, text: Tensor) -> Tensor:
        size = x.new_tensor([side * self.cell for side in x.shape[2:]]).expand(len(x), 2)
        output: Tensor = self.module(
            x,
            encoder_hidden_states=text,
            timestep=label,
            original_size=size,
            target_size=size,
            crop_coords=torch.zeros_like(size),
            return_dict=False,
        )[0]
        return output


class FilledText(LanguageText):
    """A language model that reads texts filled up at their start; it attends to the filling."""

    def _tokens(self, laid_out: str) -> tuple[Tensor, Tensor]:
        ids = self._ids(laid_out, truncation=True, max_length=self._room)
        tokens = torch.tensor([[self.tokenizer.pad_token_id] * (-len(ids) % _ROUND) + ids])
        return tokens, torch.ones_like(tokens)


class CogView4(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "cogview-4"
    card = CARD
    parts = PARTS
    begins = "CogView4"

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer takes a control picture beside the latent."""
        taken = int(configs["transformer"].get("in_channels", 16))
        latent = int(configs["vae"].get("latent_channels", 4))
        if taken != latent:
            raise ModelError(
                f"{where}: the transformer takes {taken} channels and the latent has {latent}; it is for control "
                "pictures: use the text-to-image checkpoint"
            )

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        patch = int(transformer.config.patch_size)
        reading = Reading(lambda text: text, lambda states: states[-2], _LIMIT)

        def schedules(canvas: Canvas, steps: int) -> Schedule:
            return FlowSchedule(shift=_shift(parts.scheduler, canvas[0] * canvas[1] // patch**2), rule="told")

        return assembled(
            self,
            parts,
            origin,
            CogViewNetwork(transformer, origin.device, codec.factor),
            schedules=schedules,
            codec=codec,
            text=FilledText(parts["tokenizer"], parts["text_encoder"], origin.device, reading, parts.words),
            side=int(transformer.config.sample_size) * codec.factor,
            patch=patch,
        )


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    """Return the shift, which grows with the picture's side: base + max sqrt(tokens / first)."""
    low, high = float(config.get("base_shift", 0.25)), float(config.get("max_shift", 0.75))
    mu = low + high * math.sqrt(tokens / int(config.get("base_image_seq_len", 256)))
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)


FAMILY = CogView4()
