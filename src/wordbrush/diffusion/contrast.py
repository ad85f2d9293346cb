"""The contrast: where the model disagrees with itself under two texts (section 3.2 of the paper).

The picture's latent is noised, and the noise is estimated once under the reference and once under the query, from the
same noised latent and without guidance. Guidance would only scale the difference, exactly, as long as both share one
negative text. The paper leaves the formula open: every choice is a switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Ask, Key, Once, Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.schedule import Level, sent

__all__ = ["Norm", "Pool", "Sign", "differences", "disagreement", "draw", "pooled"]

Sign = Literal["absolute", "signed"]
Norm = Literal["mean", "l2"]
Pool = Literal["sizes", "shares"]


def draw(seed: int, index: int, shape: Sequence[int], *, antithetic: bool = False) -> Tensor:
    """Draw the noise of map `index`, float32 on the CPU; antithetic ones come in pairs of opposite sign."""
    if not antithetic:
        return noise.normal(seed, "contrast", index, shape)
    return noise.normal(seed, "contrast", index // 2, shape) * (1 - 2 * (index % 2))


def differences(
    z0: Tensor,
    levels: Sequence[Level],
    query: Conditioning,
    reference: Conditioning,
    draws: Sequence[Sequence[Tensor]],
    *,
    key: Key | None = None,
) -> Program[list[Tensor]]:
    """Estimate the difference in noise between two texts: `eps(x, query) - eps(x, reference)`.

    The reference's half may be kept: another query with the same reference then costs half.

    Args:
        z0: latent of one picture, (1, channel, height, width).
        levels: where the latent is noised to.
        query: one row.
        reference: one row.
        draws: for each level its standard normal noises, each (channel, height, width), as many at every level.
        key: what determines the estimates under the reference, where they are to be kept.

    Returns:
        For each level (map, channel, height, width), a map a draw. Exactly zero, and nothing is asked, where the two
        texts mean the same to the network: its rows may round differently, and a map of that would look like one.
    """
    if query.equals(reference):
        return [z0.new_zeros(len(some), *z0.shape[1:]) for some in draws]
    fresh = list[Tensor]()  # the query's half, where both are asked for at once

    def both() -> Program[Tensor]:
        sides = (_asks(z0, levels, text, draws, half) for half, text in enumerate((reference, query)))
        answers: tuple[Prediction, ...] = yield tuple(ask for side in sides for ask in side)
        under, over = torch.cat([answer.eps for answer in answers]).chunk(2)
        fresh.append(over)
        return under.clone()  # a view would keep both halves alive

    second: Tensor = (yield from both()) if key is None else (yield Once(key, both()))
    if not fresh:
        answers: tuple[Prediction, ...] = yield _asks(z0, levels, query, draws, 1)
        fresh.append(torch.cat([answer.eps for answer in answers]))
    return list(torch.split(fresh[0] - second, [len(some) for some in draws]))


def _asks(
    z0: Tensor, levels: Sequence[Level], text: Conditioning, draws: Sequence[Sequence[Tensor]], half: int
) -> tuple[Ask, ...]:
    """Ask for the noise at every level and draw under one text; both texts are one after the other in the count."""
    asks, each = list[Ask](), sum(map(len, draws))
    for level, some in zip(levels, draws, strict=True):
        alpha, sigma = level.scales(z0)
        for fresh in some:
            x = alpha * z0 + sigma * sent(fresh.to(z0.dtype), z0.device)
            asks.append(Ask(x, level, text, stage="contrast", step=half * each + len(asks) + 1, steps=2 * each))
    return tuple(asks)


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


def pooled(maps: Sequence[Tensor], how: Pool = "sizes") -> Tensor:
    """Average the raw maps (height, width) of several levels; one alone stays as it is.

    Args:
        maps: a map a level, in units of the estimated noise.
        how: `sizes` averages them as they are, so that a level at which the texts hardly disagree, and whose map is
            therefore noise, says little; `shares` divides each by its own mean first, so that each counts the same.
    """
    if len(maps) == 1:
        return maps[0]
    if how == "shares":
        maps = [m / m.mean().clamp(min=torch.finfo(m.dtype).tiny) for m in maps]
    return torch.stack(list(maps)).mean(dim=0)
