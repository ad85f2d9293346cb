"""Lumina-Image 2: a rectified flow that counts its time from the noise, texts read by Gemma under a system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.guidance import norm_kept
from wordbrush.diffusion.schedule import FlowSchedule, shift_of
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, policy_of, read_by
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import LUMINA_2
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "LuminaNetwork", "row_norm"]

CARD = flow_card(title="Lumina-Image 2 checkpoints", scale=4.0, licence="Apache-2.0")
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


def row_norm(v: Tensor) -> Tensor:
    """Return the norm of every row of cells of every channel, along the width, as the model's pipeline takes it."""
    norms: Tensor = v.norm(dim=-1, keepdim=True)
    return norms


class Lumina2(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "lumina-2"
    card = CARD
    parts = PARTS
    file = NetworkFile(
        "transformer", "Lumina2Transformer2DModel", "Lumina-Image 2 transformer", lacks=("cap_pad_token",)
    )
    begins = "Lumina2"
    lora_names = LUMINA_2

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`. No text, and one that is guided away from, are read alone."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        reading = Reading(lambda text: SYSTEM + text if text else "", lambda states: states[-2], _LIMIT)
        alone = replace(reading, laid_out=lambda text: text)
        texts = [
            read_by(parts, origin, how)
            for how in (reading, alone)
        ]
        return assembled(
            self,
            parts,
            origin,
            LuminaNetwork(transformer, origin.device),
            schedule=FlowSchedule(shift=shift_of(parts.scheduler), rule="once"),
            codec=codec,
            text=texts[0],
            negative=texts[1],
            side=int(transformer.config.sample_size) * codec.factor,
            policy=policy_of(CARD, parts, join=norm_kept(row_norm)),
            patch=int(transformer.config.patch_size),
        )


FAMILY = Lumina2()
