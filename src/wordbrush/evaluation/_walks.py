"""What the methods share: noised starts, walks down under a task's query, and denoisers that change what is walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wordbrush.diffusion import noise
from wordbrush.diffusion.denoiser import Conditioning, Denoiser, Prediction
from wordbrush.diffusion.schedule import Level
from wordbrush.diffusion.solvers import decode, step
from wordbrush.session import pixels_of

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Bytes, Task
    from wordbrush.region.mask import Mask
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = [
    "BlendedX0",
    "LowReferred",
    "decoded",
    "guided_denoiser",
    "low_pass",
    "noised",
    "pixels",
    "start_noise",
    "weights",
    "with_low",
]


def start_noise(session: Session, task: Task) -> Tensor:
    """Draw the noise of a start from noised z0, (1, channel, height, width)."""
    z0 = session.latent()
    return noise.normal(task.seed, "start", 0, z0.shape[1:])[None].to(z0)


def noised(z0: Tensor, fresh: Tensor, level: Level) -> Tensor:
    """Return z0 carried to a level with a noise: `alpha * z0 + sigma * noise`; z0 itself at the clean level."""
    return step(Prediction(z0, fresh), level)


def guided_denoiser(session: Session, task: Task, settings: Settings) -> tuple[Denoiser, Conditioning]:
    """Return the guided denoiser and the query's conditioning, as the editor's decode has them."""
    engine = session.engine
    empty = engine.prompt("", settings).conditioning
    return engine.guided(empty, engine.guidance(settings)), engine.prompt(task.query, settings).conditioning


def decoded(
    session: Session,
    x: Tensor,
    task: Task,
    settings: Settings,
    *,
    trajectory: Sequence[Tensor] | None = None,
    cells: Mask | None = None,
    wrap: Callable[[Denoiser], Denoiser] | None = None,
) -> Tensor:
    """Walk x down from the level of the ratio under the query; the clean latent (1, channel, height, width)."""
    denoiser, query = guided_denoiser(session, task, settings)

    def fresh(index: int) -> Tensor:
        return noise.normal(task.seed, "decode", index, x.shape[1:])[None].to(x)

    last = x
    with torch.no_grad():
        for state in decode(
            wrap(denoiser) if wrap else denoiser,
            x,
            session.engine.levels(settings),
            query,
            trajectory=trajectory,
            mask=None if cells is None else weights(cells, x),
            soft=settings.soft,
            eta=settings.eta,
            noise=fresh,
            solver=session.engine.solver(settings),
        ):
            last = state.x
    return last


def weights(cells: Mask, like: Tensor) -> Tensor:
    """Return a mask of latent cells as (1, 1, height, width), dtype and device of `like`."""
    return torch.tensor(cells.values)[None, None].to(like)


def pixels(session: Session, latent: Tensor) -> Bytes:
    """Decode a latent and bring it to the picture's size, as the editor does, without a composite."""
    with torch.no_grad():
        return session.fit.inverse(pixels_of(session.engine.codec.decode(latent)[0]))


class BlendedX0:
    """A denoiser whose estimate of x0 is replaced by a known one outside a mask (GLIDE, Nichol et al. 2022).

    The noise estimate is recomputed from x and the blended x0, so that `x = alpha * x0 + sigma * eps` still holds;
    inside a mask of 1 nothing changes, bit for bit.

    Args:
        denoiser: the denoiser, guided or not.
        known: the clean latent, (1, channel, height, width).
        mask: (1, 1, height, width) in [0, 1], 1 = the denoiser's own estimate.
    """

    def __init__(self, denoiser: Denoiser, known: Tensor, mask: Tensor) -> None:
        self.denoiser, self.known, self.mask = denoiser, known, mask

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """See `Denoiser`; x above the clean level."""
        found = self.denoiser(x, level, conditioning, label=label)
        alpha, sigma = level.scales(x)
        change = (1 - self.mask) * (self.known - found.x0)
        return Prediction(found.x0 + change, found.eps - alpha / sigma * change)


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


class LowReferred:
    """A denoiser that first replaces the low frequencies of x by those of a reference at the same level.

    Args:
        denoiser: the denoiser, guided or not.
        references: noised references by the time of their level; where there is none, x stays as it is.
        factor: of the low-pass.
    """

    def __init__(self, denoiser: Denoiser, references: Mapping[float, Tensor], factor: int) -> None:
        self.denoiser, self.references, self.factor = denoiser, references, factor

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """See `Denoiser`; the estimate is that of the changed x, and a step from it starts there."""
        reference = self.references.get(float(level.time))
        changed = x if reference is None else with_low(x, reference, self.factor)
        return self.denoiser(changed, level, conditioning, label=label)
