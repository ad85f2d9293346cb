"""A family offered to wordbrush from outside: pictures of two plain halves, by rectified flow on pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser
from wordbrush.diffusion.schedule import FlowSchedule
from wordbrush.models.codec import IdentityCodec
from wordbrush.models.family import Card, Family, Origin, Parts, network
from wordbrush.models.model import Canvas, Guidance, Model, Prompt

TONES, SPREAD = ("dark", "grey", "light"), 0.3


class Halves(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is not typed
    """The exact velocity where each half is Gaussian around the tone that a text gives it."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.tones = torch.nn.Parameter(torch.tensor([-0.5, 0.0, 0.5]))

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        sigma, right = (label / 1000).to(x)[:, None, None, None], torch.arange(x.shape[-1]) >= x.shape[-1] // 2
        mean = self.tones[conditioning["halves"]][:, None, None, right.long()].to(x)
        pull = (x - (1 - sigma) * mean) / (((1 - sigma) * SPREAD) ** 2 + sigma**2)
        return (sigma - (1 - sigma) * SPREAD**2) * pull - mean  # eps - x0


class HalfTexts:
    """Reads `dark left, light right`; a half that is not named is grey."""

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        said = [{p.split()[-1]: p.split()[0] for p in text.split(",") if p.strip()} for text in texts]
        rows = [[[TONES.index(half.get(side, "grey")) for side in ("left", "right")]] for half in said]
        return [Prompt(t, Conditioning({"halves": torch.tensor(r)})) for t, r in zip(texts, rows, strict=True)]


class HalvesFamily(Family):
    name, parts = "halves", {"transformer": network("Halves", library=__name__)}
    card = Card("Halves", 32, "none", 1.0, ("flow",), "CC0-1.0", "exact: a closed form")

    def recognises(self, index: Mapping[str, Any]) -> bool:
        return index.get("_class_name") == "HalvesPipeline"

    def build(self, parts: Parts, origin: Origin) -> Model:
        identity = origin.identity(self.name, parts, "flow", torch.float32)
        denoiser = NetworkDenoiser(parts["transformer"], "flow")
        guidance, place = Guidance(self.card.guidance, self.card.scale), (origin.device, torch.float32)
        return Model(identity, FlowSchedule(), denoiser, IdentityCodec(), HalfTexts(), 32, guidance, *place)


FAMILY = HalvesFamily()
