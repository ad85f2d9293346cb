"""Qwen-Image: a rectified flow in one transformer for text and picture, texts read by Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.guidance import norm_kept, token_norm
from wordbrush.diffusion.schedule import sent
from wordbrush.errors import ModelError
from wordbrush.models.assembly import (
    TransformerFamily,
    assembled,
    check_packed,
    flow_card,
    flow_schedules,
    policy_of,
    read_by,
)
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork, packed, unpacked
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "LATENT", "LIMIT", "PREFIX", "PREFIX_TOKENS", "SUFFIX", "TOKENIZER", "QwenImageNetwork", "meant"]

CARD = flow_card(
    title="Qwen-Image text-to-image checkpoints",
    native=1328,
    scale=4.0,
    licence="Apache-2.0",
    sibling="Qwen/Qwen-Image",
)
TOKENIZER = tokenizer("Qwen2Tokenizer", "Qwen2TokenizerFast")
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("QwenImageTransformer2DModel"),
    "vae": network("AutoencoderKLQwenImage"),
    "text_encoder": network("Qwen2_5_VLForConditionalGeneration", library="transformers"),
    "tokenizer": TOKENIZER,
    "scheduler": SCHEDULER,
}
LATENT = "z_dim"
"""What the autoencoder's configuration calls the channels of the latent."""

LIMIT = 512
PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
"""What the models were trained to be told before every text; another wording is another model."""

PREFIX_TOKENS = 34
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
_OTHER_TASKS = ("guidance_embeds", "use_layer3d_rope", "use_additional_t_cond")


def meant(conditioning: Conditioning, like: Tensor) -> Tensor | None:
    """Return which tokens of the texts are meant, (row, token), on the device of `like`; None if all are."""
    mask = conditioning[MASK]
    return None if mask.all() else sent(mask, like.device)


class QwenImageNetwork(ModuleNetwork):
    """The transformer over tokens of 2 x 2 cells; the label is the flow time t in thousandths."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`."""
        height, width = x.shape[2:]
        tokens = self.module(
            packed(x),
            timestep=label / 1000,
            encoder_hidden_states=self.given(conditioning, EMBEDDING),
            encoder_hidden_states_mask=meant(conditioning, x),
            img_shapes=[[(1, height // 2, width // 2)]] * len(x),
            return_dict=False,
        )[0]
        return unpacked(tokens, height, width)


class QwenImage(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "qwen-image"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "QwenImageTransformer2DModel", "Qwen-Image transformer")
    begins = "QwenImageTransformer"

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer is for another task than text to image."""
        check_packed(configs, where, LATENT)
        if other := [name for name in _OTHER_TASKS if configs["transformer"].get(name)]:
            raise ModelError(f"{where}: the transformer has {other[0]}: {CARD.title} are supported")

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `"distilled": true` holds a model distilled to few steps.
        """
        few = bool(parts.card.get("distilled", False))
        reading = Reading(_chat, lambda states: states[-1], LIMIT, skip=PREFIX_TOKENS)
        return assembled(
            self,
            parts,
            origin,
            QwenImageNetwork(parts["transformer"], origin.device),
            schedules=flow_schedules(parts.scheduler),
            text=read_by(parts, origin, reading),
            policy=policy_of(CARD, parts, distilled=few, join=norm_kept(token_norm)),
            patch=2,
            distilled=few,
        )


def _chat(text: str) -> str:
    return f"{PREFIX}{text}{SUFFIX}"


FAMILY = QwenImage()
