"""The contrast: where the model disagrees with itself under two texts (section 3.2 of the paper).

The picture's latent is noised, and the noise is estimated once under the query and once under the reference, from the
same noised latent and without guidance. Guidance would only scale the difference, exactly, as long as both share one
negative text. The paper leaves the formula open: every choice is a switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Ask, Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.schedule import Level, sent

__all__ = ["Norm", "Sign", "differences", "disagreement", "draw", "pooled"]

Sign = Literal["absolute", "signed"]
Norm = Literal["mean", "l2"]


def draw(seed: int, index: int, shape: Sequence[int], *, antithetic: bool = False) -> Tensor:
    """Draw the noise of map `index`, float32 on the CPU; antithetic ones come in pairs of opposite sign."""
    if not antithetic:
        return noise.normal(seed, "contrast", index, shape)
    return noise.normal(seed, "contrast", index // 2, shape) * (1 - 2 * (index % 2))


def differences(
    z0: Tensor, levels: Sequence[Level], query: Conditioning, reference: Conditioning, draws: Sequence[Tensor]
) -> Program[list[Tensor]]:
    """Estimate the difference in noise between two texts: `eps(x, query) - eps(x, reference)`.

    Args:
        z0: latent of one picture, (1, channel, height, width).
        levels: where the latent is noised to.
        query: one row.
        reference: one row.
        draws: standard normal noises, each (channel, height, width), the same at every level.

    Returns:
        For each level (map, channel, height, width), a map a draw. Exactly zero, and nothing is asked, where the two
        texts mean the same to the network: its rows may round differently, and a map of that would look like one.
    """
    if query.equals(reference):
        return [z0.new_zeros(len(draws), *z0.shape[1:]) for _ in levels]
    texts, asks = Conditioning.concat([query, reference]), list[Ask]()
    for level in levels:
        alpha, sigma = level.scales(z0)
        for fresh in draws:
            x = (alpha * z0 + sigma * sent(fresh.to(z0.dtype), z0.device)).repeat_interleave(2, dim=0)
            asks.append(Ask(x, level, texts, stage="contrast", step=len(asks) + 1, steps=len(levels) * len(draws)))
    answers: tuple[Prediction, ...] = yield tuple(asks)
    every = torch.cat([answer.eps[0::2] - answer.eps[1::2] for answer in answers])
    return list(torch.split(every, len(draws)))


def disagreement(difference: Tensor, *, sign: Sign = "absolute", norm: Norm = "mean") -> Tensor:
    """Reduce differences to one raw map.

    Args:
        difference: (map, channel, height, width).
        sign: `absolute` takes sizes first and averages them over the noises; `signed` averages the differences and
            takes the size of the mean, in which what the noises do not agree on cancels.
        norm: size over channels: `mean` of absolute values, or `l2`, the root of the mean square.

    Returns:
        The raw map (height, width), not negative, in units of the estimated noise.
    """
    if sign == "signed":
        difference = difference.mean(dim=0, keepdim=True)
    size = difference.abs().mean(dim=1) if norm == "mean" else difference.square().mean(dim=1).sqrt()
    return size.mean(dim=0)


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """Average the raw maps (height, width) of several levels, each divided by its own mean; one alone stays as it is.

    Levels differ in how far the texts can disagree at all; each counts the same.
    """
    if len(maps) == 1:
        return maps[0]
    return torch.stack([m / m.mean().clamp(min=torch.finfo(m.dtype).tiny) for m in maps]).mean(dim=0)
