"""Every family in miniature: its real classes with small random weights, and its own pipeline as the judge.

A row of `ROWS` says how to build a family's pipeline, and how that pipeline is told what wordbrush tells the network
itself. All tests of families run over the rows, so that a new family is a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.support import tiny
from tests.support.tokenizers import chat_tokenizer, clip_tokenizer

__all__ = ["ROWS", "Row", "seeded"]

SIDE = 32
"""Side of a picture in pixels: 16 latent cells of 2 pixels."""


@dataclass(frozen=True)
class Row:
    """A family.

    Attributes:
        name: of the model, as its identity says.
        build: its pipeline, of small random components.
        guidance: pipeline arguments for a guidance scale, as wordbrush counts it.
        scale: the scale that is tested.
        plain: pipeline arguments for no guidance.
        latents: of the pipeline's answer, to (batch, channel, height, width).
        given: latents as the pipeline wants them.
        limit: further arguments, as for texts that are padded no more than ours.
        steps: of the whole decode; 1 where the pipeline draws noise at every further step.
        run: from the pipeline, a text, latents, steps and arguments to its latents.
    """

    name: str
    build: Callable[..., Any]
    guidance: Callable[[float], Mapping[str, Any]]
    scale: float = 3.0
    plain: Mapping[str, Any] = field(default_factory=lambda: {"guidance_scale": 1.0})
    latents: Callable[[Tensor], Tensor] = lambda latents: latents
    given: Callable[[Tensor], Tensor] = lambda latents: latents
    limit: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 3
    run: Callable[..., Tensor] | None = None

    def answer(self, pipeline: Any, text: str, x: Tensor, steps: int, **arguments: Any) -> Tensor:
        """Return the latents that the pipeline makes of x under a text."""
        if self.run is not None:
            return self.run(pipeline, text, x, steps, **self.limit, **arguments)
        fixed = {"output_type": "latent", "height": SIDE, "width": SIDE, **self.limit}
        made = pipeline(prompt=text, latents=self.given(x), num_inference_steps=steps, **fixed, **arguments)
        return self.latents(made.images)


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """Build something with weights that depend on `seed` alone; modules come back ready to run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build()
    return built.eval().requires_grad_(False) if isinstance(built, torch.nn.Module) else built


def vae(channels: int = 4, **changes: Any) -> Any:
    """Return an AutoencoderKL that halves each side, with a shift as flow models have."""
    return tiny.vae(latent_channels=channels, shift_factor=0.1159, scaling_factor=0.3611, **changes)


def clip(projected: bool = False, seed: int = 2) -> Any:
    """Return a CLIP text encoder of three layers, 32 wide."""
    from transformers import CLIPTextModelWithProjection

    plain = tiny.text_encoder("sd1", seed)
    return seeded(lambda: CLIPTextModelWithProjection(plain.config), seed) if projected else plain


def qwen3(model: str = "Qwen3Model", layers: int = 3) -> Any:
    """Return a Qwen 3 language model, 16 wide."""
    import transformers

    config = transformers.Qwen3Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        head_dim=8, vocab_size=261,
    )  # fmt: skip
    return seeded(lambda: getattr(transformers, model)(config), 2)


def stable_diffusion_xl(**changes: Any) -> Any:
    """Return a StableDiffusionXLPipeline; `changes` replace components or settings of the pipeline."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    unet = tiny.unet(
        "sd1", cross_attention_dim=64, attention_head_dim=(2, 4), use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    parts = {
        "unet": unet, "vae": tiny.vae(scaling_factor=0.13025), "scheduler": scheduler,
        "text_encoder": clip(), "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip(projected=True, seed=5), "tokenizer_2": clip_tokenizer(),
    }  # fmt: skip
    return StableDiffusionXLPipeline(**(parts | changes), add_watermarker=False)


def z_image(shift: float = 6.0, **changes: Any) -> Any:
    """Return a ZImagePipeline; shift 3 is the distilled model's."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    def transformer() -> Any:
        return ZImageTransformer2DModel(
            in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[1024, 64, 64],
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": vae(), "text_encoder": qwen3(), "tokenizer": chat_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=shift),
    }  # fmt: skip
    return ZImagePipeline(**(parts | changes))


ROWS: dict[str, Row] = {
    "sdxl": Row("stable-diffusion-xl", stable_diffusion_xl, lambda scale: {"guidance_scale": scale}),
    "z-image": Row(
        "z-image", z_image, lambda scale: {"guidance_scale": scale - 1}, plain={"guidance_scale": 0.0}
    ),
}
"""The families, by name."""
