"""The parts of the baselines: a trial with its starts and decodes, and changed noise estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.guidance import Estimate, guided
from wordbrush.diffusion.schedule import Level
from wordbrush.diffusion.solvers import SOLVERS, decode, step
from wordbrush.models.codec import pixels_of

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.items import Bytes, MethodRequest
    from wordbrush.region.mask import Mask
    from wordbrush.region.region import Region
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["Trial", "blended_x0", "low_pass", "low_referred", "noised", "weights", "with_low"]


@dataclass(frozen=True, eq=False)
class Trial:
    """One request under settings, on a session that is open on its picture."""

    editor: Editor
    session: Session
    request: MethodRequest
    settings: Settings

    @property
    def z0(self) -> Tensor:
        """The clean latent, (1, channel, height, width)."""
        return self.session.latent()

    @property
    def levels(self) -> list[Level]:
        """The grid cut at the ratio, clean level first."""
        return list(self.session.levels(self.settings))

    @property
    def depth(self) -> int:
        """Steps that the ratio runs."""
        return len(self.levels) - 1

    @property
    def path(self) -> list[Tensor]:
        """The latents z0 ... x_r of the inversion, as the editor's."""
        return self.session.trajectory(self.request.reference, settings=self.settings)

    def changed(self, **switches: Any) -> Trial:
        """Return the trial under other settings."""
        return replace(self, settings=self.settings.changed(**switches))

    def text(self, text: str) -> Conditioning:
        """Return the conditioning of a text."""
        return self.session.conditioning(text, self.settings)

    def draw(self, stream: str, index: int = 0) -> Tensor:
        """Draw noise of z0's shape from a named stream."""
        return noise.normal(self.request.seed, stream, index, self.z0.shape[1:])[None].to(self.z0)

    def decode(
        self,
        x: Tensor,
        *,
        region: Region | None = None,
        wrap: Callable[[Estimate], Estimate] | None = None,
    ) -> Program[Tensor]:
        """Decode x from the level of the ratio to the clean latent, under the query and the editor's guidance.

        Args:
            x: latents at the last of `levels`.
            region: what the estimate is told to be free, with its ring; the walk itself holds nothing.
            wrap: changes the estimate.
        """
        free = (region.cells, region.ring) if region else (None, None)
        mask, ring = (None if cells is None else weights(cells, x) for cells in free)
        settings, policy, scale = self.settings, self.editor.model.policy, self.editor.guidance(self.settings)
        texts = (self.session.conditioning(self.request.query, settings, scale), self.text(""))
        interval, weight = (settings.guidance_low, settings.guidance_high), policy.weight_of(scale)
        estimate = guided(*texts, weight, interval=interval, every=settings.guidance_every, join=policy.join)
        return decode(
            wrap(estimate) if wrap else estimate,
            x,
            self.levels,
            mask=mask,
            ring=ring,
            ring_until=settings.ring_until,
            soft=settings.soft,
            eta=settings.eta,
            fresh=lambda index: self.draw("decode", index),
            solver=SOLVERS[settings.solver](),
        )

    def canvas(self, latent: Tensor) -> Bytes:
        """Decode a latent to (canvas height, canvas width, RGB)."""
        with torch.no_grad():
            return pixels_of(self.session.driver.codec.decode(latent)[0])

    def image(self, latent: Tensor) -> Bytes:
        """Decode a latent and bring it to the picture's size, as the editor does, without a composite."""
        return self.session.fit.inverse(self.canvas(latent))

    def cost(self, *stages: str) -> int:
        """Return the evaluations of stages (`contrast`, `invert`, `decode`) of an edit of this picture, run alone."""
        plan = self.editor.plan(self.session.picture.size, settings=self.settings).evaluations
        return sum(plan[stage] for stage in stages)


def noised(z0: Tensor, fresh: Tensor, level: Level) -> Tensor:
    """Return z0 carried to a level with a noise: `alpha * z0 + sigma * noise`; z0 itself at the clean level."""
    return step(Prediction(z0, fresh), level)


def weights(cells: Mask, like: Tensor) -> Tensor:
    """Return a mask of latent cells as a tensor (1, 1, height, width) with the dtype and device of `like`."""
    return torch.tensor(cells.values)[None, None].to(like)


def blended_x0(estimate: Estimate, known: Tensor) -> Estimate:
    """Return an estimate whose x0 outside a mask is a known latent (GLIDE, Nichol et al. 2022); not at the clean level.

    The mask is the region that the decode frees at that step. The noise estimate is recomputed from x and the blended
    x0, so that `x = alpha * x0 + sigma * eps` still holds; inside a mask of 1 nothing changes, bit for bit.

    Args:
        estimate: guided or not.
        known: the clean latent, (1, channel, height, width).
    """

    def blended(x: Tensor, level: Level, **place: Any) -> Program[Prediction]:
        own = yield from estimate(x, level, **place)
        alpha, sigma = level.scales(x)
        change = (1 - place["region"]) * (known - own.x0)
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
    """Return an estimate that first replaces the low frequencies of x by those of a reference at the same level.

    Args:
        estimate: guided or not.
        references: noised references by the time of their level; where there is none, x stays as it is.
        factor: of the low-pass.
    """

    def referred(x: Tensor, level: Level, **place: Any) -> Program[Prediction]:
        reference = references.get(float(level.time))
        return (yield from estimate(x if reference is None else with_low(x, reference, factor), level, **place))

    return referred
