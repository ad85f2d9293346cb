"""What the methods share: noised starts, walks down under the query, and estimates that change what is walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Program
from wordbrush.diffusion.denoiser import Prediction
from wordbrush.diffusion.guidance import Estimate, guided
from wordbrush.diffusion.schedule import Level
from wordbrush.diffusion.solvers import SOLVERS, decode, step
from wordbrush.models.codec import pixels_of

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Bytes, MethodRequest
    from wordbrush.region.mask import Mask
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = [
    "blended_x0",
    "decoded",
    "estimate_of",
    "low_pass",
    "low_referred",
    "noised",
    "pixels",
    "start_noise",
    "weights",
    "with_low",
]


def start_noise(session: Session, request: MethodRequest) -> Tensor:
    """Draw the noise of a start from noised z0, (1, channel, height, width)."""
    z0 = session.latent()
    return noise.normal(request.seed, "start", 0, z0.shape[1:])[None].to(z0)


def noised(z0: Tensor, fresh: Tensor, level: Level) -> Tensor:
    """Return z0 carried to a level with a noise: `alpha * z0 + sigma * noise`; z0 itself at the clean level."""
    return step(Prediction(z0, fresh), level)


def estimate_of(session: Session, request: MethodRequest, settings: Settings) -> Estimate:
    """Return the guided estimate under a request's query, as the editor's decode has it."""
    empty, query = (session.driver.prompt(text, settings.clip_skip).conditioning for text in ("", request.query))
    return guided(query, empty, session.guidance(settings))


def decoded(
    session: Session,
    x: Tensor,
    request: MethodRequest,
    settings: Settings,
    *,
    trajectory: Sequence[Tensor] | None = None,
    cells: Mask | None = None,
    wrap: Callable[[Estimate], Estimate] | None = None,
) -> Tensor:
    """Walk x down from the level of the ratio under the query; the clean latent (1, channel, height, width)."""
    estimate = estimate_of(session, request, settings)

    def fresh(index: int) -> Tensor:
        return noise.normal(request.seed, "decode", index, x.shape[1:])[None].to(x)

    return session.run(
        decode(
            wrap(estimate) if wrap else estimate,
            x,
            session.levels(settings),
            path=trajectory,
            mask=None if cells is None else weights(cells, x),
            soft=settings.soft,
            eta=settings.eta,
            fresh=fresh,
            solver=SOLVERS[settings.solver](),
        )
    )


def weights(cells: Mask, like: Tensor) -> Tensor:
    """Return a mask of latent cells as (1, 1, height, width), dtype and device of `like`."""
    return torch.tensor(cells.values)[None, None].to(like)


def pixels(session: Session, latent: Tensor) -> Bytes:
    """Decode a latent and bring it to the picture's size, as the editor does, without a composite."""
    with torch.no_grad():
        return session.fit.inverse(pixels_of(session.driver.codec.decode(latent)[0]))


def blended_x0(estimate: Estimate, known: Tensor, mask: Tensor) -> Estimate:
    """Replace the estimate of x0 by a known one outside a mask (GLIDE, Nichol et al. 2022); above the clean level.

    The noise estimate is recomputed from x and the blended x0, so that `x = alpha * x0 + sigma * eps` still holds;
    inside a mask of 1 nothing changes, bit for bit.

    Args:
        estimate: guided or not.
        known: the clean latent, (1, channel, height, width).
        mask: (1, 1, height, width) in [0, 1], 1 = the estimate itself.
    """

    def blended(x: Tensor, level: Level, **place: Any) -> Program[Prediction]:
        own = yield from estimate(x, level, **place)
        alpha, sigma = level.scales(x)
        change = (1 - mask) * (known - own.x0)
        return Prediction(own.x0 + change, own.eps - alpha / sigma * change)

    return blended


def low_pass(x: Tensor, factor: int) -> Tensor:
    """Average blocks of `factor` x `factor` cells and stretch them back bilinearly; factor 1 changes nothing.

    Args:
        x: (batch, channel, height, width).
        factor: at least 1; a side that it does not divide ends in smaller blocks.
    """
    height, width = x.shape[-2:]
    small = interpolate(x, (-(-height // factor), -(-width // factor)), mode="area")
    return interpolate(small, (height, width), mode="bilinear", align_corners=False)


def with_low(x: Tensor, reference: Tensor, factor: int) -> Tensor:
    """Return x with the low frequencies of a reference: phi(y) + x - phi(x) of Choi et al. 2021, phi being linear."""
    return x + low_pass(reference - x, factor)


def low_referred(estimate: Estimate, references: Mapping[float, Tensor], factor: int) -> Estimate:
    """Replace the low frequencies of x by those of a reference at the same level first; a step then starts there.

    Args:
        estimate: guided or not.
        references: noised references by the time of their level; where there is none, x stays as it is.
        factor: of the low-pass.
    """

    def referred(x: Tensor, level: Level, **place: Any) -> Program[Prediction]:
        reference = references.get(float(level.time))
        return (yield from estimate(x if reference is None else with_low(x, reference, factor), level, **place))

    return referred
