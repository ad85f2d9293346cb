"""Sana and Sana-Sprint: a flow on cells of 32 pixels, texts read by Gemma under an instruction to elaborate on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import MASK, Conditioning
from wordbrush.diffusion.schedule import FlowSchedule, GridRule, Level, Schedule, shift_of
from wordbrush.errors import SettingsError
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, policy_of, read_by
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import SANA
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, classes_of, network, tokenizer
from wordbrush.models.language import Reading
from wordbrush.models.model import GUIDANCE, Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "SanaNetwork", "SprintNetwork", "TrigSchedule"]

CARD = flow_card(
    title="Sana and Sana-Sprint checkpoints",
    scale=4.5,
    licence="NVIDIA licences: see the checkpoint",
    sibling="Efficient-Large-Model/Sana_1600M_1024px_diffusers",
)
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("SanaTransformer2DModel"),
    "vae": network("AutoencoderDC"),
    "text_encoder": network("Gemma2Model", "Gemma2ForCausalLM", library="transformers"),
    "tokenizer": tokenizer("GemmaTokenizer", "GemmaTokenizerFast", alone=("tokenizer.model",)),
    "scheduler": SCHEDULER,
}
_LIMIT = 300
_LEAST_SCALE = 4.0
"""Sprint was distilled under scales from 4 to 5, of which the least stands for guidance that is off."""
INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street "
        "lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass "
        "skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    )
)
"""What Sana was trained to read before every prompt (Xie et al. 2024, section 3.1): an interface, to the letter."""


class SanaNetwork(ModuleNetwork):
    """The transformer; it answers with the velocity, and with a variance beside it where it has twice the channels."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time in thousandths."""
        return self.told(x, label * float(self.module.config.timestep_scale), conditioning)

    def told(self, x: Tensor, time: Tensor, conditioning: Conditioning, **more: Any) -> Tensor:
        """Call the module at its own time."""
        output: Tensor = self.module(
            x,
            encoder_hidden_states=self.given(conditioning, EMBEDDING),
            encoder_attention_mask=self.given(conditioning, MASK),
            timestep=time,
            return_dict=False,
            **more,
        )[0]
        return output[:, : x.shape[1]]


class SprintNetwork(SanaNetwork):
    """The transformer of Sprint: told the flow time from 0 to 1, and the scale of guidance.

    Its pipeline walks an arc, x = cos(t) x0 + sin(t) eps; divided by cos(t) + sin(t) that is a flow at time
    sin(t) / (cos(t) + sin(t)), of which the network is told, and its answer is the velocity there.
    """

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time in thousandths."""
        scale = self.given(conditioning, GUIDANCE) * float(self.module.config.guidance_embeds_scale)
        return self.told(x, label / 1000, conditioning, guidance=scale)


class TrigSchedule(FlowSchedule):
    """A flow whose grids are even on the arc of Sprint's pipeline: angles from a quarter turn down to 0.

    Two steps are the exception: their second angle is 1.3, as in that pipeline (Chen et al. 2025).
    """

    _SECOND = 1.3

    def grid(self, steps: int) -> tuple[Level, ...]:
        """Return the clean level and `steps` levels up to sigma 1, least noisy first.

        Raises:
            SettingsError: `steps` is below 1.
        """
        if steps < 1:
            raise SettingsError(f"{steps} steps: give at least 1")
        angles = [math.pi / 2 * (1 - i / steps) for i in range(steps)]
        if steps == 2:
            angles[1] = self._SECOND
        times = [math.sin(t) / (math.sin(t) + math.cos(t)) for t in reversed(angles)]
        return (self.level(0.0), *(self.level(min(t, 1.0)) for t in times))


class Sana(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "sana"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "SanaTransformer2DModel", "Sana transformer")
    lora_names = SANA

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is Sana's for pictures."""
        return classes_of(index).get("transformer") == "SanaTransformer2DModel"

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        config = transformer.config
        sprint = bool(config.guidance_embeds)
        network = SprintNetwork if sprint else SanaNetwork
        side = int(config.sample_size) * codec.factor
        readings = _reading(parts["tokenizer"], always=sprint), _ALONE
        texts = [
            read_by(parts, origin, reading)
            for reading in readings
        ]
        return assembled(
            self,
            parts,
            origin,
            network(transformer, origin.device),
            schedule=TrigSchedule() if sprint else _schedule(parts.scheduler),
            codec=codec,
            text=texts[0],
            negative=texts[1],
            side=side,
            policy=policy_of(CARD, parts, kind="embedded", least=_LEAST_SCALE) if sprint else policy_of(CARD, parts),
            patch=int(config.patch_size),
            distilled=sprint,
        )


def _plain(text: str) -> str:
    return text.lower().strip()


_ALONE = Reading(_plain, lambda states: states[-1], _LIMIT)
"""How a text that is guided away from is read."""


def _schedule(config: Mapping[str, Any]) -> Schedule:
    """Return the flow; the configuration of a multistep solver (`use_flow_sigmas`) spaces levels evenly to 1 / N."""
    rule: GridRule = "once" if config.get("use_flow_sigmas") else "twice"
    return FlowSchedule(shift=shift_of(config), size=int(config.get("num_train_timesteps", 1000)), rule=rule)


def _reading(reader: Any, *, always: bool) -> Reading:
    """Return how texts are read: under the instruction, whose own states are left out but for the first.

    The empty text stands for no text and is read alone, unless `always`: guidance is in the network then.
    """
    ahead = len(reader.encode(INSTRUCTION))

    def laid_out(text: str) -> str:
        return INSTRUCTION + _plain(text) if always or _plain(text) else ""

    return Reading(
        laid_out,
        lambda states: torch.cat([states[-1][:, :1], states[-1][:, ahead - 1 :]], dim=1),
        ahead + _LIMIT - 2,
    )


FAMILY = Sana()
