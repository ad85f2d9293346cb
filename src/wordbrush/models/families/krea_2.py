"""Krea 2 Raw and Turbo: the autoencoder of Qwen-Image, and texts as states of many layers of Qwen3-VL."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules, read_by
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.families.layer_names import KREA_2
from wordbrush.models.families.qwen_image import LATENT, LIMIT, PREFIX, PREFIX_TOKENS, SUFFIX, TOKENIZER, meant
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork, packed, places, unpacked
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "Krea2Network"]

CARD = flow_card(
    title="Krea 2 checkpoints",
    scale=5.5,  # diffusers' 4.5: its scale counts from the text's own estimate, as w of Ho and Salimans
    licence="Krea 2 Community License",
    sibling="krea/Krea-2-Raw",
)
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("Krea2Transformer2DModel"),
    "vae": network("AutoencoderKLQwenImage"),
    "text_encoder": network("Qwen3VLModel", "Qwen3VLForConditionalGeneration", library="transformers"),
    "tokenizer": TOKENIZER,
    "scheduler": SCHEDULER,
}
_LAYERS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)
"""Layers of the text encoder that are read, where the checkpoint's index does not say."""

_TURBO_SHIFT = math.exp(1.15)


class Krea2Network(ModuleNetwork):
    """The transformer over tokens of 2 x 2 cells; the label is the flow time t in thousandths.

    The pipeline pads every text in its middle and masks the padding, which has no place in the count of positions
    either. So a text without padding gives the same answer.
    """

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`."""
        text = self.given(conditioning, EMBEDDING)
        tokens = self.module(
            packed(x),
            encoder_hidden_states=text,
            timestep=label / 1000,
            position_ids=torch.cat([torch.zeros(text.shape[1], 3, device=x.device), places(x, 3)]),
            encoder_attention_mask=meant(conditioning, x),
            return_dict=False,
        )[0]
        return unpacked(tokens, *x.shape[2:])


class Krea2(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "krea-2"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "Krea2Transformer2DModel", "Krea 2 transformer")
    packs = LATENT
    begins = "Krea2"
    lora_names = KREA_2

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`. Its index says whether it is Turbo, which has a shift of its own.

        A folder whose `wordbrush.json` says `distilled` true or false is taken at its word.
        """
        turbo = bool(parts.index.get("is_distilled", False))
        few = bool(parts.card.get("distilled", turbo))
        layers = tuple(map(int, parts.index.get("text_encoder_select_layers") or _LAYERS))
        reading = Reading(
            PREFIX.__add__,
            lambda states: torch.stack([states[layer] for layer in layers], dim=2),
            LIMIT,
            skip=PREFIX_TOKENS,
            suffix=SUFFIX,
        )
        return assembled(
            self,
            parts,
            origin,
            Krea2Network(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler, shift=(lambda _tokens, _steps: _TURBO_SHIFT) if turbo else None),
            text=read_by(parts, origin, reading),
            patch=2,
            distilled=few,
        )


FAMILY = Krea2()
