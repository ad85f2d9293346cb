"""DiffEdit written a second time from its paper, on plain diffusers and transformers parts; it imports no wordbrush.

The paper is Couairon, Verbeek, Schwenk, Cord, "DiffEdit: Diffusion-based semantic image editing with mask guidance",
ICLR 2023. This module is plain and slow on purpose: one row a network call, latents in float64 between the calls, no
cache, no choices but the paper's own numbers. A step of DDIM is written as in the paper, as the Euler step in
`u = x / sqrt(abar)` and `tau = sqrt(1 / abar - 1)`.

Where the paper is silent, this was taken:

- time 0 is the clean picture, `abar = 1`, and time k the picture after k noising steps. diffusers counts from zero, so
  half of 1000 steps is entry 499 of its table, and the network knows it under that number;
- no network was trained at time 0: there it is told 0, the least noise that it knows, and its answer read as of time 0;
- extreme values are those beyond the 1st and the 99th percentile; a difference over channels is the mean absolute one;
- the autoencoder's latent is the mean of its posterior;
- the edited picture is laid over the input: by hard latent cells, or with straight lines between their centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Numbers:
    """What the paper states in numbers."""

    steps: int = 50
    ratio: float = 0.8
    strength: float = 0.5
    threshold: float = 0.5
    guidance: float = 7.5
    extremes: float = 0.01


@dataclass(frozen=True)
class Time:
    """A point of the paper's time axis: the share of signal there, and what the network is told."""

    abar: float
    told: int

    @property
    def tau(self) -> float:
        """Noise over signal."""
        return sqrt(1 / self.abar - 1)


@dataclass(frozen=True, eq=False)
class Edited:
    """All that one edit computes.

    Attributes:
        latent: x_0, (1, channel, row, column).
        raw: mean difference in estimated noise, (row, column).
        mask: latent cells to edit, bool (row, column).
        path: x_0 ... x_r of the encoding, each as `latent`.
        decoded: what the autoencoder makes of the edited latent, bytes (height, width, 3).
    """

    latent: Tensor
    raw: Tensor
    mask: Tensor
    path: list[Tensor]
    decoded: Picture

    def pasted(self, picture: Picture, *, smooth: bool = False) -> Picture:
        """Lay the edited picture over the input, by cells or with straight lines between their centres."""
        size, plane = picture.shape[:2], self.mask[None, None].double()
        if smooth:
            plane = functional.interpolate(plane, size, mode="bilinear", align_corners=False)
        else:
            plane = functional.interpolate(plane, size, mode="nearest-exact")
        share = plane[0, 0, :, :, None].numpy()
        mixed = share * self.decoded + (1 - share) * picture
        return np.floor(mixed + 0.5).astype(np.uint8)


class Checkpoint:
    """The parts of a Stable Diffusion folder in the layout of diffusers."""

    def __init__(self, folder: Path) -> None:
        def part(kind: Any, name: str) -> Any:
            return kind.from_pretrained(folder, subfolder=name, local_files_only=True)

        self.unet = part(UNet2DConditionModel, "unet").float().eval()
        self.autoencoder = part(AutoencoderKL, "vae").float().eval()
        self.text_encoder = part(CLIPTextModel, "text_encoder").float().eval()
        self.tokenizer = part(CLIPTokenizer, "tokenizer")
        self.scheduler = part(DDIMScheduler, "scheduler")

    def at(self, step: int) -> Time:
        """Return the time that the network knows as `step`, counted from 0."""
        return Time(float(self.scheduler.alphas_cumprod[step]), step)

    def times(self, steps: int) -> list[Time]:
        """Return the clean time and those of the scheduler's grid, noise rising."""
        self.scheduler.set_timesteps(steps)
        return [Time(1.0, 0), *(self.at(step) for step in sorted(self.scheduler.timesteps.tolist()))]

    def read(self, text: str) -> Tensor:
        """Return the text as the network takes it, (1, token, width)."""
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        embedding: Tensor = self.text_encoder(tokens.input_ids).last_hidden_state
        return embedding

    def encode(self, picture: Picture) -> Tensor:
        """Return x_0 of bytes (height, width, 3)."""
        pixels = torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        mean: Tensor = self.autoencoder.encode(pixels).latent_dist.mean
        return mean.double() * float(self.autoencoder.config.scaling_factor)

    def decode(self, latent: Tensor) -> Picture:
        """Return bytes (height, width, 3) of a clean latent."""
        pixels = self.autoencoder.decode((latent / self.autoencoder.config.scaling_factor).float()).sample
        levels = torch.clamp((pixels[0].double() + 1) / 2, 0, 1) * 255
        found: Picture = torch.round(levels).permute(1, 2, 0).numpy().astype(np.uint8)
        return found

    def noise(self, x: Tensor, time: Time, text: Tensor) -> Tensor:
        """Return eps(x, text, time); a network of v = sqrt(abar) eps - sqrt(1 - abar) x_0 is asked for that."""
        output: Tensor = self.unet(x.float(), torch.tensor([time.told]), encoder_hidden_states=text).sample.double()
        if self.scheduler.config.prediction_type == "v_prediction":
            return sqrt(time.abar) * output + sqrt(1 - time.abar) * x
        assert self.scheduler.config.prediction_type == "epsilon"
        return output


