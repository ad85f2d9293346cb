"""FLUX.2 klein, base and distilled: the network of FLUX.2 without told guidance, texts read by Qwen3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from wordbrush.models.assembly import TransformerFamily
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.families.flux_2 import CARD, NETWORKS, built
from wordbrush.models.families.layer_names import FLUX_2
from wordbrush.models.family import Origin, Parts, PartSpec, classes_of, network, tokenizer
from wordbrush.models.model import Model

__all__ = ["FAMILY"]

_WIDTH_9B = 4096
"""Width of the text encoder of klein 9B; that of klein 4B is 2560."""


class Flux2Klein(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "flux-2-klein"
    card = replace(
        CARD,
        title="FLUX.2 klein checkpoints",
        guidance="cfg",
        licence="Apache-2.0 (4B), FLUX Non-Commercial (9B)",
        sibling="black-forest-labs/FLUX.2-klein-base-4B",
    )
    file = NetworkFile(
        "transformer",
        "Flux2Transformer2DModel",
        "FLUX.2 [klein] transformer",
        lacks=("guidance_in.in_layer.weight", "time_guidance_embed.guidance_embedder.linear_1.weight"),
    )
    parts: Mapping[str, PartSpec] = {
        **NETWORKS,
        "text_encoder": network("Qwen3ForCausalLM", "Qwen3Model", library="transformers"),
        "tokenizer": tokenizer("Qwen2Tokenizer", "Qwen2TokenizerFast"),
    }
    lora_names = FLUX_2
    packs = "latent_channels"

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is FLUX.2's and the text encoder a Qwen3."""
        classes = classes_of(index)
        of_qwen = classes.get("text_encoder", "").startswith("Qwen3")
        return classes.get("transformer", "").startswith("Flux2") and of_qwen

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`. Its index says whether it is distilled."""
        config = parts["text_encoder"].config
        small = self.card.sibling
        return built(
            self,
            parts,
            origin,
            partial(_chat, parts["tokenizer"]),
            int(config.num_hidden_layers),
            sibling=small.replace("4B", "9B") if int(config.hidden_size) >= _WIDTH_9B else small,
            usual=bool(parts.index.get("is_distilled", False)),
        )


def _chat(reader: Any, text: str) -> str:
    message = [{"role": "user", "content": text}]
    return str(reader.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=False))


FAMILY = Flux2Klein()
