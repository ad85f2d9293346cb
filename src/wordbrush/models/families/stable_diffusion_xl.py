"""Stable Diffusion XL: a UNet that reads two CLIPs, and is told the size of the picture beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes, check_items
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.assembly import assembled, chosen_kind, few_steps
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.stable_diffusion_claims import claims_of_file, scheduler_claims, settled, zero_snr_of
from wordbrush.models.families.stable_diffusion_configs import TOKENIZER
from wordbrush.models.family import SCHEDULER, TRANSLATED, Card, Family, Origin, Parts, PartSpec, classes_of, network
from wordbrush.models.header import Header
from wordbrush.models.model import Canvas, Model, Prompt
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.precision import answered, evaluating
from wordbrush.models.text import EMBEDDING, ENCODER
from wordbrush.models.words import check_prompt, dropped_words, unknown_words

__all__ = ["FAMILY", "ClipPair", "XLNetwork"]

CARD = Card(
    title="Stable Diffusion XL text-to-image checkpoints",
    native=1024,
    guidance="cfg",
    scale=5.0,
    parametrisations=("epsilon", "v_prediction"),
    licence="CreativeML Open RAIL++-M",
    evidence=TRANSLATED,
    sibling="stabilityai/stable-diffusion-xl-base-1.0",
)
PARTS: Mapping[str, PartSpec] = {
    "unet": network("UNet2DConditionModel"),
    "vae": network("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": network("CLIPTextModel", library="transformers"),
    "text_encoder_2": network("CLIPTextModelWithProjection", library="transformers"),
    "tokenizer": TOKENIZER,
    "tokenizer_2": TOKENIZER,
    "scheduler": SCHEDULER,
}
_POOLED, _SIZES = "text_embeds", "time_ids"


class XLNetwork(ModuleNetwork):
    """The UNet, with the pooled text and the sizes it was trained to be told."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the timestep."""
        added = {name: self.given(conditioning, name) for name in (_POOLED, _SIZES)}
        text = self.given(conditioning, EMBEDDING)
        output: Tensor = self.module(x, label, text, added_cond_kwargs=added, return_dict=False)[0]
        return output


class ClipPair:
    """Two CLIPs side by side: hidden states before the last layer of both, and the pooled answer of the second.

    Args:
        tokenizers: one an encoder.
        encoders: a CLIPTextModel and a CLIPTextModelWithProjection.
        device: where they run.
        side: pixels of the native square, for texts without a canvas.
        cell: pixels a latent cell.
        empty_is_zero: an empty text is zeros, not what the encoders make of it (`force_zeros_for_empty_prompt`).
        words: the words the model was taught, in lower case; empty when that is not known.
    """

    def __init__(
        self,
        tokenizers: Sequence[Any],
        encoders: Sequence[Any],
        device: torch.device,
        *,
        side: int,
        cell: int,
        empty_is_zero: bool = True,
        words: Sequence[str] = (),
    ) -> None:
        self.tokenizers, self.encoders, self.device = tuple(tokenizers), tuple(encoders), device
        self.side, self.cell, self.empty_is_zero, self.words = side, cell, empty_is_zero, frozenset(words)

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself, for a canvas in latent cells.

        Raises:
            InputError: a text is not text, or longer than 2,000 characters.
            SettingsError: `clip_skip` is negative or leaves no layer.
            NotFiniteError: an encoder overflowed.
        """
        layers = min(int(encoder.config.num_hidden_layers) for encoder in self.encoders) - 1
        if not 0 <= clip_skip < layers:
            raise SettingsError(f"clip skip {clip_skip} is outside 0 to {layers - 1} for these encoders")
        return [self._prompt(check_prompt(text), clip_skip, canvas) for text in texts]

    def _prompt(self, text: str, clip_skip: int, canvas: Canvas | None) -> Prompt:
        width, height = (self.side, self.side) if canvas is None else (side * self.cell for side in canvas)
        notes = Notes()
        states, pooled = zip(*(self._read(index, text, clip_skip, notes) for index in (0, 1)), strict=True)
        tensors = {EMBEDDING: torch.cat(states, dim=-1), _POOLED: pooled[1]}
        if self.empty_is_zero and not text:
            tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        tensors[_SIZES] = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        dropped = dropped_words(text, self._count, self._limit(0))
        return Prompt(text, Conditioning(tensors), dropped, unknown_words(text, self.words), notes.texts)

    def _read(self, index: int, text: str, clip_skip: int, notes: Notes) -> tuple[Tensor, Tensor]:
        """Return an encoder's hidden states (1, token, width), and its answer for the whole text."""
        encoder, whole = self.encoders[index], list[Tensor]()
        tokens = self.tokenizers[index](
            [text], padding="max_length", max_length=self._limit(index), truncation=True, return_tensors="pt"
        )

        def read(_rows: Any) -> Tensor:
            output = encoder(tokens.input_ids.to(self.device), output_hidden_states=True)
            whole[:] = [output[0]]
            states: Tensor = output.hidden_states[-(clip_skip + 2)]
            return states

        with torch.no_grad(), evaluating(encoder):
            return answered(encoder, read, ENCODER, notes), check_items(whole[0], ENCODER)

    def _limit(self, index: int) -> int:
        limits = self.tokenizers[index].model_max_length, self.encoders[index].config.max_position_embeddings
        return min(map(int, limits))

    def _count(self, text: str) -> int:
        return len(self.tokenizers[0]([text], truncation=False, verbose=False).input_ids[0])


