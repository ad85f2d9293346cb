"""Stable Diffusion 3 and 3.5: a rectified flow that reads two CLIPs side by side, and after them T5, if it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.models.assembly import TransformerFamily, assembled, few_steps, flow_card, policy_of
from wordbrush.models.checkpoint.single_file import SD3_TEXTS, NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import STABLE_DIFFUSION_3
from wordbrush.models.families.stable_diffusion_configs import TOKENIZER
from wordbrush.models.families.stable_diffusion_xl import ClipPair
from wordbrush.models.family import SCHEDULER, TRANSFORMER_LAYERS, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.model import Canvas, Model, Prompt
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.precision import answered, evaluating
from wordbrush.models.text import EMBEDDING, ENCODER
from wordbrush.models.words import dropped_words, unknown_words

__all__ = ["FAMILY", "SD3Network", "TripleText"]

CARD = flow_card(
    title="Stable Diffusion 3 and 3.5 checkpoints",
    scale=4.5,
    licence="Stability AI Community License: free below $1M revenue a year",
    sibling="stabilityai/stable-diffusion-3.5-large",
)
_CLIP = network("CLIPTextModelWithProjection", library="transformers")
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("SD3Transformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": _CLIP,
    "text_encoder_2": _CLIP,
    "text_encoder_3": replace(network("T5EncoderModel", library="transformers"), optional=True),
    "tokenizer": TOKENIZER,
    "tokenizer_2": TOKENIZER,
    "tokenizer_3": replace(tokenizer("T5TokenizerFast", "T5Tokenizer", alone=("spiece.model",)), optional=True),
    "scheduler": SCHEDULER,
}
_POOLED = "pooled_projections"
_T5_TOKENS = 256
_GUIDANCE_OF_3 = 7.0
"""The usual scale of Stable Diffusion 3; 3.5, whose attention normalises its queries and keys, takes less."""


class SD3Network(ModuleNetwork):
    """The transformer; it answers with the velocity."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time in thousandths."""
        output: Tensor = self.module(
            x,
            timestep=label,
            encoder_hidden_states=self.given(conditioning, EMBEDDING),
            pooled_projections=self.given(conditioning, _POOLED),
            return_dict=False,
        )[0]
        return output


class TripleText(ClipPair):
    """Two CLIPs side by side, padded to T5's width, and T5 after them, padding and all.

    Args:
        parts: of the checkpoint; where T5 is not among them, zeros stand for it.
        width: numbers a token that the transformer takes.
        cell: pixels a latent cell.
        device: where the encoders run.
    """

    def __init__(self, parts: Parts, width: int, cell: int, device: torch.device) -> None:
        tokenizers = parts["tokenizer"], parts["tokenizer_2"]
        encoders = parts["text_encoder"], parts["text_encoder_2"]
        super().__init__(tokenizers, encoders, device, side=CARD.native, cell=cell, words=parts.words)
        self.width, self.t5 = width, parts.networks.get("text_encoder_3")
        self.t5_tokenizer = None if self.t5 is None else parts["tokenizer_3"]

    def _prompt(self, text: str, clip_skip: int, canvas: Canvas | None) -> Prompt:
        notes = Notes()
        states, pooled = zip(*(self._read(index, text, clip_skip, notes) for index in (0, 1)), strict=True)
        clips = torch.cat(states, dim=-1)
        both = [pad(clips, (0, self.width - clips.shape[-1])), self._read_t5(text, notes).to(clips.device)]
        tensors = {EMBEDDING: torch.cat(both, dim=1), _POOLED: torch.cat(pooled, dim=-1)}
        limit = self._limit(0) if self.t5 is None else _T5_TOKENS
        dropped = dropped_words(text, self._count, limit)
        return Prompt(text, Conditioning(tensors), dropped, unknown_words(text, self.words), notes.texts)

    def _read_t5(self, text: str, notes: Notes) -> Tensor:
        encoder = self.t5
        if encoder is None or self.t5_tokenizer is None:
            return torch.zeros(1, _T5_TOKENS, self.width)
        tokens = self.t5_tokenizer(
            [text], padding="max_length", max_length=_T5_TOKENS, truncation=True, return_tensors="pt"
        )
        with torch.no_grad(), evaluating(encoder):
            return answered(encoder, lambda _: encoder(tokens.input_ids.to(self.device))[0], ENCODER, notes)

    def _count(self, text: str) -> int:
        if self.t5_tokenizer is None:
            return super()._count(text)
        return len(self.t5_tokenizer([text], truncation=False, verbose=False).input_ids[0])


class StableDiffusion3(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "stable-diffusion-3"
    card = CARD
    parts = PARTS
    file = NetworkFile(
        "transformer",
        "SD3Transformer2DModel",
        "Stable Diffusion 3 transformer",
        lacks=("single_transformer_blocks.0.proj_mlp.weight",),
        texts={
            "text_encoder": SD3_TEXTS["clip_l"],
            "text_encoder_2": SD3_TEXTS["clip_g"],
            "text_encoder_3": SD3_TEXTS["t5xxl"],
        },
    )
    begins = "SD3"
    lora: Mapping[str, tuple[str, ...]] = {
        "transformer": TRANSFORMER_LAYERS,
        "text_encoder": ("text_encoder.", "lora_te1_", "lora_te_", "text_encoders.clip_l.transformer."),
        "text_encoder_2": ("text_encoder_2.", "lora_te2_", "text_encoders.clip_g.transformer."),
    }
    lora_names = STABLE_DIFFUSION_3

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`.

        A folder whose `wordbrush.json` says `distilled` true or false is taken at its word; else the name decides.
        """
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        config = transformer.config
        few, notes = few_steps(parts, origin)
        usual = CARD if config.qk_norm else replace(CARD, scale=_GUIDANCE_OF_3)
        side = min(int(config.pos_embed_max_size) * int(config.patch_size) * codec.factor, CARD.native)
        return assembled(
            self,
            parts,
            origin,
            SD3Network(transformer, origin.device),
            schedule=schedule_from_config(parts.scheduler),
            codec=codec,
            text=TripleText(parts, int(config.joint_attention_dim), codec.factor, origin.device),
            side=side,
            policy=policy_of(usual, parts, distilled=few),
            patch=int(config.patch_size),
            distilled=few,
            notes=notes,
        )


FAMILY = StableDiffusion3()
