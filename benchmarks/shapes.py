"""Checkpoints in the shape of published ones, at a scaled width: real classes, as many blocks, random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.support.tokenizers import clip_tokenizer, sentence_tokenizer

__all__ = ["SHAPES", "WIDTHS", "build", "sd15"]

_HEAD = 64
"""Width of an attention head in a CLIP and in a UNet."""


def _clip(width: float, size: int, layers: int, *, projected: bool) -> Any:
    """Return a CLIP text encoder that is `size` times `width` wide."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    wide = int(size * width) // 64 * 64
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=wide, intermediate_size=4 * wide, num_hidden_layers=layers,
        num_attention_heads=wide // _HEAD, projection_dim=wide, max_position_embeddings=77,
        bos_token_id=512, eos_token_id=513, pad_token_id=513,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _vae(width: float, **config: Any) -> Any:
    from diffusers import AutoencoderKL

    widths = tuple(int(size * width) for size in (128, 256, 512, 512))
    return AutoencoderKL(
        block_out_channels=widths, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, norm_num_groups=min(32, widths[0] // 4),
        sample_size=1024, **config,
    )  # fmt: skip


def _sdxl(width: float) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    widths = tuple(int(size * width) for size in (320, 640, 1280))
    clips = _clip(width, 768, 12, projected=False), _clip(width, 1280, 32, projected=True)
    first, second = (clip.config.hidden_size for clip in clips)
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=widths, layers_per_block=2, norm_num_groups=widths[0] // 10,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), cross_attention_dim=first + second,
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + second,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    return StableDiffusionXLPipeline(
        unet=unet, vae=_vae(width, scaling_factor=0.13025), scheduler=scheduler, text_encoder=clips[0],
        text_encoder_2=clips[1], tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), add_watermarker=False,
    )  # fmt: skip


def sd15(width: float = 1.0, side: int = 512) -> Any:
    """Return a pipeline of Stable Diffusion 1.5 for pictures of `side` pixels, `width` times as wide, in float32."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    clip = _clip(width, 768, 12, projected=False)
    widths = tuple(int(size * width) for size in (320, 640, 1280, 1280))
    unet = UNet2DConditionModel(
        sample_size=side // 8, block_out_channels=widths, layers_per_block=2, norm_num_groups=widths[0] // 10,
        attention_head_dim=8, cross_attention_dim=clip.config.hidden_size,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    return StableDiffusionPipeline(
        unet=unet, vae=_vae(width, scaling_factor=0.18215), scheduler=scheduler, text_encoder=clip,
        tokenizer=clip_tokenizer(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _flux_1(width: float) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    clip = _clip(width, 768, 12, projected=False)
    heads = max(1, round(64 * width))
    t5 = T5EncoderModel(T5Config(
        vocab_size=32128, d_model=heads * 64, d_ff=int(10240 * width), d_kv=64, num_heads=heads, num_layers=24,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    ))  # fmt: skip
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=19, num_single_layers=38, attention_head_dim=128,
        num_attention_heads=max(1, round(24 * width)), joint_attention_dim=heads * 64,
        pooled_projection_dim=clip.config.hidden_size, guidance_embeds=True,
    )  # fmt: skip
    vae = _vae(
        width, latent_channels=16, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False,
        use_post_quant_conv=False,
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer, vae=vae, text_encoder=clip, tokenizer=clip_tokenizer(), text_encoder_2=t5,
        tokenizer_2=sentence_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
    )  # fmt: skip


SHAPES: Mapping[str, Callable[[float], Any]] = {"sdxl": _sdxl, "flux-1": _flux_1}
"""What makes a pipeline of a shape, by name: from a width, 1 being the published one."""

WIDTHS: Mapping[str, float] = {"sdxl": 0.25, "flux-1": 0.125}
"""Widths at which a checkpoint takes half a gigabyte in bfloat16."""


def build(shape: str, width: float, work: Path) -> Path:
    """Return the folder of a checkpoint in bfloat16; it is made where it is not there.

    Args:
        shape: of `SHAPES`.
        width: in (0, 1].
        work: where checkpoints lie.
    """
    folder = work / f"{shape}-{width:g}"
    if not (folder / "model_index.json").is_file():
        torch.manual_seed(0)
        pipeline = SHAPES[shape](width)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                torch.nn.Module.to(part, torch.bfloat16)
        pipeline.save_pretrained(folder)
    return folder