class XLFile(NetworkFile):
    """Files of this family, in which trainers and merges say what the network predicts."""

    def scheduled(
        self, scheduler: Mapping[str, Any], path: Path, header: Header
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """See `NetworkFile.scheduled`."""
        kind, notes = settled([*claims_of_file(path, header), *scheduler_claims(scheduler)])
        said: dict[str, Any] = {} if kind is None else {"prediction_type": kind}
        if zero_snr_of(header):
            said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return {**scheduler, **said}, notes


class StableDiffusionXL(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "stable-diffusion-xl"
    card = CARD
    parts = PARTS
    file = XLFile(
        "unet",
        "UNet2DConditionModel",
        "Stable Diffusion XL UNet",
        holds=("label_emb.0.0.weight", "add_embedding.linear_1.weight"),
        texts={
            "text_encoder": "conditioner.embedders.0.transformer.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
    )
    lora: Mapping[str, tuple[str, ...]] = {
        "unet": ("unet.", "lora_unet_", "diffusion_model."),
        "text_encoder": ("text_encoder.", "lora_te1_", "lora_te_"),
        "text_encoder_2": ("text_encoder_2.", "lora_te2_"),
    }

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether there are a UNet and a second text encoder."""
        classes = classes_of(index)
        return "unet" in classes and "text_encoder_2" in classes

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the UNet is for another task than text to image."""
        unet, latent = configs["unet"], int(configs["vae"].get("latent_channels", 4))
        if int(unet.get("in_channels", 4)) != latent:
            raise ModelError(
                f"{where}: the UNet takes {unet['in_channels']} channels and the latent has {latent}; it is for "
                "inpainting or instructions. DiffEdit finds its own mask: use the text-to-image checkpoint"
            )
        if unet.get("addition_embed_type") != "text_time" or unet.get("time_cond_proj_dim") is not None:
            raise ModelError(f"{where}: the UNet is not told size and pooled text alone: {CARD.title} are supported")

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `distilled` true or false is taken at its word; else the name decides.
        """
        unet, codec = parts["unet"], AutoencoderCodec(parts["vae"], device=origin.device)
        few, notes = few_steps(parts, origin)
        side = int(parts.card.get("resolution", int(unet.config.sample_size) * codec.factor))
        text = ClipPair(
            (parts["tokenizer"], parts["tokenizer_2"]),
            (parts["text_encoder"], parts["text_encoder_2"]),
            origin.device,
            side=side,
            cell=codec.factor,
            empty_is_zero=bool(parts.index.get("force_zeros_for_empty_prompt", True)),
            words=parts.words,
        )
        return assembled(
            self,
            parts,
            origin,
            XLNetwork(unet, origin.device),
            chosen_kind(CARD, origin, parts),
            schedule=schedule_from_config(parts.scheduler),
            codec=codec,
            text=text,
            side=side,
            distilled=few,
            notes=notes,
        )


FAMILY = StableDiffusionXL()
