"""The autoencoder's architecture, its loss, and how well it returns pictures: on the whole and inside the objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from .store import tensor_of

CHANNELS = (24, 48, 96, 128)
LATENT_CHANNELS = 16
"""Latent channels of the shipped model. Others may be trained: weights tell their own number."""


def new_vae(latent_channels: int = LATENT_CHANNELS) -> AutoencoderKL:
    """Return an untrained autoencoder: 128 x 128 x 3 to 16 x 16 x `latent_channels`."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=128,
        mid_block_add_attention=False,
    )


def load_vae(path: Path) -> AutoencoderKL:
    """Return the autoencoder of a weights file, with as many latent channels as the weights have."""
    weights = load_file(str(path))
    vae = new_vae(weights["post_quant_conv.weight"].shape[0])
    vae.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return vae


def picture_loss(made: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return L1 + L1 of the gradients + L1 of 4-pixel means, each weighted by pixel.

    Pictures are (batch, channel, row, column) in [-1, 1]; `weight` is (batch, 1, row, column), 1 everywhere if None.
    """
    error = made - truth
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    coarse = functional.avg_pool2d(error, 4).abs().mean()
    if weight is None:
        return error.abs().mean() + across.abs().mean() + down.abs().mean() + coarse
    weight = weight / weight.mean()
    return (
        (error.abs() * weight).mean()
        + (across.abs() * weight[..., 1:]).mean()
        + (down.abs() * weight[..., 1:, :]).mean()
        + coarse
    )


def returned(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> Tensor:
    """Return bytes (picture, row, column, RGB) encoded and decoded: (picture, RGB, row, column) in [-1, 1]."""
    made = []
    with torch.no_grad():
        for start in range(0, len(pictures), 8):
            latents = vae.encode(tensor_of(pictures[start : start + 8]).to(vae.device)).latent_dist.mean
            made.append(vae.decode(latents).sample.float().clamp(-1, 1).cpu())
    return torch.cat(made)


def fidelity(made: Tensor, pictures: NDArray[np.uint8], silhouettes: NDArray[np.uint8]) -> dict[str, float]:
    """Return figures of how well `made`, in [-1, 1], returns the pictures.

    ``psnr`` is the mean PSNR of whole pictures in dB. ``inside`` and ``inside_worst`` are the PSNR within the
    silhouettes, packed bits (picture, row, column / 8): the mean over pictures that have any, and the mean over the
    worst tenth of them. ``edges`` and ``edges_worst`` are the mean absolute error of horizontal and vertical
    differences there, in 255ths, alike.
    """
    truth = tensor_of(pictures)
    masks = torch.from_numpy(np.unpackbits(silhouettes, axis=2)).bool()
    error = (made - truth) / 2
    square = error.square().mean(1)
    across, down = error.diff(dim=3)[:, :, :-1].abs().mean(1), error.diff(dim=2)[..., :-1].abs().mean(1)
    slope = 255 * (across + down) / 2
    inside, edges = [], []
    for row, mask in enumerate(masks):
        if mask.any():
            inside.append(float(-10 * square[row][mask].mean().log10()))
            edges.append(float(slope[row][mask[:-1, :-1]].mean()))
    tenth = max(1, len(inside) // 10)
    return {
        "psnr": float((-10 * square.mean((1, 2)).log10()).mean()),
        "inside": float(np.mean(inside)),
        "inside_worst": float(np.mean(sorted(inside)[:tenth])),
        "edges": float(np.mean(edges)),
        "edges_worst": float(np.mean(sorted(edges)[-tenth:])),
    }
