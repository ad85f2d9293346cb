"""The denoiser's architecture and the noise schedule, alike for training, export and tests."""

from __future__ import annotations

from diffusers import DDIMScheduler, UNet2DConditionModel

WIDTHS = (160, 256)
LAYERS = 1
TEXT_WIDTH = 256


def new_unet(widths: tuple[int, ...] = WIDTHS, layers: int = LAYERS, channels: int = 16) -> UNet2DConditionModel:
    """Return an untrained denoiser of 16 x 16 x `channels` latents with cross-attention at every scale."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        use_linear_projection=True,
        norm_num_groups=32,
    )


def new_scheduler() -> DDIMScheduler:
    """Return the sampler with Stable Diffusion's noise schedule and the v parametrisation."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )
