"""Configurations of Stable Diffusion 1.x and 2.x: those that single files lack, and what a usable one must say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.values import stripped
from wordbrush.models.family import SCHEDULER, PartSpec, network, tokenizer

__all__ = ["KNOWN", "NETWORKS", "PARTS", "TITLE", "TOKENIZER", "Version", "built_in", "check_networks", "write"]

TITLE = "Stable Diffusion 1.x and 2.x text-to-image checkpoints"
KNOWN = f"{TITLE} are supported"
TOKENIZER = tokenizer("CLIPTokenizer", "CLIPTokenizerFast")
PARTS: Mapping[str, PartSpec] = {
    "unet": network("UNet2DConditionModel"),
    "vae": network("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": network("CLIPTextModel", library="transformers"),
    "tokenizer": TOKENIZER,
    "scheduler": SCHEDULER,
}
NETWORKS = tuple(name for name, spec in PARTS.items() if spec.weights)

Version = Literal["sd1", "sd2"]

_UNET = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "out_channels": 4,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_UNET_OF: dict[Version, dict[str, Any]] = {
    "sd1": {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64},
    "sd2": {
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "sample_size": None,
        "upcast_attention": True,
        "use_linear_projection": True,
    },
}
_VAE = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_TEXT = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "pad_token_id": 1,
    "vocab_size": 49408,
}
_TEXT_OF: dict[Version, dict[str, Any]] = {
    "sd1": {
        "hidden_act": "quick_gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    # The last but one layer of OpenCLIP's 24 is what was trained on, so 23 are kept.
    "sd2": {
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "projection_dim": 512,
    },
}
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def built_in(family: Version, parametrisation: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the configurations as file within the checkpoint -> contents.

    Args:
        family: `sd1`, or `sd2`, whose native side is 768 pixels for v prediction and 512 for epsilon.
        parametrisation: `epsilon` or `v_prediction`; None leaves it out, and the native side of `sd2`.
    """
    unet, scheduler = _UNET | _UNET_OF[family], dict(_SCHEDULER)
    if parametrisation is not None:
        unet["sample_size"] = 96 if family == "sd2" and parametrisation == "v_prediction" else 64
        scheduler["prediction_type"] = parametrisation
    return {
        "unet/config.json": unet,
        "vae/config.json": dict(_VAE),
        "text_encoder/config.json": _TEXT | _TEXT_OF[family],
        "scheduler/scheduler_config.json": scheduler,
    }


def write(folder: Path, configs: dict[str, dict[str, Any]]) -> None:
    """Write configurations as a checkpoint folder without weights, its index naming the standard classes."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    for name, content in {**configs, "model_index.json": index}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stripped(content)), encoding="utf-8")


def check_networks(unet: Mapping[str, Any], vae: Mapping[str, Any], where: str) -> None:
    """Check from the configurations that the UNet is a plain text-to-image one.

    Raises:
        ModelError: it is for inpainting, instructions, super-resolution, ...; the message says which and why not.
    """
    latent, channels = int(vae.get("latent_channels", 4)), int(unet.get("in_channels", 4))
    if unet.get("addition_embed_type") == "text_time":
        raise ModelError(f"{where} has a Stable Diffusion XL UNet, which wants size and pooled text: {KNOWN}")
    if unet.get("time_cond_proj_dim") is not None:
        raise ModelError(
            f"{where}: the UNet wants its guidance as an input (time_cond_proj_dim is "
            f"{unet['time_cond_proj_dim']!r}), as one distilled to few steps (LCM) does, which is not supported: use "
            "the checkpoint that it was distilled from"
        )
    if channels != latent:
        kinds = {2 * latent + 1: "an inpainting UNet, which wants mask and masked picture beside the latent"}
        kinds[2 * latent] = "an instruction or image-conditioned UNet, which wants a second latent"
        kinds[latent + 1] = "a depth UNet, which wants a depth map beside the latent"
        kinds[latent + 3] = "a super-resolution UNet, which wants the small picture beside the latent"
        kind = kinds.get(channels, "made for another autoencoder")
        raise ModelError(
            f"{where}: the UNet takes {channels} channels and the latent has {latent}; it is {kind}. DiffEdit finds "
            "its own mask: use the text-to-image checkpoint of the same family"
        )
    if int(unet.get("out_channels", latent)) != latent:
        raise ModelError(f"{where}: the UNet gives {unet['out_channels']} channels for a latent of {latent}: {KNOWN}")
    for key in _INPUTS:
        if unet.get(key) is not None:
            raise ModelError(f"{where}: the UNet wants more than a text ({key} is {unet[key]!r}): {KNOWN}")


_INPUTS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim", "addition_embed_type")
