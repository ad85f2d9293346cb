"""Chroma: the transformer of FLUX.1 without CLIP and told guidance, and with two estimates again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.schedule import sent
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules, read_by
from wordbrush.models.checkpoint.single_file import SD3_TEXTS, NetworkFile
from wordbrush.models.families.flux_1 import T5, T5_TOKENIZER, FluxNetwork
from wordbrush.models.families.layer_names import FLUX_1
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network
from wordbrush.models.language import Reading
from wordbrush.models.model import Model

__all__ = ["FAMILY", "ChromaNetwork"]

CARD = flow_card(title="Chroma checkpoints", scale=4.0, licence="Apache-2.0", sibling="lodestones/Chroma1-HD")
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("ChromaTransformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": T5,
    "tokenizer": T5_TOKENIZER,
    "scheduler": SCHEDULER,
}
_LIMIT = 512


class ChromaNetwork(FluxNetwork):
    """The transformer, which attends to no padding beyond one token.

    A text comes without further padding, so a mask is needed only beside a longer one. The mask is boolean: as floats,
    which is how ChromaPipeline passes it (https://github.com/huggingface/diffusers/issues/12116), it masks nothing.
    """

    def told(self, x: Tensor, conditioning: Conditioning) -> dict[str, Any]:
        """Return the mask over text and picture, if any token of a text is padding."""
        meant = conditioning[MASK]
        if meant.all():
            return {}
        meant = sent(meant, self.device)
        picture = meant.new_ones(len(meant), x.shape[2] * x.shape[3] // 4)
        return {"attention_mask": torch.cat([meant, picture], dim=1)}


class Chroma(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "chroma"
    card = CARD
    parts = PARTS
    file = NetworkFile(
        "transformer", "ChromaTransformer2DModel", "Chroma transformer", texts={"text_encoder": SD3_TEXTS["t5xxl"]}
    )
    packs = "latent_channels"
    begins = "Chroma"
    lora_names = FLUX_1

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `"distilled": true` holds a model distilled to few steps.
        """
        few = bool(parts.card.get("distilled", False))
        reading = Reading(str, lambda states: states[-1], _LIMIT, pads=1)
        return assembled(
            self,
            parts,
            origin,
            ChromaNetwork(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler),
            text=read_by(parts, origin, reading),
            patch=2,
            distilled=few,
        )


FAMILY = Chroma()
