"""PixArt-Sigma: a transformer that is told T5's states of the text, and answers with noise and a learned variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.errors import ModelError
from wordbrush.models.assembly import assembled, chosen_kind, read_by
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.family import (
    SCHEDULER,
    TRANSLATED,
    Card,
    Family,
    Origin,
    Parts,
    PartSpec,
    classes_of,
    network,
    tokenizer,
)
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "PixArtNetwork"]

CARD = Card(
    title="PixArt-Sigma checkpoints",
    native=1024,
    guidance="cfg",
    scale=4.5,
    parametrisations=("epsilon",),
    licence="CreativeML Open RAIL++-M",
    evidence=TRANSLATED,
    half="bfloat16",
)
_OLD_NAME = "Transformer2DModel"
"""What older files call the transformer; diffusers loads it as what it is."""
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("PixArtTransformer2DModel", _OLD_NAME),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("T5EncoderModel", library="transformers"),
    "tokenizer": tokenizer("T5Tokenizer", "T5TokenizerFast", alone=("spiece.model",)),
    "scheduler": SCHEDULER,
}
_LIMIT = 300


class PixArtNetwork(ModuleNetwork):
    """The transformer; the first half of its channels is the noise, the second a learned variance."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the timestep."""
        output: Tensor = self.module(
            x,
            encoder_hidden_states=self.given(conditioning, EMBEDDING),
            encoder_attention_mask=self.given(conditioning, MASK),
            timestep=label,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return output[:, : x.shape[1]]


class PixArt(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "pixart-sigma"
    card = CARD
    parts = PARTS

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is PixArt's, and not PixArt-Alpha's."""
        classes, pipeline = classes_of(index), str(index.get("_class_name", ""))
        known = classes.get("transformer", "").startswith("PixArt")
        old = classes.get("transformer") == _OLD_NAME and "text_encoder" in classes
        return (known or old) and not pipeline.startswith("PixArtAlpha")

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer wants the picture's size beside the text."""
        config = configs["transformer"]
        told = config.get("use_additional_conditions")
        if told or (told is None and config.get("sample_size") == 128):
            raise ModelError(
                f"{where}: the transformer is told resolution and aspect ratio, as PixArt-Alpha's is: {CARD.title}, "
                "such as PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, are supported"
            )

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        reading = Reading(lambda text: text.lower().strip(), lambda states: states[-1], _LIMIT)
        side = int(transformer.config.sample_size) * codec.factor
        return assembled(
            self,
            parts,
            origin,
            PixArtNetwork(transformer, origin.device),
            chosen_kind(CARD, origin, parts),
            schedule=schedule_from_config(parts.scheduler),
            codec=codec,
            text=read_by(parts, origin, reading),
            side=side,
            patch=int(transformer.config.patch_size),
        )


FAMILY = PixArt()
