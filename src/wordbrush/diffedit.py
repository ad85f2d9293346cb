"""DiffEdit on one picture, in the paper's order (Couairon, Verbeek, Schwenk, Cord, ICLR 2023).

1. Where two texts disagree about the noised picture is what must change (`contrast`, section 3.2 of the paper).
2. The picture is carried into the noise, every level kept (`trajectory`, and `invert` of the solvers).
3. The region is repainted under the query, and the outside is held to the kept latents (`decode` of the solvers).
   What the inversion found may leave an empty ground empty: then once more, the region from fresh noise (our addition).

Each is a program that asks for predictions and is told none of how they are made: see `wordbrush.diffusion.ask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Key, Once, Program
from wordbrush.diffusion.contrast import differences, disagreement, draw, pooled
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.guidance import Join, guided
from wordbrush.diffusion.schedule import Level
from wordbrush.diffusion.solvers import SOLVERS, decode, invert
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region, cut_region, region_of
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.settings import Settings

__all__ = ["Edit", "Painted", "contrast", "diffedit", "drowned", "noise_found", "reconstruct", "trajectory"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """Everything that the algorithm needs for one edit.

    Attributes:
        z0: the clean latent (1, channel, height, width).
        frame: how the picture lies on the latent cells.
        settings: all switches.
        seed: of the contrast's noises, and of the decode's with eta above 0.
        query, reference, negative, empty, inversion: the texts, a row each; `inversion` is that of the way up.
        drawn: the query as the decode tells it, with the scale for a network that is told one.
        levels: the grid cut at the ratio, clean level first.
        contrast_levels: where the contrast looks.
        guidance, inversion_guidance: scales of the decode and of the way up; 1 where the network is told them.
        join: how the two estimates of guidance are combined; None for the plain way.
        inverted: whether the picture comes into the noise by inversion, not by a draw.
        contrast_key, reference_key: what determines the raw map, and the reference's half of its estimates.
        path_key: what determines the path whatever its depth.
        masks: the user's own by name: `mask`, `include`, `exclude`.
        retry: paint a region that came out as it was once more, from fresh noise.
        check_inversion: measure the reconstruction error.
    """

    z0: Tensor
    frame: Frame
    settings: Settings
    seed: int
    query: Conditioning
    reference: Conditioning
    negative: Conditioning
    empty: Conditioning
    inversion: Conditioning
    drawn: Conditioning
    levels: Sequence[Level]
    contrast_levels: Sequence[Level]
    guidance: float
    inversion_guidance: float
    join: Join | None
    inverted: bool
    contrast_key: Key
    reference_key: Key
    path_key: Key
    masks: Mapping[str, Mask]
    retry: bool = False
    check_inversion: bool = False


@dataclass(frozen=True, eq=False)
class Painted:
    """The outcome of an edit.

    Attributes:
        region: what was edited.
        automatic: what of it was found in the contrast; None where the mask was the user's.
        contrast: the soft map; None where the mask was the user's.
        latent: the repainted latent; None where nothing was repainted.
        reconstruction_error: root mean square between z0 and its way up and down again, in latent units, if measured.
        noise: how much noise the inversion found, see `noise_found`; None where it was guided, or nothing inverted.
        retried: whether the region came out as it was, and was painted once more from fresh noise.
    """

    region: Region
    automatic: Region | None
    contrast: Contrast | None
    latent: Tensor | None = None
    reconstruction_error: float | None = None
    noise: float | None = None
    retried: bool = False


AS_IT_WAS = 0.4
"""Change of the latent in a region, as a share of the picture's spread, below which nothing new was painted."""


def diffedit(edit: Edit) -> Program[Painted]:
    """Find the region, carry the picture into the noise, repaint the region under the query."""
    settings, soft = edit.settings, None
    if "mask" not in edit.masks:
        raw: NDArray[np.float32] = yield Once(edit.contrast_key, contrast(edit))
        soft = Contrast(raw, rescale(raw, settings.rescale, clip=settings.clip))
    automatic = None if soft is None else cut_region(edit.frame, soft, settings)
    region = region_of(edit.frame, automatic, settings, **edit.masks)
    if region.pixels.is_empty or len(edit.levels) < 2:
        return Painted(region, automatic, soft)
    free = _weights(region.widest, edit.z0)
    path = yield from trajectory(edit, free if settings.sparse else None)
    error = (yield from reconstruct(edit, path)) if edit.check_inversion and edit.inverted else None
    latent = yield from _repainted(edit, region, path, path[-1])
    retried = edit.retry and _as_it_was(latent, edit.z0, free)
    if retried:
        start = torch.where(free > 0, _noised(edit, edit.levels[-1:])[0], path[-1])
        latent = yield from _repainted(edit, region, path, start)
    unguided = edit.inverted and settings.inversion_guidance == 1.0
    found = noise_found(path, edit.levels[-1]) if unguided else None
    return Painted(region, automatic, soft, latent, error, found, retried)


