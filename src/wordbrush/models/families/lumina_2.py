"""Lumina-Image 2: a rectified flow that counts its time from the noise, texts read by Gemma under a system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning, Prediction, convert
from wordbrush.diffusion.guidance import combine
from wordbrush.diffusion.schedule import FlowSchedule, Level, shift_of
from wordbrush.models.assembly import assembled, policy_of
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import LUMINA_2
from wordbrush.models.family import (
    SCHEDULER,
    TRANSFORMER_LAYERS,
    Card,
    Family,
    Origin,
    Parts,
    PartSpec,
    classes_of,
    network,
    tokenizer,
)
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "LuminaNetwork", "row_norm_kept"]

CARD = Card(
    title="Lumina-Image 2 checkpoints",
    native=1024,
    guidance="cfg",
    scale=4.0,
    parametrisations=("flow",),
    licence="Apache-2.0",
    evidence="translated: network, schedule and codec equal the pipeline's; edits not measured",
    half="bfloat16",
)
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("Lumina2Transformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("Gemma2Model", "Gemma2ForCausalLM", library="transformers"),
    "tokenizer": tokenizer("GemmaTokenizer", "GemmaTokenizerFast", alone=("tokenizer.model",)),
    "scheduler": SCHEDULER,
}
_LIMIT = 256
SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment "
    "based on textual prompts or user prompts. <Prompt Start> "
)
"""What the model was trained to read before every prompt: an interface, to the letter."""


class LuminaNetwork(ModuleNetwork):
    """The transformer: it is told 1 - t and answers with minus the velocity."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time t in thousandths."""
        output: Tensor = self.module(
            x,
            timestep=1 - label / 1000,
            encoder_hidden_states=self.given(conditioning, EMBEDDING),
            encoder_attention_mask=self.given(conditioning, MASK),
            return_dict=False,
        )[0]
        return -output


def row_norm_kept(negative: Prediction, positive: Prediction, scale: float, x: Tensor, level: Level) -> Prediction:
    """Combine two estimates, each row of cells of each channel brought to the norm of its velocity under the text.

    So the model is sampled by its own pipeline: the norm runs along the picture's width.
    """
    along = positive.eps - positive.x0
    mixed = combine(negative.eps - negative.x0, along, scale)
    kept = along.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True)
    return convert(mixed * kept, x, level, "flow")


class Lumina2(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "lumina-2"
    card = CARD
    parts = PARTS
    lora: Mapping[str, tuple[str, ...]] = {"transformer": TRANSFORMER_LAYERS}
    lora_names = LUMINA_2

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is that of Lumina-Image 2."""
        return classes_of(index).get("transformer", "").startswith("Lumina2")

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`. No text, and one that is guided away from, are read alone."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        reading = Reading(lambda text: SYSTEM + text if text else "", lambda states: states[-2], _LIMIT)
        alone = replace(reading, laid_out=lambda text: text)
        texts = [
            LanguageText(parts["tokenizer"], parts["text_encoder"], origin.device, how, parts.words)
            for how in (reading, alone)
        ]
        return assembled(
            self.name,
            parts,
            origin,
            LuminaNetwork(transformer, origin.device),
            schedule=FlowSchedule(shift=shift_of(parts.scheduler), rule="once"),
            codec=codec,
            text=texts[0],
            negative=texts[1],
            resolution=int(parts.card.get("resolution", int(transformer.config.sample_size) * codec.factor)),
            policy=policy_of(CARD, parts, join=row_norm_kept),
            patch=int(transformer.config.patch_size),
        )


FAMILY = Lumina2()
