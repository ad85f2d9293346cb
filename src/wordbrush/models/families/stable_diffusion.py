"""Stable Diffusion 1.x and 2.x, and anything built of the same parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser, Parametrisation
from wordbrush.diffusion.schedule import DiscreteSchedule, Schedule, schedule_from_config
from wordbrush.errors import ModelError
from wordbrush.models.addons.embeddings import learnt_words
from wordbrush.models.checkpoint.networks import translated
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.stable_diffusion_claims import ASKED, known_kind, scheduler_claims, settled
from wordbrush.models.families.stable_diffusion_configs import KNOWN, PARTS, TITLE, check_networks
from wordbrush.models.families.stable_diffusion_file import StableDiffusionFile
from wordbrush.models.families.stable_diffusion_probe import probe
from wordbrush.models.family import Card, Origin, Parts, classes_of
from wordbrush.models.model import Guidance, Model
from wordbrush.models.network import ModuleNetwork
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
_SD2_WIDTH = 1024
_PROBED = 32
"""Side in latent cells of the noise that a network is tried on."""
_SHORTEST = 3
"""Tokens of the shortest text: begin, one word, end."""
_DISTILLED = {"LCMScheduler", "TCDScheduler"}
_NAMES = {768: "stable-diffusion-1", _SD2_WIDTH: "stable-diffusion-2"}
"""Width of the text a UNet takes, to what its model is called in records."""


class UNetNetwork(ModuleNetwork):
    """A UNet2DConditionModel, which is told the text alone."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the timestep."""
        text = self.given(conditioning, EMBEDDING)
        output: Tensor = self.module(x, label, encoder_hidden_states=text, return_dict=False)[0]
        return output


