"""More families in miniature, as in `tests.support.families`: those of T5, Gemma and GLM, and those without a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.support import tiny
from tests.support.families import Row, clip, seeded, vae
from tests.support.piece_tokenizers import byte_tokenizer, gemma_tokenizer, llama_tokenizer
from tests.support.tokenizers import clip_tokenizer, sentence_tokenizer

__all__ = ["LABELS", "MORE_ROWS", "dit", "latent_consistency", "pixart", "sana", "stable_diffusion_3"]


def t5(width: int = 32, model: str = "T5", vocabulary: int = 98) -> Any:
    """Return the encoder of T5, or of UMT5 with `model`."""
    import transformers

    config = getattr(transformers, f"{model}Config")(
        vocab_size=vocabulary, d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4,
        relative_attention_num_buckets=8, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return seeded(lambda: getattr(transformers, f"{model}EncoderModel")(config), 3)


def gemma() -> Any:
    """Return a Gemma 2 language model, 8 wide."""
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        hidden_size=8, head_dim=16, intermediate_size=16, num_attention_heads=2, num_key_value_heads=2,
        num_hidden_layers=2, vocab_size=356, attn_implementation="eager",
    )  # fmt: skip
    return seeded(lambda: Gemma2Model(config), 3)


def glm() -> Any:
    """Return a GLM language model, 32 wide."""
    from transformers import GlmConfig, GlmModel

    config = GlmConfig(
        hidden_size=32, intermediate_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=300, pad_token_id=3,
    )  # fmt: skip
    return seeded(lambda: GlmModel(config), 3)


def deep_vae() -> Any:
    """Return an AutoencoderDC that halves each side."""
    from diffusers import AutoencoderDC

    def built() -> Any:
        return AutoencoderDC(
            latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1), decoder_layers_per_block=[1, 1],
            downsample_block_type="conv", upsample_block_type="interpolate", scaling_factor=0.41407,
        )  # fmt: skip

    return seeded(built, 1)


def stable_diffusion_3(**changes: Any) -> Any:
    """Return a StableDiffusion3Pipeline; `text_encoder_3=None` and `tokenizer_3=None` leave T5 out."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    def transformer() -> Any:
        return SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=64,
            pos_embed_max_size=16, qk_norm="rms_norm",
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": vae(), "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        "text_encoder": clip(projected=True), "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip(projected=True, seed=5), "tokenizer_2": clip_tokenizer(),
        "text_encoder_3": t5(64), "tokenizer_3": sentence_tokenizer(),
    }  # fmt: skip
    return StableDiffusion3Pipeline(**(parts | changes))


def pixart(**changes: Any) -> Any:
    """Return a PixArtSigmaPipeline."""
    from diffusers import DDIMScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    def transformer() -> Any:
        return PixArtTransformer2DModel(
            sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3,
            caption_channels=32, in_channels=4, out_channels=8, cross_attention_dim=24, norm_type="ada_norm_single",
        )  # fmt: skip

    scheduler = DDIMScheduler(beta_start=0.0001, beta_end=0.02, clip_sample=False, beta_schedule="linear")
    parts = {
        "transformer": seeded(transformer), "vae": tiny.vae(scaling_factor=0.13025), "scheduler": scheduler,
        "text_encoder": t5(), "tokenizer": sentence_tokenizer(),
    }  # fmt: skip
    return PixArtSigmaPipeline(**(parts | changes))


def sana(*, sprint: bool = False, **changes: Any) -> Any:
    """Return a SanaPipeline, or a SanaSprintPipeline."""
    import diffusers

    def transformer() -> Any:
        more = {"qk_norm": "rms_norm_across_heads", "guidance_embeds": True} if sprint else {}
        return diffusers.SanaTransformer2DModel(
            patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=4,
            num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
            sample_size=32, **more,
        )  # fmt: skip

    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {
        "transformer": seeded(transformer), "vae": deep_vae(), "text_encoder": gemma(), "tokenizer": gemma_tokenizer(),
        "scheduler": diffusers.SCMScheduler() if sprint else flow,
    }  # fmt: skip
    kind = diffusers.SanaSprintPipeline if sprint else diffusers.SanaPipeline
    return kind(**(parts | changes))


