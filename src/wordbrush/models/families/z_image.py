"""Z-Image and Z-Image-Turbo: a rectified flow in one transformer for text and picture, texts read by Qwen3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.schedule import shift_of
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules, read_by
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import Z_IMAGE
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "ZImageNetwork"]

CARD = flow_card(
    title="Z-Image and Z-Image-Turbo checkpoints",
    scale=5.0,  # diffusers' 4: its scale counts from the text's own estimate, as w of Ho and Salimans
    licence="Apache-2.0",
    evidence="measured: on scenes of known truth with pocket-flow, a small model of this build in their layout",
    sibling="Tongyi-MAI/Z-Image",
)
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("ZImageTransformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("Qwen3Model", "Qwen3ForCausalLM", library="transformers"),
    "tokenizer": tokenizer("Qwen2Tokenizer", "Qwen2TokenizerFast"),
    "scheduler": SCHEDULER,
}
PATCH = 2
"""Latent cells a token, along a side."""

_LIMIT = 512
_TURBO_SHIFT = 3.0
"""Shift of the distilled model's scheduler; the undistilled one has 6. Nothing else in its files tells them apart."""


class ZImageNetwork(ModuleNetwork):
    """The transformer: it is told 1 - t, answers with minus the velocity, and takes texts without padding."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time t in thousandths."""
        texts = [text.to(self.device, x.dtype) for text in conditioning.texts(EMBEDDING)]
        answers = self.module(list(x.unsqueeze(2).unbind()), 1 - label / 1000, texts, return_dict=False)[0]
        return -torch.stack(answers).squeeze(2)


class ZImage(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "z-image"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "ZImageTransformer2DModel", "Z-Image transformer")
    begins = "ZImage"
    lora_names = Z_IMAGE

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `distilled` true or false is taken at its word.
        """
        codec = AutoencoderCodec(parts["vae"], device=origin.device)
        turbo = bool(parts.card.get("distilled", shift_of(parts.scheduler, 4096) == _TURBO_SHIFT))
        reading = Reading(partial(_chat, parts["tokenizer"]), lambda states: states[-2], _LIMIT)

        return assembled(
            self,
            parts,
            origin,
            ZImageNetwork(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler, PATCH),
            codec=codec,
            text=read_by(parts, origin, reading),
            patch=PATCH,
            distilled=turbo,
        )


def _chat(reader: Any, text: str) -> str:
    message = [{"role": "user", "content": text}]
    return str(reader.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True))


FAMILY = ZImage()
