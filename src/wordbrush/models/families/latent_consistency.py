"""Latent consistency models: Stable Diffusion distilled to few steps, its UNet told the scale of guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.schedule import DiscreteSchedule, Level, schedule_from_config
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.assembly import assembled, chosen_kind, policy_of
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.stable_diffusion import StableDiffusion
from wordbrush.models.families.stable_diffusion_configs import PARTS, check_networks
from wordbrush.models.family import TRANSLATED, Card, Family, Origin, Parts, classes_of
from wordbrush.models.model import GUIDANCE, Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING, ClipText

__all__ = ["FAMILY", "ConsistencyNetwork", "PickedSchedule", "guidance_waves"]

CARD = Card(
    title="Latent consistency models of Stable Diffusion",
    native=512,
    guidance="embedded",
    scale=8.5,
    parametrisations=("epsilon", "v_prediction"),
    licence="see the checkpoint",
    evidence=TRANSLATED,
    encoding="noise",
    sibling="its Stable Diffusion original",
)
_TOLD = "time_cond_proj_dim"
_TRAINED_STEPS = 50
_LEAST_SCALE = 3.0
"""They were distilled under scales from 3 to 13, of which the least stands for guidance that is off."""


class ConsistencyNetwork(ModuleNetwork):
    """The UNet, with waves of the guidance weight beside the timestep.

    The consistency function is c_out x0 + c_skip x (Luo et al. 2023, equation 9). At the timesteps these models are
    trained at, 19 and above, c_skip is below 1e-5 and 1 - c_out too, so x0 is taken as it is.
    """

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the timestep."""
        # The weight w of Ho and Salimans, one less than the scale.
        weight = conditioning[GUIDANCE].to(self.device, torch.float32) - 1
        told = guidance_waves(weight, int(getattr(self.module.config, _TOLD))).to(x.dtype)
        text = self.given(conditioning, EMBEDDING)
        output: Tensor = self.module(x, label, text, timestep_cond=told, return_dict=False)[0]
        return output


def guidance_waves(weight: Tensor, width: int) -> Tensor:
    """Return sines and cosines of 1000 w (batch,) at wavelengths from 2 pi to 20,000 pi, (batch, width)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=weight.device) * (-math.log(10_000) / max(half - 1, 1)))
    phases = 1000 * weight[:, None] * rates
    return torch.nn.functional.pad(torch.cat([phases.sin(), phases.cos()], dim=1), (0, width % 2))


class PickedSchedule:
    """A discrete schedule whose grids take evenly from the timesteps that the model was distilled at.

    Args:
        whole: the schedule of all timesteps.
        trained: number of timesteps of the distillation, evenly spaced up to the noisiest.
    """

    def __init__(self, whole: DiscreteSchedule, trained: int) -> None:
        self.whole, self.trained = whole, trained

    def level(self, time: float) -> Level:
        """See `wordbrush.diffusion.schedule.Schedule.level`."""
        return self.whole.level(time)

    def grid(self, steps: int) -> tuple[Level, ...]:
        """Return the clean level and those of `steps` timesteps, least noisy first: of 4, labels 259, 499, 759, 999.

        Raises:
            SettingsError: `steps` is not in 1 ... `trained`.
        """
        if not 1 <= steps <= self.trained:
            raise SettingsError(f"{steps} steps do not fit a model distilled at {self.trained}: give 1 to 8 or so")
        apart = self.whole.size // self.trained
        indices = [self.trained - index * self.trained // steps for index in reversed(range(steps))]
        return (self.whole.level(0.0), *(self.whole.at_label(index * apart - 1) for index in indices))


class LatentConsistency(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "latent-consistency"
    card = CARD
    parts = PARTS
    lora = StableDiffusion.lora

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether its pipeline is one of latent consistency; nothing else in an index tells."""
        return str(index.get("_class_name", "")).startswith("LatentConsistency") and "unet" in classes_of(index)

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the UNet is not told its guidance, or is for another task than text to image."""
        unet = configs["unet"]
        if unet.get(_TOLD) is None:
            raise ModelError(
                f"{where}: the UNet is not told its guidance ({_TOLD} is not set), so it is that of an ordinary model: "
                "load it with StableDiffusionPipeline, with an LCM-LoRA where it was distilled so"
            )
        check_networks({**unet, _TOLD: None}, configs["vae"], where)

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        unet, codec = parts["unet"], AutoencoderCodec(parts["vae"], device=origin.device)
        schedule = schedule_from_config(parts.scheduler)
        if not isinstance(schedule, DiscreteSchedule):
            raise ModelError("the scheduler is one of rectified flow, and the network is a UNet of noise steps")
        trained = int(parts.scheduler.get("original_inference_steps", _TRAINED_STEPS))
        return assembled(
            self,
            parts,
            origin,
            ConsistencyNetwork(unet, origin.device),
            chosen_kind(CARD, origin, parts),
            schedule=PickedSchedule(schedule, trained),
            codec=codec,
            text=ClipText(parts["tokenizer"], parts["text_encoder"], origin.device, parts.words),
            side=int(unet.config.sample_size) * codec.factor,
            encoding=CARD.encoding,
            sibling=CARD.sibling,
            policy=policy_of(CARD, parts, least=_LEAST_SCALE),
        )


FAMILY = LatentConsistency()
