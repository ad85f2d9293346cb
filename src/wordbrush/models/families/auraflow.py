"""AuraFlow: a rectified flow told 256 states of a T5, those of the padding set to zero."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.models.assembly import TransformerFamily, assembled, flow_card, read_by
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.layer_names import AURAFLOW
from wordbrush.models.family import SCHEDULER, Origin, Parts, PartSpec, network, tokenizer
from wordbrush.models.language import Reading
from wordbrush.models.model import Model
from wordbrush.models.network import ModuleNetwork
from wordbrush.models.text import EMBEDDING

__all__ = ["FAMILY", "AuraFlowNetwork"]

CARD = flow_card(title="AuraFlow checkpoints", scale=3.5, licence="Apache-2.0")
PARTS: Mapping[str, PartSpec] = {
    "transformer": network("AuraFlowTransformer2DModel"),
    "vae": network("AutoencoderKL"),
    "text_encoder": network("UMT5EncoderModel", library="transformers"),
    "tokenizer": tokenizer("LlamaTokenizerFast", "LlamaTokenizer", alone=("tokenizer.model",)),
    "scheduler": SCHEDULER,
}
_LIMIT = 256


class AuraFlowNetwork(ModuleNetwork):
    """The transformer: it is told the flow time from 0 to 1 and answers with the velocity."""

    def forward(self, x: Tensor, label: Tensor, conditioning: Conditioning) -> Tensor:
        """See `ModuleNetwork.forward`; the label is the flow time in thousandths."""
        text, time = self.given(conditioning, EMBEDDING), (label / 1000).to(x.dtype)
        output: Tensor = self.module(x, encoder_hidden_states=text, timestep=time, return_dict=False)[0]
        return output


class AuraFlow(TransformerFamily):
    """The family; see `wordbrush.models.family.Family`."""

    name = "auraflow"
    card = CARD
    parts = PARTS
    file = NetworkFile("transformer", "AuraFlowTransformer2DModel", "AuraFlow transformer")
    begins = "AuraFlow"
    lora_names = AURAFLOW

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together; see `Family.build`."""
        transformer, codec = parts["transformer"], AutoencoderCodec(parts["vae"], device=origin.device)
        reading = Reading(lambda text: text, lambda states: states[-1], _LIMIT, padded=True, blank=True)
        side = int(transformer.config.sample_size) * codec.factor * int(transformer.config.patch_size)
        return assembled(
            self,
            parts,
            origin,
            AuraFlowNetwork(transformer, origin.device),
            schedule=schedule_from_config(parts.scheduler),
            codec=codec,
            text=read_by(parts, origin, reading),
            side=side,
            patch=int(transformer.config.patch_size),
        )


FAMILY = AuraFlow()
