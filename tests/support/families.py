"""Every family in miniature: its real classes with small random weights, and its own pipeline as the judge.

A row of `ROWS` says how to build a family's pipeline, and how that pipeline is told what wordbrush tells the network
itself. All tests of families run over the rows, so that a new family is a row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.support import tiny
from tests.support.tokenizers import (
    chat_processor,
    chat_tokenizer,
    clip_tokenizer,
    instruct_tokenizer,
    sentence_tokenizer,
)

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
        cuts: its pipeline cuts long texts.
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
    cuts: bool = True

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
        head_dim=8, vocab_size=262,
    )  # fmt: skip
    return seeded(lambda: getattr(transformers, model)(config), 2)


def t5() -> Any:
    """Return a T5 encoder, 32 wide."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=98, d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return seeded(lambda: T5EncoderModel(config), 3)


def flow_scheduler(**config: Any) -> Any:
    """Return the scheduler of flow pipelines, which shifts by picture size unless told otherwise."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**({"use_dynamic_shifting": True, "shift": 3.0} | config))


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


_FLUX: dict[str, Any] = {
    "patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": 32,
}  # fmt: skip


def flux_1(guided: bool = True, **changes: Any) -> Any:
    """Return a FluxPipeline; without guidance it is schnell."""
    from diffusers import FluxPipeline, FluxTransformer2DModel

    def transformer() -> Any:
        return FluxTransformer2DModel(
            pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=guided, **_FLUX
        )

    parts = {
        "transformer": seeded(transformer), "vae": vae(), "scheduler": flow_scheduler(use_dynamic_shifting=guided),
        "text_encoder": clip(), "tokenizer": clip_tokenizer(), "text_encoder_2": t5(),
        "tokenizer_2": sentence_tokenizer(),
    }  # fmt: skip
    return FluxPipeline(**(parts | changes))


def chroma(**changes: Any) -> Any:
    """Return a ChromaPipeline whose mask is boolean, as the network wants it.

    Diffusers' own is made of floats, which the attention adds, so that nothing is masked:
    https://github.com/huggingface/diffusers/issues/12116.
    """
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    class MaskingChromaPipeline(ChromaPipeline):  # type: ignore[misc]
        def _get_t5_prompt_embeds(self, *args: Any, **given: Any) -> tuple[Tensor, Tensor]:
            embeds, mask = super()._get_t5_prompt_embeds(*args, **given)
            return embeds, mask.bool()

    def transformer() -> Any:
        warnings.simplefilter("ignore")  # diffusers warns of its own deprecated import
        return ChromaTransformer2DModel(
            axes_dims_rope=(4, 4, 8), approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16,
            **_FLUX,
        )  # fmt: skip

    with warnings.catch_warnings():
        network = seeded(transformer)
    parts = {
        "transformer": network, "vae": vae(), "scheduler": flow_scheduler(), "text_encoder": t5(),
        "tokenizer": sentence_tokenizer(),
    }  # fmt: skip
    return MaskingChromaPipeline(**(parts | changes))


def of_flux(latents: Tensor) -> Any:
    """Lay the tokens of FLUX.1 out as latents, as its pipeline does."""
    from diffusers import FluxPipeline

    return FluxPipeline._unpack_latents(latents, SIDE, SIDE, 2)


def for_flux(latents: Tensor) -> Any:
    """Turn latents into tokens of FLUX.1, as its pipeline does."""
    from diffusers import FluxPipeline

    return FluxPipeline._pack_latents(latents, *latents.shape)


def flux_2_vae() -> Any:
    """Return the autoencoder of FLUX.2, which halves each side, with figures of its batch norm that tell channels."""
    from diffusers import AutoencoderKLFlux2

    def made() -> Any:
        vae = AutoencoderKLFlux2(
            block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, sample_size=SIDE,
        )  # fmt: skip
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
        return vae

    return seeded(made, 1)


def flux_2_transformer(guided: bool) -> Any:
    """Return the transformer of FLUX.2."""
    from diffusers import Flux2Transformer2DModel

    changes = {"joint_attention_dim": 48, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": guided}
    return seeded(lambda: Flux2Transformer2DModel(**(_FLUX | changes)))


def flux_2_klein(distilled: bool = False, **changes: Any) -> Any:
    """Return a Flux2KleinPipeline."""
    from diffusers import Flux2KleinPipeline

    parts = {
        "transformer": flux_2_transformer(False), "vae": flux_2_vae(), "scheduler": flow_scheduler(),
        "text_encoder": qwen3("Qwen3ForCausalLM", layers=4), "tokenizer": chat_tokenizer(),
    }  # fmt: skip
    return Flux2KleinPipeline(**(parts | changes), is_distilled=distilled)


def flux_2(**changes: Any) -> Any:
    """Return a Flux2Pipeline, the guided one."""
    from diffusers import Flux2Pipeline
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    config = Mistral3Config(
        text_config={
            "model_type": "mistral", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "head_dim": 4,
            "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2, "sliding_window": None,
        },
        vision_config={
            "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4,
            "intermediate_size": 32, "image_size": 30, "patch_size": 6, "num_channels": 3,
        },
        image_token_index=8,
    )  # fmt: skip
    parts = {
        "transformer": flux_2_transformer(True), "vae": flux_2_vae(), "scheduler": flow_scheduler(),
        "text_encoder": seeded(lambda: Mistral3ForConditionalGeneration(config), 2),
        "tokenizer": instruct_tokenizer(),
    }  # fmt: skip
    return Flux2Pipeline(**(parts | changes))


def of_klein(latents: Tensor) -> Any:
    """Bring the autoencoder's own latents to mean 0 and variance 1 as the pipeline of FLUX.2 does, patch by patch."""
    from diffusers import Flux2KleinPipeline as Pipeline

    vae = flux_2_vae()
    mean, var = (figure.view(1, -1, 1, 1) for figure in (vae.bn.running_mean, vae.bn.running_var))
    patches = (Pipeline._patchify_latents(latents) - mean) / torch.sqrt(var + vae.config.batch_norm_eps)
    return Pipeline._unpatchify_latents(patches)


