"""FLUX.2: a rectified flow over packed latents of 32 channels, texts read from three layers of a language model.

The autoencoder's own latent is brought to mean 0 and variance 1 channel by channel of the 2 x 2 patches that the
network takes for tokens. That is done cell by cell in the codec, so masks have cells of 8 pixels, as elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, flow_schedules, policy_of
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.families.layer_names import FLUX_2
from wordbrush.models.family import SCHEDULER, Family, Origin, Parts, PartSpec, classes_of, network, tokenizer
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import GUIDANCE, Model
from wordbrush.models.network import ModuleNetwork, packed, places, unpacked
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "NETWORKS", "Flux2Network", "built", "layers_of", "shift_for"]

CARD = flow_card(
    title="FLUX.2 dev checkpoints",
    guidance="embedded",
    scale=4.0,
    licence="FLUX Non-Commercial",
    sibling="black-forest-labs/FLUX.2-dev",
)
NETWORKS: Mapping[str, PartSpec] = {
    "transformer": network("Flux2Transformer2DModel"),
    "vae": network("AutoencoderKLFlux2"),
    "scheduler": SCHEDULER,
}
_LIMIT = 512
_SYSTEM = (
    "You are an AI that reasons about image descriptions. You give structured responses focusing on object "
    "relationships, object\nattribution and actions without speculation."
)
"""What the model was trained to be told before every text; another wording is another model."""


class Flux2Network(ModuleNetwork):
    """The transformer over tokens of 2 x 2 cells; the label is the flow time t in thousandths."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`."""
        text = self.given(conditioning, EMBEDDING)
        words = torch.zeros(text.shape[1], 4, device=x.device)
        words[:, 3] = torch.arange(text.shape[1], device=x.device)
        tokens = self.module(
            packed(x),
            timestep=label / 1000,
            guidance=self.given(conditioning, GUIDANCE) if GUIDANCE in conditioning else None,
            encoder_hidden_states=text,
            txt_ids=words,
            img_ids=places(x, 4),
            return_dict=False,
        )[0]
        return unpacked(tokens, *x.shape[2:])


def shift_for(scheduler: Mapping[str, Any], tokens: int, steps: int) -> float:
    """Return the shift of FLUX.2's pipelines: e**mu, where mu was fitted to image tokens at 10 and at 200 steps.

    Between them mu is linear in the steps; above 4300 tokens it is that of 200 steps. A scheduler that does not shift
    by picture size has its own.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return float(scheduler.get("shift", 1.0))
    at_10, at_200 = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    mu = at_200 if tokens > 4300 else at_200 + (at_10 - at_200) * (200 - steps) / 190
    return math.exp(mu)


def layers_of(depth: int) -> Callable[..., Tensor]:
    """Return what lays the states a quarter, half and three quarters up an encoder of `depth` layers side by side."""
    return lambda states: torch.cat([states[depth * quarter // 4] for quarter in (1, 2, 3)], dim=-1)


def built(
    family: Family,
    parts: Parts,
    origin: Origin,
    laid_out: Callable[[str], str],
    depth: int,
    *,
    sibling: str,
    usual: bool,
) -> Model:
    """Put a model of FLUX.2's network together.

    Args:
        family: whose it is.
        parts: of the checkpoint.
        origin: where they come from.
        laid_out: the chat template around a text.
        depth: layers of the text encoder.
        sibling: the undistilled model.
        usual: whether it is distilled to few steps, where its folder's `wordbrush.json` does not say.
    """
    transformer = parts["transformer"]
    embedded = bool(transformer.config.guidance_embeds)
    few = bool(parts.card.get("distilled", usual))
    reader = getattr(parts["tokenizer"], "tokenizer", parts["tokenizer"])  # a processor has one
    reading = Reading(laid_out, layers_of(depth), _LIMIT, padded=True)
    return assembled(
        family,
        parts,
        origin,
        Flux2Network(transformer, origin.device),
        schedules=flow_schedules(parts.scheduler, shift=partial(shift_for, parts.scheduler)),
        text=LanguageText(reader, parts["text_encoder"], origin.device, reading, parts.words),
        policy=policy_of(
            family.card, parts, distilled=few and not embedded, kind="embedded" if embedded else "cfg"
        ),
        patch=2,
        distilled=few,
        sibling=sibling if few else "",
    )


class Flux2(TransformerFamily):
    """FLUX.2 dev; see `wordbrush.models.family.Family`."""

    name = "flux-2"
    card = CARD
    # Of the processor that the published folder names, the tokenizer is all that a text needs.
    file = NetworkFile(
        "transformer",
        "Flux2Transformer2DModel",
        "FLUX.2 [dev] transformer",
        holds=("guidance_in.in_layer.weight", "time_guidance_embed.guidance_embedder.linear_1.weight"),
    )
    parts: Mapping[str, PartSpec] = {
        **NETWORKS,
        "text_encoder": network("Mistral3ForConditionalGeneration", library="transformers"),
        "tokenizer": tokenizer(
            "PreTrainedTokenizerFast", "TokenizersBackend", "PixtralProcessor", alone=("tokenizer.json",)
        ),
    }
    lora_names = FLUX_2
    packs = "latent_channels"

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is FLUX.2's, and the text encoder no Qwen3."""
        classes = classes_of(index)
        of_klein = classes.get("text_encoder", "").startswith("Qwen3")
        return classes.get("transformer", "").startswith("Flux2") and not of_klein

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        depth = int(parts["text_encoder"].config.text_config.num_hidden_layers)
        laid_out = partial(_chat, parts["tokenizer"])
        return built(self, parts, origin, laid_out, depth, sibling=CARD.sibling, usual=False)


def _chat(reader: Any, text: str) -> str:
    said = {"system": _SYSTEM, "user": text.replace("[IMG]", "")}  # the encoder would look for a picture there
    turns = [{"role": role, "content": [{"type": "text", "text": words}]} for role, words in said.items()]
    return str(reader.apply_chat_template(turns, tokenize=False, add_generation_prompt=False))


FAMILY = Flux2()
