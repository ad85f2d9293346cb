"""One network call on known noise, which tells epsilon from v prediction where a checkpoint says nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, Network, Parametrisation
from wordbrush.diffusion.schedule import DiscreteSchedule, Level

__all__ = ["probe"]

_SEED = 20211112
_ALIKE, _UNLIKE, _HALFWAY = 0.8, 0.4, 0.5


def probe(network: Network, schedule: DiscreteSchedule, text: Conditioning, shape: tuple[int, int, int]) -> (
    Parametrisation | None
):
    """Ask a network about noise that is known, at the noisiest level and where signal and noise are equal.

    Both latents are noise alone, sigma * n, the picture being flat. An epsilon network answers n at both levels. A v
    network answers alpha * n - sigma * x0: at the noisiest level, where alpha is next to nothing, that is unlike n, and
    half way it is like it. An untrained network answers neither.

    Args:
        network: two rows are asked of it, in one call.
        schedule: as it was trained on, not rescaled.
        text: one row, the empty text.
        shape: (channel, height, width) of the latents.

    Returns:
        The parametrisation, or None where the answer fits neither.
    """
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    half = int((schedule.alphas_cumprod - 0.5).abs().argmin())
    levels = [schedule.at_label(schedule.size - 1), schedule.at_label(half)]
    x = torch.stack([noise * float(level.sigma) for level in levels])
    labels = Level.stack(levels).label
    with torch.no_grad():
        answer = network(x, labels, Conditioning.concat([text, text]))
    noisiest, middle = (_likeness(row, noise) for row in answer.float().cpu())
    if noisiest > _ALIKE and middle > _HALFWAY:
        return "epsilon"
    return "v_prediction" if abs(noisiest) < _UNLIKE and middle > _HALFWAY else None


def _likeness(one: Tensor, other: Tensor) -> float:
    """Return the correlation of two latents."""
    a, b = (value.flatten() - value.mean() for value in (one, other))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-12))