def of_flux_2(latents: Tensor) -> Any:
    """Lay the tokens of FLUX.2 out as latents, as its pipeline does."""
    from diffusers import Flux2Pipeline

    side = SIDE // 4
    patches = latents.transpose(1, 2).reshape(len(latents), -1, side, side)
    return Flux2Pipeline._unpatchify_latents(patches)


def for_flux_2(latents: Tensor) -> Any:
    """Turn latents into patches of FLUX.2, as its pipeline does."""
    from diffusers import Flux2Pipeline

    return Flux2Pipeline._patchify_latents(latents)


def qwen_vae(**changes: Any) -> Any:
    """Return the autoencoder of Qwen-Image, which halves each side, with figures that tell its channels."""
    from diffusers import AutoencoderKLQwenImage

    config = {
        "base_dim": 24, "z_dim": 4, "dim_mult": [1, 2], "num_res_blocks": 1, "temperal_downsample": [True],
        "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 2.0, 0.7, 1.1],
    }  # fmt: skip
    return seeded(lambda: AutoencoderKLQwenImage(**(config | changes)), 1)


def qwen_image(**changes: Any) -> Any:
    """Return a QwenImagePipeline."""
    from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    def transformer() -> Any:
        return QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        )  # fmt: skip

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 262,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        },
    )  # fmt: skip
    parts = {
        "transformer": seeded(transformer), "vae": qwen_vae(), "scheduler": flow_scheduler(shift_terminal=0.02),
        "text_encoder": seeded(lambda: Qwen2_5_VLForConditionalGeneration(config), 2), "tokenizer": chat_tokenizer(),
    }  # fmt: skip
    return QwenImagePipeline(**(parts | changes))


def rgba_vae(**changes: Any) -> Any:
    """Return the autoencoder of Qwen-Image-2.1, which halves each side of pictures with an alpha channel."""
    from diffusers import AutoencoderKLQwenImage21

    config = {
        "base_dim": 24, "decoder_base_dim": 24, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1,
        "temperal_downsample": [True], "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 2.0, 0.7, 1.1],
        "scale_factor_spatial": 2,
    }  # fmt: skip
    return seeded(lambda: AutoencoderKLQwenImage21(**(config | changes)), 1)


def qwen_image_2_1(**changes: Any) -> Any:
    """Return a QwenImage21Pipeline whose latents are of the small autoencoder's size."""
    from diffusers import QwenImage21Pipeline, QwenImage21Transformer2DModel
    from transformers import Qwen3VLForConditionalGeneration

    def transformer() -> Any:
        return QwenImage21Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            context_in_dim=16, axes_dims_rope=(8, 4, 4),
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": rgba_vae(), "scheduler": flow_scheduler(),
        "text_encoder": seeded(lambda: Qwen3VLForConditionalGeneration(qwen3_vl()), 2),
        "processor": chat_processor(),
    }  # fmt: skip
    made = QwenImage21Pipeline(**(parts | changes))
    made.vae_scale_factor = 2
    return made


