"""The autoencoder behind the codec protocol: mean, scale and shift, precision, tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support import families, tiny
from wordbrush.diffusion.faults import NotFiniteError
from wordbrush.models.codec import AutoencoderCodec, IdentityCodec


def pixels(rows: int = 1, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_identity_codec_is_exact() -> None:
    codec = IdentityCodec()
    assert (codec.factor, codec.channels) == (1, 3)
    assert torch.equal(codec.decode(codec.encode(pixels())), pixels())


@pytest.mark.parametrize("shift", [None, 0.7])
def test_mean_scale_and_shift_are_those_of_diffusers(shift: float | None) -> None:
    vae = tiny.vae(shift_factor=shift, scaling_factor=0.3)
    codec = AutoencoderCodec(vae)
    assert (codec.factor, codec.channels) == (2, 4)
    latents = codec.encode(pixels(2))
    mean = vae.encode(pixels(2)).latent_dist.mean
    assert torch.allclose(latents, (mean - (shift or 0.0)) * 0.3, atol=1e-6)
    assert torch.equal(latents, codec.encode(pixels(2)))
    assert torch.allclose(codec.decode(latents), vae.decode(mean).sample, atol=1e-5)


def test_tiny_autoencoder_is_a_codec_too() -> None:
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    codec = AutoencoderCodec(vae.eval())
    latents = codec.encode(pixels())
    assert latents.shape == (1, 4, 16, 16)
    assert codec.decode(latents).shape == (1, 3, 32, 32)


def overflowing() -> Any:
    """A half-precision autoencoder whose decoder passes 65504 inside, for large latents only."""
    vae = tiny.vae(seed=4)
    with torch.no_grad():
        vae.decoder.conv_in.weight *= 3e4
        vae.decoder.conv_in.bias.zero_()
    return vae


def test_half_precision_overflow_is_decoded_again_in_float32() -> None:
    vae = overflowing()
    exact = AutoencoderCodec(vae)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    latents[0] *= 1e-3
    reference = exact.decode(latents)
    assert reference.isfinite().all()
    assert exact.notes.take() == ()

    narrow = torch.nn.Module.to(vae, torch.float16)
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    codec = AutoencoderCodec(narrow)
    found = codec.decode(latents)
    assert found.dtype == torch.float32
    assert torch.allclose(found, reference, atol=0.05)
    (note,) = codec.notes.take()
    assert "float16" in note
    assert "float32" in note
    assert codec.notes.take() == ()
    assert narrow.dtype == torch.float16
    assert all(torch.equal(value, before[name]) for name, value in narrow.state_dict().items())
    # Only the item that overflowed was done again: its mate is what half precision gives.
    assert torch.equal(found[:1], codec.decode(latents[[0, 0]])[:1])
    assert codec.notes.take() == ()


def test_still_not_finite_in_float32_is_an_error_that_names_the_item() -> None:
    vae = tiny.vae()
    with torch.no_grad():
        vae.decoder.conv_out.bias[0] = torch.inf
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(NotFiniteError, match="autoencoder") as caught:
            AutoencoderCodec(vae.to(dtype)).decode(torch.zeros(2, 4, 8, 8))
        assert caught.value.items == (0, 1)
        assert vae.dtype == dtype


def test_input_that_is_not_finite_is_not_blamed_on_the_autoencoder() -> None:
    codec = AutoencoderCodec(tiny.vae())
    latents = torch.zeros(3, 4, 8, 8)
    latents[1, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"the latent to decode.*item 1 ") as caught:
        codec.decode(latents)
    placed = caught.value.at("decode", 7)
    assert (placed.items, placed.stage, placed.step) == ((1,), "decode", 7)
    assert "stage 'decode', step 7" in str(placed)


def test_tiles_are_those_of_diffusers_and_leave_the_autoencoder_alone() -> None:
    vae = tiny.vae()
    before = (vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size)
    whole = AutoencoderCodec(vae)
    tiled = whole.with_tiles()
    calls: list[tuple[int, ...]] = []
    handle = vae.decoder.register_forward_hook(lambda _m, args, _o: calls.append(tuple(args[0].shape)))
    latents = torch.randn(1, 4, 48, 48, generator=torch.Generator().manual_seed(3))
    found = tiled.decode(latents)
    handle.remove()
    assert len(calls) > 1
    assert all(max(shape[2:]) <= 32 for shape in calls)
    assert (vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size) == before
    assert found.shape == whole.decode(latents).shape
    # Random weights tell little of how near tiles come to the whole; that they are diffusers' own tiles is exact.
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = 32, 64
    assert torch.equal(found, whole.decode(latents))
    vae.disable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = before[1:]
    assert tiled.encode(pixels(side=96)).shape == (1, 4, 48, 48)
    assert (vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size) == before
    assert tiled.notes is whole.notes


def test_the_codec_of_flux_2_is_its_pipelines_arithmetic_at_every_cell() -> None:
    pipeline = families.flux_2_klein()
    vae, codec = pipeline.vae, AutoencoderCodec(pipeline.vae)
    assert (codec.factor, codec.channels) == (2, 4)
    assert vae.bn.running_mean.abs().min() > 0.01  # figures that tell channels apart
    theirs = pipeline._encode_vae_image(pixels(2), None)
    latents = codec.encode(pixels(2))
    assert latents.shape == (2, 4, 16, 16)
    assert (pipeline._patchify_latents(latents) - theirs).abs().max() < 1e-5 * theirs.abs().max()
    decoded = vae.decode(vae.encode(pixels(2)).latent_dist.mode()).sample
    assert (codec.decode(latents) - decoded).abs().max() < 1e-5
    assert (codec.decode(latents.roll(1, dims=2)) - decoded.roll(2, dims=2)).abs().max() > 1e-3


def test_the_codec_of_qwen_image_is_its_pipelines_arithmetic_over_a_film_of_one_frame() -> None:
    vae = families.qwen_vae()
    codec, film = AutoencoderCodec(vae), pixels(2)[:, :, None]
    assert (codec.factor, codec.channels) == (2, 4)
    mean, spread = (torch.tensor(vae.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    theirs = (vae.encode(film).latent_dist.mode() - mean) / spread
    latents = codec.encode(pixels(2))
    assert latents.shape == (2, 4, 16, 16)
    assert (latents - theirs[:, :, 0]).abs().max() < 1e-5
    assert (codec.decode(latents) - vae.decode(theirs * spread + mean).sample[:, :, 0]).abs().max() < 1e-5


def test_the_codec_of_qwen_image_2_1_encodes_opaque_pictures_and_decodes_onto_white() -> None:
    vae = families.rgba_vae()
    codec, opaque = AutoencoderCodec(vae), torch.cat([pixels(2), torch.ones(2, 1, 32, 32)], dim=1)[:, :, None]
    assert (codec.factor, codec.channels) == (2, 4)
    mean, spread = (torch.tensor(vae.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    theirs = vae.encode(opaque).latent_dist.mode()
    latents = codec.encode(pixels(2))
    assert (latents - ((theirs - mean) / spread)[:, :, 0]).abs().max() < 1e-6
    film = vae.decode(theirs).sample[:, :, 0]
    opacity = (film[:, 3:] + 1) / 2
    assert opacity.std() > 0.01  # the small network draws pictures that are not opaque
    decoded = codec.decode(latents)
    assert decoded.shape == (2, 3, 32, 32)
    assert (decoded - (film[:, :3] * opacity + (1 - opacity))).abs().max() < 1e-5


@pytest.mark.parametrize("build", [families.flux_2_vae, families.qwen_vae, families.rgba_vae])
def test_other_autoencoders_work_in_tiles_too(build: Any) -> None:
    vae = build()
    tiles = {name: value for name, value in vars(vae).items() if "tile" in name or "tiling" in name}
    whole = AutoencoderCodec(vae)
    tiled = whole.with_tiles()
    calls: list[tuple[int, ...]] = []
    latents = torch.randn(1, 4, 48, 48, generator=torch.Generator().manual_seed(3))
    reference = whole.decode(latents)
    for part in (vae.encoder, vae.decoder):
        part.register_forward_pre_hook(lambda _m, args: calls.append(tuple(args[0].shape)))
    found = tiled.decode(latents)
    assert len(calls) > 1
    assert all(max(shape[-2:]) <= 32 for shape in calls)
    assert found.shape == reference.shape
    # The corner lies in one tile; its cells see less of the picture than the whole's do, where layers look all over it.
    assert (found - reference)[..., :16, :16].abs().mean() < 0.1 * reference.std()
    calls.clear()
    assert tiled.encode(pixels(side=96)).shape == (1, 4, 48, 48)
    assert len(calls) > 1
    assert all(max(shape[-2:]) <= 64 for shape in calls)
    assert tiles == {name: value for name, value in vars(vae).items() if name in tiles}
