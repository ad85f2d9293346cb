"""Stable Diffusion 1.x and 2.x, and anything built of the same parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser, Parametrisation
from wordbrush.diffusion.faults import check_items
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.errors import ModelError
from wordbrush.models.addons.embeddings import learnt_words
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.codec import AutoencoderCodec, evaluating
from wordbrush.models.families.stable_diffusion_configs import PARTS, TITLE, check_networks
from wordbrush.models.families.stable_diffusion_file import StableDiffusionFile
from wordbrush.models.family import Card, Origin, Parts, classes_of
from wordbrush.models.model import Guidance, Model
from wordbrush.models.text import EMBEDDING, ClipText

__all__ = ["CARD", "FAMILY", "UNetNetwork"]

CARD = Card(
    title=TITLE,
    native=512,
    guidance="cfg",
    scale=7.5,
    parametrisations=("epsilon", "v_prediction", "sample"),
    licence="CreativeML Open RAIL-M (1.x), Open RAIL++-M (2.x)",
    evidence="measured: on scenes of known truth with pocket, a model of this build",
)
_NAMES = {768: "stable-diffusion-1", 1024: "stable-diffusion-2"}
"""Width of the text a UNet takes, to what its model is called in records."""


class UNetNetwork:
    """A diffusers UNet as the core calls it: it computes in its own dtype and answers in that of x.

    Args:
        unet: a UNet2DConditionModel; used in place and left as it was.
        device: where it runs.
    """

    def __init__(self, unet: Any, device: torch.device) -> None:
        self.unet, self.device = unet, device

    def __call__(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """Run the network. Gradients are followed only where x asks for them.

        Args:
            x: latents (batch, channel, height, width).
            label: timesteps (batch,), one an item.
            conditioning: `batch` rows with the text embedding.

        Returns:
            The output, shape, dtype and device of x.

        Raises:
            NotFiniteError: a row of the output is not finite; it knows which.
        """
        dtype = self.unet.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad), evaluating(self.unet):
            output = self.unet(
                x.to(self.device, dtype),
                label.to(torch.float32).to(self.device),
                encoder_hidden_states=conditioning[EMBEDDING].to(self.device, dtype),
                return_dict=False,
            )[0]
        return check_items(output.to(x.device, x.dtype), "the denoising network")


class StableDiffusion:
    """The family; see `wordbrush.models.family.Family`."""

    name = "stable-diffusion"
    card = CARD
    parts = PARTS
    lora: Mapping[str, tuple[str, ...]] = {
        "unet": ("unet.", "lora_unet_", "diffusion_model."),
        "text_encoder": ("text_encoder.", "lora_te_", "lora_te1_"),
    }
    embeddings = ("tokenizer", "text_encoder")

    def __init__(self) -> None:
        self.file = StableDiffusionFile()

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether there is a UNet, and neither a second text encoder nor a transformer."""
        if "text_encoder_2" in index or "transformer" in index:
            return False
        return "unet" in classes_of(index) or str(index.get("_class_name", "")).startswith("StableDiffusion")

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the UNet is for another task than text to image."""
        check_networks(configs["unet"], configs["vae"], where)

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        unet, vae, encoder = parts["unet"], parts["vae"], parts["text_encoder"]
        codec = AutoencoderCodec(vae, device=origin.device)
        text = ClipText(parts["tokenizer"], encoder, origin.device, parts.words, _spelling(parts))
        text_width, unet_width = int(encoder.config.hidden_size), _single(unet.config.cross_attention_dim)
        if text_width != unet_width:
            raise ModelError(
                f"the text encoder gives {text_width} numbers a token and the UNet wants {unet_width}: they do not fit"
            )
        kind = _parametrisation(origin.parametrisation or parts.scheduler.get("prediction_type", "epsilon"))
        return Model(
            identity=origin.identity(_NAMES.get(unet_width, self.name), parts, kind, unet.dtype),
            schedule=schedule_from_config(parts.scheduler),
            denoiser=NetworkDenoiser(UNetNetwork(unet, origin.device), kind),
            codec=codec,
            text=text,
            resolution=_single(unet.config.sample_size or CARD.native // codec.factor) * codec.factor,
            policy=Guidance(CARD.guidance, float(parts.card.get("guidance", CARD.scale))),
            device=origin.device,
            dtype=unet.dtype,
            words=parts.words,
            card=parts.card,
            scheduler=parts.scheduler,
        )


def _single(value: Any) -> int:
    return int(max(value)) if isinstance(value, list | tuple) else int(value)


def _parametrisation(kind: str) -> Parametrisation:
    for name in CARD.parametrisations:
        if name == kind:
            return name
    raise ModelError(f"prediction type {kind!r} is not supported: epsilon, v_prediction and sample are")


def _spelling(parts: Parts) -> Callable[[str], str] | None:
    """Return what spells out learnt embeddings of several vectors as the pipeline does; None where it has no such."""
    from diffusers.loaders import TextualInversionLoaderMixin

    tokenizer, own = parts["tokenizer"], parts.pipeline is None
    speller = TextualInversionLoaderMixin() if own else parts.pipeline
    if not hasattr(speller, "maybe_convert_prompt"):
        return None

    def convert(text: str) -> str:
        written = text.lower() if own else text  # words taught by this package are in small letters
        if not any(token in written for token in learnt_words(tokenizer)):
            return text
        with quiet():
            return str(speller.maybe_convert_prompt(written, tokenizer))

    return convert


FAMILY = StableDiffusion()
