"""Stable Diffusion 1.x and 2.x, and anything built of the same parts: from components to a Model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser, Parametrisation
from wordbrush.diffusion.faults import check_items
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.engine.memory import ChunkedCodec
from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.digests import digest_modules
from wordbrush.models.checkpoint.layout import check_networks
from wordbrush.models.checkpoint.parts import Components
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.weights import check_finite
from wordbrush.models.codec import AutoencoderCodec, evaluating
from wordbrush.models.model import LoraIdentity, Model, ModelIdentity
from wordbrush.models.text import EMBEDDING, ClipText

__all__ = ["UNetNetwork", "assemble", "from_pipeline", "is_pipeline"]

GUIDANCE = 7.5
_FAMILIES = {768: "stable-diffusion-1", 1024: "stable-diffusion-2"}
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


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


def assemble(
    parts: Components,
    identity: Mapping[str, str],
    device: torch.device,
    *,
    parametrisation: str | None = None,
    loras: tuple[LoraIdentity, ...] = (),
) -> Model:
    """Put a model together from components that are on their device already.

    Args:
        parts: the components.
        identity: `name`, `source` and `revision`.
        device: where they run.
        parametrisation: in place of the scheduler configuration's prediction type.
        loras: those applied.

    Raises:
        ModelError: the parts do not belong together, or the parametrisation is not supported.
    """
    unet, codec = parts.unet.config, AutoencoderCodec(parts.vae, device=device)
    text = ClipText(parts.tokenizer, parts.text_encoder, device, parts.words, parts.convert)
    told, wanted = int(parts.text_encoder.config.hidden_size), _single(unet.cross_attention_dim)
    if told != wanted:
        raise ModelError(f"the text encoder gives {told} numbers a token and the UNet wants {wanted}: they do not fit")
    kind = _parametrisation(parametrisation or parts.scheduler.get("prediction_type", "epsilon"))
    return Model(
        identity=ModelIdentity(
            **identity,
            family=_FAMILIES.get(wanted, "stable-diffusion"),
            sha256=parts.sha256,
            parametrisation=kind,
            device=str(device),
            dtype=str(parts.unet.dtype).removeprefix("torch."),
            loras=loras,
        ),
        schedule=schedule_from_config(parts.scheduler),
        denoiser=NetworkDenoiser(UNetNetwork(parts.unet, device), kind),
        codec=ChunkedCodec(codec),
        text=text,
        resolution=_single(unet.sample_size or 64) * codec.factor,
        guidance=float(parts.card.get("guidance", GUIDANCE)),
        device=device,
        dtype=parts.unet.dtype,
        words=parts.words,
        card=parts.card,
        scheduler=parts.scheduler,
    )


def _single(value: Any) -> int:
    return int(max(value)) if isinstance(value, list | tuple) else int(value)


def _parametrisation(kind: str) -> Parametrisation:
    known: tuple[Parametrisation, ...] = get_args(Parametrisation)
    for name in known:
        if name == kind and name != "flow":
            return name
    raise ModelError(f"prediction type {kind!r} is not supported: epsilon, v_prediction and sample are")


def is_pipeline(source: object) -> bool:
    """Say whether `source` looks like a loaded diffusers pipeline."""
    return not isinstance(source, type) and hasattr(source, "components") and hasattr(source, "scheduler")


def from_pipeline(pipeline: Any) -> tuple[Components, torch.device]:
    """Take the components of a loaded pipeline, in place: nothing is copied, moved or changed, nor is its scheduler.

    Raises:
        ModelError: it is no Stable Diffusion 1.x or 2.x text-to-image pipeline.
    """
    where = type(pipeline).__name__
    if getattr(pipeline, "text_encoder_2", None) is not None or getattr(pipeline, "transformer", None) is not None:
        raise ModelError(f"{where} is not of the Stable Diffusion 1.x or 2.x kind, which alone is supported")
    absent = [name for name in _PARTS if getattr(pipeline, name, None) is None]
    if absent:
        raise ModelError(f"{where} has no {absent[0]}: load the pipeline with all its parts")
    check_networks(pipeline.unet.config, pipeline.vae.config, where)
    modules = {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder")}
    for name, module in modules.items():
        check_finite(module, f"{where}: {name}")

    def convert(text: str) -> str:
        """Spell out learnt embeddings of several vectors, as the pipeline does."""
        learnt = set(pipeline.tokenizer.get_added_vocab()) - set(pipeline.tokenizer.all_special_tokens)
        if not any(token in text for token in learnt):
            return text
        with quiet():
            return str(pipeline.maybe_convert_prompt(text, pipeline.tokenizer))

    parts = Components(
        **modules,
        tokenizer=pipeline.tokenizer,
        scheduler=dict(pipeline.scheduler.config),
        sha256=digest_modules(modules),
        convert=convert if hasattr(pipeline, "maybe_convert_prompt") else None,
    )
    return parts, torch.device(pipeline._execution_device)