def _repainted(edit: Edit, region: Region, path: Sequence[Tensor], start: Tensor) -> Program[Tensor]:
    """Walk down from x_r under the query, the outside of the region held to the path."""
    s = edit.settings
    return (yield from decode(
        guided(
            edit.drawn,
            edit.negative,
            edit.guidance,
            interval=(s.guidance_low, s.guidance_high),
            every=s.guidance_every,
            join=edit.join,
        ),
        start,
        edit.levels,
        path=path,
        mask=_weights(region.cells, edit.z0),
        ring=None if region.ring is None else _weights(region.ring, edit.z0),
        ring_until=s.ring_until,
        soft=s.soft,
        eta=s.eta,
        fresh=lambda index: noise.normal(edit.seed, "decode", index, edit.z0.shape[1:])[None].to(edit.z0),
        solver=SOLVERS[s.solver](),
    ))


def _as_it_was(latent: Tensor, z0: Tensor, weights: Tensor) -> bool:
    """Whether hardly anything changed where the region is: root mean square over `AS_IT_WAS` of the latent's spread."""
    change = ((latent - z0).square() * weights).sum() / (weights.sum() * z0.shape[1])
    return bool(change.sqrt() < AS_IT_WAS * z0.std())


def drowned(levels: Sequence[Level]) -> bool:
    """Whether a walk begins so deep that noise drowns the picture: alpha below a quarter of sigma."""
    return len(levels) > 1 and bool(levels[-1].alpha < levels[-1].sigma / 4)


def _noised(edit: Edit, levels: Sequence[Level]) -> list[Tensor]:
    """Return the clean latent with one draw of noise at each level, `alpha z0 + sigma n`."""
    drawn = noise.normal(edit.seed, "encoding", 0, edit.z0.shape[1:])[None].to(edit.z0)
    return [alpha * edit.z0 + sigma * drawn for alpha, sigma in (level.scales(edit.z0) for level in levels)]


def _weights(cells: Mask, like: Tensor) -> Tensor:
    return torch.tensor(cells.values)[None, None].to(like)


def contrast(edit: Edit) -> Program[NDArray[np.float32]]:
    """Return the raw map (height, width), not negative: how much query and reference disagree at each latent cell."""
    s, shape = edit.settings, edit.z0.shape[1:]
    seed, stride = s.seed_of_contrast(edit.seed), s.maps if s.draws == "own" else 0
    draws = [
        [draw(seed, level * stride + index, shape, antithetic=s.antithetic) for index in range(s.maps)]
        for level in range(len(edit.contrast_levels))
    ]
    levels = yield from differences(
        edit.z0, edit.contrast_levels, edit.query, edit.reference, draws, key=edit.reference_key
    )
    maps = [disagreement(d, sign=s.sign, norm=s.norm) for d in levels]
    return pooled(maps, s.pool).float().cpu().numpy()


def trajectory(edit: Edit, region: Tensor | None = None) -> Program[list[Tensor]]:
    """Carry the picture of an edit up to its ratio; the latents z0 ... x_r, one a level.

    Where it is not inverted, all levels are noised with one draw: `x = alpha z0 + sigma n`.

    Args:
        edit: what is known of it.
        region: the cells that will be free on the way down, where who answers records the way up for them; such a path
            is walked for this edit alone and not taken from those kept.
    """
    s = edit.settings
    if not edit.inverted:
        return _noised(edit, edit.levels)
    return (yield from invert(
        guided(edit.inversion, edit.empty, edit.inversion_guidance, join=edit.join),
        edit.z0,
        edit.levels,
        label=s.inversion_label,
        fixed_point=s.fixed_point,
        stride=s.inversion_stride,
        solver=SOLVERS[s.solver](),
        key=edit.path_key if region is None else None,
        region=region,
    ))


def noise_found(path: Sequence[Tensor], level: Level) -> float:
    """Return the root mean square of the noise in the last latent of a path: eps in `x_r = alpha * z0 + sigma * eps`.

    What the model expects of a picture, the inversion predicts away; what it cannot explain stays and counts as noise.
    So a picture unlike all that the model was taught has more of it than those that it knows, at no evaluation.

    Args:
        path: z0 ... x_r, each (row, channel, height, width).
        level: of x_r, not the clean one.
    """
    alpha, sigma = level.scales(path[-1])
    return float(((path[-1] - alpha * path[0]) / sigma).square().mean().sqrt())


def reconstruct(edit: Edit, path: Sequence[Tensor]) -> Program[float]:
    """Carry x_r down again as it came up, without a mask; return the root mean square to z0, in latent units."""
    way_back = guided(edit.inversion, edit.empty, edit.inversion_guidance, join=edit.join)
    solver = SOLVERS[edit.settings.solver]()
    x = yield from decode(way_back, path[-1], edit.levels, solver=solver, stage="check")
    return float((x - path[0]).square().mean().sqrt())
