"""DiT: ImageNet's classes in place of texts, the setting of DiffEdit's own ImageNet experiments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import silu

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.models.assembly import assembled, chosen_kind
from wordbrush.models.classes import CLASS, ClassText
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.family import SCHEDULER, TRANSLATED, Card, Family, Origin, Parts, PartSpec, classes_of, network
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork

__all__ = ["FAMILY", "DiTNetwork"]

CARD = Card(
    title="DiT checkpoints of ImageNet classes",
    native=256,
    guidance="cfg",
    scale=4.0,
    parametrisations=("epsilon",),
    licence="CC BY-NC 4.0",
    evidence=TRANSLATED,
)
_OLD_NAME = "Transformer2DModel"
"""What older files call the transformer; diffusers loads it as what it is."""
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("DiTTransformer2DModel", _OLD_NAME),
    "vae": network("AutoencoderKL"),
    "scheduler": SCHEDULER,
}


class DiTNetwork(ModuleNetwork):
    """The transformer; the first half of its channels is the noise, the second a learned variance."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the timestep."""
        classes, (rows, columns) = self.given(conditioning, CLASS), x.shape[2:]
        if rows == columns:
            output: Tensor = self.module(x, timestep=label, class_labels=classes, return_dict=False)[0]
        else:
            output = self._oblong(x, label, classes)
        return output[:, : x.shape[1]]

    def _oblong(self, x: Tensor, label: Tensor, classes: Tensor) -> Tensor:
        """Run the transformer on a canvas that is no square, which its own `forward` lays out as one."""
        net = self.module
        tokens = net.pos_embed(x)
        for block in net.transformer_blocks:
            tokens = block(tokens, timestep=label, class_labels=classes)
        told = silu(net.transformer_blocks[0].norm1.emb(label, classes, hidden_dtype=tokens.dtype))
        shift, scale = net.proj_out_1(told)[:, None].chunk(2, dim=-1)
        tokens = net.proj_out_2(net.norm_out(tokens) * (1 + scale) + shift)
        side = int(net.config.patch_size)
        rows, columns = x.shape[2] // side, x.shape[3] // side
        patches: Tensor = tokens.reshape(len(x), rows, columns, side, side, -1).permute(0, 5, 1, 3, 2, 4)
        return patches.flatten(4, 5).flatten(2, 3)


class DiT(Family):
    """The family; see `wordbrush.models.family.Family`."""

    name = "dit"
    card = CARD
    parts = PARTS

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is DiT's: one without a text encoder, under an old name."""
        classes = classes_of(index)
        kind = classes.get("transformer", "")
        return kind.startswith("DiTTransformer") or (kind == _OLD_NAME and "text_encoder" not in classes)

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        config = transformer.config
        side = int(config.sample_size) * codec.factor
        return assembled(
            self,
            parts,
            origin,
            DiTNetwork(transformer, origin.device),
            chosen_kind(CARD, origin, parts),
            schedule=schedule_from_config(parts.scheduler),
            codec=codec,
            text=ClassText(_names(parts), int(config.num_embeds_ada_norm), origin.device),
            side=side,
            patch=int(config.patch_size),
        )


def _names(parts: Parts) -> dict[int, str]:
    """Return the classes' names by number; each may be several, with commas between."""
    listed = parts.index.get("id2label")
    if isinstance(listed, Mapping):
        return {int(number): str(name) for number, name in listed.items()}
    names: dict[int, str] = {}
    for name, number in getattr(parts.pipeline, "labels", {}).items():
        names[int(number)] = f"{names[int(number)]}, {name}" if int(number) in names else str(name)
    return names


FAMILY = DiT()
