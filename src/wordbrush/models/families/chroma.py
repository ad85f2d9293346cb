"""Chroma: the transformer of FLUX.1 without CLIP and told guidance, and with two estimates again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.models.assembly import assembled, check_packed, flow_schedules, policy_of
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.flux_1 import T5, T5_TOKENIZER, FluxNetwork
from wordbrush.models.families.layer_names import FLUX_1
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
)
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import Model

__all__ = ["FAMILY", "ChromaNetwork"]

CARD = Card(
    title="Chroma checkpoints",
    native=1024,
    guidance="cfg",
    scale=4.0,
    parametrisations=("flow",),
    licence="Apache-2.0",
    evidence="translated: network, schedule and codec equal the pipeline's; edits not measured",
    half="bfloat16",
    sibling="lodestones/Chroma1-HD",
)
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
        meant = conditioning[MASK].to(self.device)
        if meant.all():
            return {}
        picture = meant.new_ones(len(meant), x.shape[2] * x.shape[3] // 4)
        return {"attention_mask": torch.cat([meant, picture], dim=1)}


class Chroma(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "chroma"
    card = CARD
    parts = PARTS
    lora: Mapping[str, tuple[str, ...]] = {"transformer": TRANSFORMER_LAYERS}
    lora_names = FLUX_1

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is Chroma's."""
        return classes_of(index).get("transformer", "").startswith("Chroma")

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer is for another task than text to image."""
        check_packed(configs, where)

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `"distilled": true` holds a model distilled to few steps.
        """
        few = bool(parts.card.get("distilled", False))
        reading = Reading(str, lambda states: states[-1], _LIMIT, pads=1)
        return assembled(
            self.name,
            parts,
            origin,
            ChromaNetwork(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler),
            codec=AutoencoderCodec(parts["vae"], device=origin.device),
            text=LanguageText(parts["tokenizer"], parts["text_encoder"], origin.device, reading, parts.words),
            resolution=int(parts.card.get("resolution", CARD.native)),
            policy=policy_of(CARD, parts, distilled=few),
            patch=2,
            encoding="noise" if few else "invert",
            sibling=CARD.sibling if few else "",
        )


FAMILY = Chroma()
