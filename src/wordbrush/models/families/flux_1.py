"""FLUX.1 dev and schnell: a rectified flow in one transformer, texts read by T5 and, as a whole, by CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules, policy_of
from wordbrush.models.checkpoint.single_file import SD3_TEXTS, NetworkFile
from wordbrush.models.families.layer_names import FLUX_1
from wordbrush.models.families.stable_diffusion_configs import TOKENIZER
from wordbrush.models.family import SCHEDULER, TRANSFORMER_LAYERS, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import GUIDANCE, Canvas, Model, Prompt
from wordbrush.models.network import ModuleNetwork, packed, places, unpacked
from wordbrush.models.precision import answered, evaluating
from wordbrush.models.text import EMBEDDING, ENCODER

__all__ = ["FAMILY", "T5", "T5_TOKENIZER", "FluxNetwork"]

CARD = flow_card(
    title="FLUX.1 text-to-image checkpoints",
    guidance="embedded",
    scale=3.5,
    licence="FLUX.1 [dev] Non-Commercial (dev), Apache-2.0 (schnell)",
    sibling="black-forest-labs/FLUX.1-dev",
)
T5 = network("T5EncoderModel", library="transformers")
T5_TOKENIZER = tokenizer("T5Tokenizer", "T5TokenizerFast", alone=("spiece.model",))
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("FluxTransformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("CLIPTextModel", library="transformers"),
    "text_encoder_2": T5,
    "tokenizer": TOKENIZER,
    "tokenizer_2": T5_TOKENIZER,
    "scheduler": SCHEDULER,
}
_POOLED = "pooled_projections"
_LIMIT, _SHORT_LIMIT = 512, 256
"""Tokens of T5: of dev, and of schnell, which was distilled with fewer."""


class FluxNetwork(ModuleNetwork):
    """The transformer over tokens of 2 x 2 cells; the label is the flow time t in thousandths."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`."""
        text = self.given(conditioning, EMBEDDING)
        tokens = self.module(
            packed(x),
            timestep=label / 1000,
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=x.device),
            img_ids=places(x, 3),
            return_dict=False,
            **self.told(x, conditioning),
        )[0]
        return unpacked(tokens, *x.shape[2:])

    def told(self, x: Tensor, conditioning: Conditioning) -> dict[str, Any]:
        """Return what the network is told besides the text's tokens, as arguments by name."""
        del x
        names = {_POOLED: _POOLED, **({"guidance": GUIDANCE} if GUIDANCE in conditioning else {})}
        return {argument: self.given(conditioning, name) for argument, name in names.items()}


class FluxText:
    """T5, whose padding the network attends to, and beside it what CLIP makes of the whole text.

    Args:
        tokenizer: of CLIP.
        clip: a CLIPTextModel.
        tokens: T5 as a text encoder.
    """

    def __init__(self, tokenizer: Any, clip: Any, tokens: LanguageText) -> None:
        self.tokenizer, self.clip, self.tokens = tokenizer, clip, tokens

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself; see `LanguageText.encode`."""
        prompts = self.tokens.encode(texts, clip_skip=clip_skip, canvas=canvas)
        return [self._with_pooled(prompt) for prompt in prompts]

    def _with_pooled(self, prompt: Prompt) -> Prompt:
        notes = Notes()
        told = Conditioning({**prompt.conditioning, _POOLED: self._pooled(prompt.text, notes)})
        return replace(prompt, conditioning=told, notes=tuple(dict.fromkeys((*prompt.notes, *notes.texts))))

    def _pooled(self, text: str, notes: Notes) -> Tensor:
        limit = min(int(self.tokenizer.model_max_length), int(self.clip.config.max_position_embeddings))
        ids = self.tokenizer([text], padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
        with torch.no_grad(), evaluating(self.clip):
            place = self.tokens.device
            return answered(self.clip, lambda _: self.clip(ids.input_ids.to(place)).pooler_output, ENCODER, notes)


class Flux1(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "flux-1"
    card = CARD
    parts = PARTS
    file = NetworkFile(
        "transformer",
        "FluxTransformer2DModel",
        "FLUX.1 transformer",
        lacks=("distilled_guidance_layer.in_proj.weight",),
        texts={"text_encoder": SD3_TEXTS["clip_l"], "text_encoder_2": SD3_TEXTS["t5xxl"]},
    )
    packs = "latent_channels"
    begins = "FluxTransformer"
    lora: Mapping[str, tuple[str, ...]] = {
        "transformer": TRANSFORMER_LAYERS,
        "text_encoder": ("text_encoder.", "lora_te1_", "lora_te_", "text_encoders.clip_l.transformer."),
    }
    lora_names = FLUX_1

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A transformer that is not told its guidance is schnell, distilled to few steps. One that was trained on to be
        guided by two estimates says `"distilled": false` in its folder's `wordbrush.json`.
        """
        transformer = parts["transformer"]
        embedded = bool(transformer.config.guidance_embeds)
        few = bool(parts.card.get("distilled", not embedded))
        reading = Reading(str, lambda states: states[-1], _LIMIT if embedded else _SHORT_LIMIT, True, attends=False)
        tokens = LanguageText(parts["tokenizer_2"], parts["text_encoder_2"], origin.device, reading, parts.words)
        return assembled(
            self,
            parts,
            origin,
            FluxNetwork(transformer, origin.device),
            schedules=flow_schedules(parts.scheduler),
            text=FluxText(parts["tokenizer"], parts["text_encoder"], tokens),
            policy=policy_of(CARD, parts, distilled=few and not embedded, kind="embedded" if embedded else "cfg"),
            patch=2,
            distilled=few,
        )


FAMILY = Flux1()