def auraflow(**changes: Any) -> Any:
    """Return an AuraFlowPipeline."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler

    def transformer() -> Any:
        built = AuraFlowTransformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, num_mmdit_layers=2, num_single_dit_layers=2,
            attention_head_dim=8, num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
            out_channels=4, pos_embed_max_size=256,
        )  # fmt: skip
        for block in built.joint_transformer_blocks:
            block.attn.add_v_proj.weight.data *= 20  # else a text among 250 zeros is not heard
        return built

    parts = {
        "transformer": seeded(transformer), "vae": tiny.vae(scaling_factor=0.13025),
        "text_encoder": t5(model="UMT5", vocabulary=360), "tokenizer": llama_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.73),
    }  # fmt: skip
    return AuraFlowPipeline(**(parts | changes))


def lumina_2(**changes: Any) -> Any:
    """Return a Lumina2Pipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

    def transformer() -> Any:
        return Lumina2Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, hidden_size=8, num_layers=2, num_attention_heads=1,
            num_kv_heads=1, multiple_of=16, axes_dim_rope=[4, 2, 2], cap_feat_dim=8,
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": vae(), "text_encoder": gemma(), "tokenizer": gemma_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=6.0),
    }  # fmt: skip
    return Lumina2Pipeline(**(parts | changes))


def cogview_4(**changes: Any) -> Any:
    """Return a CogView4Pipeline."""
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel, FlowMatchEulerDiscreteScheduler

    def transformer() -> Any:
        return CogView4Transformer2DModel(
            patch_size=2, in_channels=4, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
            text_embed_dim=32, time_embed_dim=8, condition_dim=4, sample_size=16,
        )  # fmt: skip

    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
    )
    parts = {
        "transformer": seeded(transformer), "vae": tiny.vae(), "text_encoder": glm(), "tokenizer": byte_tokenizer(),
        "scheduler": scheduler,
    }  # fmt: skip
    return CogView4Pipeline(**(parts | changes))


def latent_consistency(**changes: Any) -> Any:
    """Return a LatentConsistencyModelPipeline, whose UNet is told its guidance in 12 numbers."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    parts = tiny.components() | {"unet": tiny.unet(time_cond_proj_dim=12), "scheduler": LCMScheduler()}
    return tiny.pipeline(pipeline_class=LatentConsistencyModelPipeline, **(parts | changes))


LABELS = {0: "a red fox", 1: "two dogs, on a hill of fresh snow", 2: "crane", 3: "crane", 999: "toilet tissue"}
"""Names of some of the classes of `dit`."""


def dit(*, listed: bool = True, **changes: Any) -> Any:
    """Return a DiTPipeline of 1000 classes, some of them named, in its configuration where they are `listed`."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    def transformer() -> Any:
        return DiTTransformer2DModel(
            sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
            out_channels=8, num_embeds_ada_norm=1000,
        )  # fmt: skip

    parts = {
        "transformer": seeded(transformer), "vae": tiny.vae(), "id2label": LABELS,
        "scheduler": DDIMScheduler(beta_schedule="linear", clip_sample=False),
    }  # fmt: skip
    built = DiTPipeline(**(parts | changes))
    if listed:
        built.register_to_config(id2label={str(number): name for number, name in LABELS.items()})
    return built


def _dit_latents(pipeline: Any, text: str, x: Tensor, steps: int, **arguments: Any) -> Tensor:
    """Return the latents that DiT's pipeline decodes; it draws x itself, from seed 0, and hands no latents out."""
    seen: list[Tensor] = []
    hook = pipeline.vae.post_quant_conv.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    numbers = [pipeline.labels[text]]
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), x)
    try:
        pipeline(numbers, generator=generator, num_inference_steps=steps, output_type="pt", **arguments)
    finally:
        hook.remove()
    return seen[0] * float(pipeline.vae.config.scaling_factor)


def _scaled(scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale}


MORE_ROWS: dict[str, Row] = {
    "sd3": Row("stable-diffusion-3", stable_diffusion_3, _scaled),
    "sd3-without-t5": Row(
        "stable-diffusion-3",
        lambda: stable_diffusion_3(text_encoder_3=None, tokenizer_3=None),
        _scaled,
    ),
    "pixart": Row(
        "pixart-sigma", pixart, _scaled, limit={"use_resolution_binning": False, "clean_caption": False}
    ),
    "sana": Row("sana", sana, _scaled, limit={"use_resolution_binning": False}),
    "sprint": Row(
        "sana", lambda: sana(sprint=True), _scaled, steps=1,
        limit={"use_resolution_binning": False, "intermediate_timesteps": None},
    ),
    "auraflow": Row("auraflow", auraflow, _scaled),
    "lumina-2": Row("lumina-2", lumina_2, _scaled),
    "lcm": Row("latent-consistency", latent_consistency, _scaled, steps=1),
    "dit": Row("dit", dit, _scaled, run=_dit_latents),
    "cogview-4": Row("cogview-4", cogview_4, _scaled),
}
"""The families, by name."""