class StableDiffusion:
    """The family; see `wordbrush.models.family.Family`."""

    name = "stable-diffusion"
    card = CARD
    parts = PARTS
    lora: Mapping[str, tuple[str, ...]] = {
        "unet": ("unet.", "lora_unet_", "diffusion_model."),
        "text_encoder": ("text_encoder.", "lora_te_", "lora_te1_"),
    }
    lora_names: Mapping[str, tuple[str, ...]] = {}
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
        unet, encoder = parts["unet"], parts["text_encoder"]
        codec = AutoencoderCodec(parts["vae"], device=origin.device)
        text = _text(parts, origin.device)
        text_width, unet_width = int(encoder.config.hidden_size), _single(unet.config.cross_attention_dim)
        if text_width != unet_width:
            raise ModelError(
                f"the text encoder gives {text_width} numbers a token and the UNet wants {unet_width}: they do not fit"
            )
        network = UNetNetwork(unet, origin.device)
        kind, notes = _kind(parts, origin, network, text)
        schedule, told = _schedule(parts.scheduler, kind)
        side = 768 if _second_generation(unet) and kind == "v_prediction" else CARD.native
        return Model(
            identity=origin.identity(_NAMES.get(unet_width, self.name), parts, kind, unet.dtype),
            schedule=schedule,
            denoiser=NetworkDenoiser(network, kind),
            codec=codec,
            text=text,
            resolution=_single(unet.config.sample_size or side // codec.factor) * codec.factor,
            policy=Guidance(CARD.guidance, float(parts.card.get("guidance", CARD.scale))),
            device=origin.device,
            dtype=unet.dtype,
            words=parts.words,
            card=parts.card,
            scheduler=parts.scheduler,
            fallbacks=network.notes,
            notes=(*notes, *told),
        )


def _text(parts: Parts, device: torch.device) -> ClipText:
    """Return the text encoder, once its tokenizer has read a text: what its files get wrong is found at load."""
    tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
    longest, rows = tokenizer.model_max_length, encoder.get_input_embeddings().num_embeddings
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not _SHORTEST <= longest < math.inf:
        raise ModelError(f"the tokenizer's model_max_length is {longest!r}, where at least {_SHORTEST} is wanted")
    if (largest := max(tokenizer.get_vocab().values(), default=0)) >= rows:
        raise ModelError(
            f"the tokenizer has a token numbered {largest} and the text encoder embeds {rows}: they belong to "
            "different models, or vocab.json is damaged"
        )
    text = ClipText(tokenizer, encoder, device, parts.words, _spelling(parts))
    with quiet(), translated("the tokenizer cannot be used"):
        tokenizer([""], padding="max_length", max_length=text.limit, truncation=True, return_tensors="pt")
    return text


def _kind(
    parts: Parts, origin: Origin, network: UNetNetwork, text: ClipText
) -> tuple[Parametrisation, tuple[str, ...]]:
    """Return what the network predicts: as asked, as the checkpoint says, as it turns out, or a guess that is told."""
    asked = [] if origin.parametrisation is None else [(origin.parametrisation, ASKED)]
    for kind, _ in asked:
        _parametrisation(kind)
    said, notes = settled([*asked, *parts.claims, *scheduler_claims(parts.scheduler)])
    if said is not None:
        return _parametrisation(said), notes
    unet = network.module
    if not _second_generation(unet):  # where silence has always meant epsilon
        return "epsilon", ()
    if origin.device.type == "meta":  # an outline has no weights to try
        return _parametrisation(parts.unsaid), ("nothing says what the network predicts: it is found out at load",)
    schedule = schedule_from_config({**parts.scheduler, "rescale_betas_zero_snr": False})
    if isinstance(schedule, DiscreteSchedule):
        multiple = 2 ** (len(unet.config.block_out_channels) - 1)
        side = max(multiple, min(_single(unet.config.sample_size or _PROBED), _PROBED) // multiple * multiple)
        shape = (int(unet.config.in_channels), side, side)
        found = probe(network, schedule, text.encode([""])[0].conditioning, shape)
        if found is not None:
            return found, ()
    guess = _parametrisation(parts.unsaid)
    return guess, (
        f"nothing says what the network predicts, and a try on known noise did not tell: guessed {guess}; if the "
        "results are noise, say --parametrisation (parametrisation=) epsilon or v_prediction",
    )


def _schedule(scheduler: Mapping[str, Any], kind: Parametrisation) -> tuple[Schedule, tuple[str, ...]]:
    """Return the noise schedule, and what is to be known of it.

    Raises:
        ModelError: it is one of rectified flow, which no network of this family was trained on.
    """
    notes = []
    if kind == "epsilon" and scheduler.get("rescale_betas_zero_snr"):
        scheduler = {**scheduler, "rescale_betas_zero_snr": False}
        notes.append("the noise schedule is not rescaled to zero terminal SNR, where epsilon prediction is undefined")
    name = str(scheduler.get("_class_name", "its scheduler"))
    schedule = schedule_from_config(scheduler)
    if not isinstance(schedule, DiscreteSchedule):
        raise ModelError(f"{name} is a schedule of rectified flow, and the network is a UNet of noise steps: {KNOWN}")
    if name in _DISTILLED:
        notes.append(
            f"its scheduler is {name}, for networks distilled to few steps, which want little "
            "guidance: try --guidance 1 (guidance=1)"
        )
    return schedule, tuple(notes)


def _second_generation(unet: Any) -> bool:
    """Say whether a UNet is built as those of Stable Diffusion 2.x, of which some predict epsilon and some v."""
    return bool(unet.config.use_linear_projection) or _single(unet.config.cross_attention_dim) == _SD2_WIDTH


def _single(value: Any) -> int:
    return int(max(value)) if isinstance(value, list | tuple) else int(value)


def _parametrisation(kind: str) -> Parametrisation:
    name = known_kind(kind)
    if name is None:
        raise ModelError(f"prediction type {kind!r} is not supported: epsilon, v_prediction and sample are")
    return name


def _spelling(parts: Parts) -> Callable[[str], str] | None:
    """Return what spells out learnt embeddings of several vectors as the pipeline does; None where it has no such."""
    tokenizer, own = parts["tokenizer"], parts.pipeline is None
    if not own and not hasattr(parts.pipeline, "maybe_convert_prompt"):
        return None

    def convert(text: str) -> str:
        written = text.lower() if own else text  # words taught by this package are in small letters
        if not any(token in written for token in learnt_words(tokenizer)):
            return text
        from diffusers.loaders import TextualInversionLoaderMixin

        speller = TextualInversionLoaderMixin() if own else parts.pipeline
        with quiet():
            return str(speller.maybe_convert_prompt(written, tokenizer))

    return convert


FAMILY = StableDiffusion()