def euler(x: Tensor, noise: Tensor, here: Time, there: Time) -> Tensor:
    """Go from one time to another, either way: du = eps dtau."""
    u = x / sqrt(here.abar) + noise * (there.tau - here.tau)
    return u * sqrt(there.abar)


def find_difference(
    parts: Checkpoint, x0: Tensor, query: str, reference: str, noises: Sequence[Tensor], strength: float
) -> Tensor:
    """Step 1: how far the two texts' noise estimates lie apart on the noised picture, averaged over the noises."""
    time = parts.at(round(strength * len(parts.scheduler.alphas_cumprod)) - 1)
    wanted, shown = parts.read(query), parts.read(reference)
    total = torch.zeros_like(x0[0, 0])
    for noise in noises:
        xt = sqrt(time.abar) * x0 + sqrt(1 - time.abar) * noise
        apart = parts.noise(xt, time, wanted) - parts.noise(xt, time, shown)
        total += apart[0].abs().mean(dim=0) / len(noises)
    return total


def cut_mask(raw: Tensor, numbers: Numbers) -> Tensor:
    """Step 1, the mask: extremes clipped, rescaled to [0, 1], cut at the threshold."""
    low, high = torch.quantile(raw, numbers.extremes), torch.quantile(raw, 1 - numbers.extremes)
    soft = (raw.clamp(low, high) - low) / (high - low)
    return soft > numbers.threshold


def encode_path(parts: Checkpoint, x0: Tensor, times: Sequence[Time]) -> list[Tensor]:
    """Step 2: DDIM encoding without a text; returns the latent at every time."""
    empty, path = parts.read(""), [x0]
    for here, there in pairwise(times):
        path.append(euler(path[-1], parts.noise(path[-1], here, empty), here, there))
    return path


def decode_masked(
    parts: Checkpoint, path: Sequence[Tensor], times: Sequence[Time], mask: Tensor, query: str, guidance: float
) -> Tensor:
    """Step 3: from x_r down under the query; after every step the outside is the encoding's latent of the same time."""
    wanted, empty, y = parts.read(query), parts.read(""), path[-1]
    for index in range(len(times) - 1, 0, -1):
        here, there = times[index], times[index - 1]
        plain = parts.noise(y, here, empty)
        guided = plain + guidance * (parts.noise(y, here, wanted) - plain)
        y = torch.where(mask, euler(y, guided, here, there), path[index - 1])
    return y


def edit(
    parts: Checkpoint, picture: Picture, query: str, reference: str, noises: Sequence[Tensor], numbers: Numbers
) -> Edited:
    """Carry out DiffEdit.

    Args:
        parts: the checkpoint.
        picture: bytes (height, width, 3), sides multiples of what the autoencoder and the UNet halve.
        query: what the picture should show.
        reference: what it shows.
        noises: standard normal draws of the mask step, each (channel, row, column).
        numbers: the paper's numbers, or others.
    """
    with torch.no_grad():
        latent = parts.encode(picture)
        raw = find_difference(parts, latent, query, reference, noises, numbers.strength)
        mask = cut_mask(raw, numbers)
        times = parts.times(numbers.steps)[: round(numbers.ratio * numbers.steps) + 1]
        path = encode_path(parts, latent, times)
        clean = decode_masked(parts, path, times, mask, query, numbers.guidance)
        return Edited(latent, raw, mask, path, parts.decode(clean))