def qwen3_vl() -> Any:
    """Return the configuration of a Qwen3-VL, 16 wide."""
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 262,
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
    )  # fmt: skip


def krea_2(turbo: bool = False, **changes: Any) -> Any:
    """Return a Krea2Pipeline."""
    from diffusers import Krea2Pipeline, Krea2Transformer2DModel
    from transformers import Qwen3VLModel

    def transformer() -> Any:
        return Krea2Transformer2DModel(
            in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32, timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=3,
            text_num_attention_heads=2, text_num_key_value_heads=1, text_intermediate_size=16,
            num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 2, 2),
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": qwen_vae(), "scheduler": flow_scheduler(max_image_seq_len=6400),
        "text_encoder": seeded(lambda: Qwen3VLModel(qwen3_vl()), 2), "tokenizer": chat_tokenizer(),
    }  # fmt: skip
    return Krea2Pipeline(**(parts | changes), text_encoder_select_layers=(0, 1, 2), is_distilled=turbo)


def of_qwen(latents: Tensor) -> Any:
    """Lay the tokens of Qwen-Image out as latents, as its pipeline does."""
    from diffusers import QwenImagePipeline

    return QwenImagePipeline._unpack_latents(latents, SIDE, SIDE, 2)[:, :, 0]


def for_qwen(latents: Tensor) -> Any:
    """Turn latents into tokens of Qwen-Image, as its pipeline does."""
    from diffusers import QwenImagePipeline

    return QwenImagePipeline._pack_latents(latents, *latents.shape)


def of_cells(latents: Tensor) -> Tensor:
    """Lay tokens of single cells out as latents, as the pipeline of Qwen-Image-2.1 does."""
    from diffusers import QwenImage21Pipeline

    laid_out: Tensor = QwenImage21Pipeline._unpack_latents(latents, SIDE, SIDE, 2)
    return laid_out[:, :, 0]


def for_cells(latents: Tensor) -> Tensor:
    """Turn latents into tokens of single cells."""
    return latents.flatten(2).transpose(1, 2)


_LAYERS = {"text_encoder_out_layers": (1, 2, 3)}


ROWS: dict[str, Row] = {
    "sdxl": Row("stable-diffusion-xl", stable_diffusion_xl, lambda scale: {"guidance_scale": scale}),
    "z-image": Row(
        "z-image", z_image, lambda scale: {"guidance_scale": scale - 1}, plain={"guidance_scale": 0.0}
    ),
    "flux-1-dev": Row(
        "flux-1", flux_1, lambda scale: {"guidance_scale": scale}, latents=of_flux, given=for_flux
    ),
    "flux-1-schnell": Row(
        "flux-1", lambda **changes: flux_1(False, **changes), lambda scale: {}, latents=of_flux, given=for_flux,
        limit={"max_sequence_length": 256},
    ),
    "chroma": Row("chroma", chroma, lambda scale: {"guidance_scale": scale}, latents=of_flux, given=for_flux),
    "flux-2-klein-base": Row(
        "flux-2-klein", flux_2_klein, lambda scale: {"guidance_scale": scale}, latents=of_klein, given=for_flux_2,
        limit=_LAYERS,
    ),
    "flux-2-klein": Row(
        "flux-2-klein", lambda **changes: flux_2_klein(True, **changes), lambda scale: {}, latents=of_klein,
        given=for_flux_2, limit=_LAYERS,
    ),
    "flux-2-dev": Row(
        "flux-2", flux_2, lambda scale: {"guidance_scale": scale}, latents=of_flux_2, given=for_flux_2, limit=_LAYERS
    ),
    "qwen-image": Row(
        "qwen-image", qwen_image, lambda scale: {"true_cfg_scale": scale, "negative_prompt": ""},
        plain={"true_cfg_scale": 1.0}, latents=of_qwen, given=for_qwen,
    ),
    "qwen-image-2.1": Row(
        "qwen-image-2.1", qwen_image_2_1, lambda scale: {"true_cfg_scale": scale, "negative_prompt": ""},
        plain={"true_cfg_scale": 1.0}, latents=of_cells, given=for_cells, cuts=False,
    ),
    "krea-2-raw": Row(
        "krea-2", krea_2, lambda scale: {"guidance_scale": scale - 1}, plain={"guidance_scale": 0.0},
        latents=of_qwen, given=for_qwen,
    ),
    "krea-2-turbo": Row(
        "krea-2", lambda **changes: krea_2(True, **changes), lambda scale: {}, plain={"guidance_scale": 0.0},
        latents=of_qwen, given=for_qwen,
    ),
}  # fmt: skip
"""The families, by name."""
