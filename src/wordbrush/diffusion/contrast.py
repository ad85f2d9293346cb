"""The contrast: where the model disagrees with itself under two texts.

The picture's latent is noised, and the noise is estimated once under the query and once under the reference, from the
same noised latent and without guidance. Where the two estimates differ, the words are about (section 3.2 of the
paper). Guidance would only scale the difference, exactly, as long as both share one negative text.

The paper leaves the formula open: every choice is a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, Denoiser
from wordbrush.diffusion.schedule import Level

__all__ = ["Norm", "Sign", "differences", "disagreement"]

Sign = Literal["absolute", "signed"]
Norm = Literal["mean", "l2"]


def differences(
    denoiser: Denoiser,
    z0: Tensor,
    level: Level,
    query: Conditioning,
    reference: Conditioning,
    noises: Sequence[Tensor],
    *,
    batch_limit: int = 16,
    on_map: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the difference in estimated noise between the two texts, for each noise.

    Args:
        denoiser: the plain, unguided denoiser.
        z0: latent of one picture, (1, channel, height, width).
        level: where the latent is noised to.
        query: one row.
        reference: one row.
        noises: standard normal draws, each (channel, height, width).
        batch_limit: most rows in one call, at least 1; a noise needs two.
        on_map: called with the number of maps done.

    Returns:
        `eps(x, query) - eps(x, reference)`, (map, channel, height, width). Exactly zero, without a call, where the two
        texts mean the same to the network: its rows may round differently, and a map of that would look like one.
    """
    if len(query) == len(reference) and all(
        name in reference and _same(query[name], reference[name]) for name in query
    ):
        if on_map is not None:
            on_map(len(noises))
        return z0.new_zeros(len(noises), *z0.shape[1:])
    alpha, sigma = level.scales(z0)
    size = max(1, batch_limit // 2)
    parts = []
    for begin in range(0, len(noises), size):
        fresh = torch.stack([noise.to(z0) for noise in noises[begin : begin + size]])
        x = (alpha * z0 + sigma * fresh).repeat_interleave(2, dim=0)
        texts = Conditioning.concat([query, reference]).select([0, 1] * len(fresh))
        eps = denoiser(x, level, texts).eps
        parts.append(eps[0::2] - eps[1::2])
        if on_map is not None:
            on_map(begin + len(fresh))
    return torch.cat(parts)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


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
