"""Reports: what an edit cost and what is known of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Memory", "Plan", "Report"]


@dataclass(frozen=True)
class Report:
    """What one edit cost and found.

    Attributes:
        seed: the item's seed.
        timings: seconds a stage, of the whole call the item was part of.
        evaluations: network evaluations a stage (one row of one call each), of the whole call.
        mask_area: share of the picture inside the mask, [0, 1].
        near_threshold: latent cells so near to the cut that other hardware may decide them otherwise.
        real_ratio: the encoding ratio in whole steps of the grid: steps up by steps of the grid.
        reconstruction_error: root mean square between the latent and its way up and down again, if measured.
        noise: root mean square of the noise that an unguided inversion found in the latent, see `diffedit.noise_found`.
        reused: what the session's store held when the edit asked for it: `latent`, `contrast` or `reference`, its half
            of the contrast, and `trajectory`, or `part of the trajectory` where a kept one was carried further.
        retried: whether the region came out as it was and was painted once more, from fresh noise.
        warnings: what the user should know: words cut off, words unknown, an empty mask.
    """

    seed: int
    timings: dict[str, float]
    evaluations: dict[str, int]
    mask_area: float
    real_ratio: float
    near_threshold: int = 0
    reconstruction_error: float | None = None
    noise: float | None = None
    reused: tuple[str, ...] = ()
    retried: bool = False
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "seed": self.seed,
            "timings": {k: round(v, 6) for k, v in self.timings.items()},
            "evaluations": dict(self.evaluations),
            "mask_area": self.mask_area,
            "real_ratio": self.real_ratio,
            "near_threshold": self.near_threshold,
            "reconstruction_error": self.reconstruction_error,
            "noise": self.noise,
            "reused": list(self.reused),
            "retried": self.retried,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Plan:
    """The sizes and the cost of an edit before it is run.

    Attributes:
        size: the picture, (width, height).
        working_size: what the model sees, (width, height).
        latent_size: cells, (width, height).
        evaluations: network evaluations a stage.
        memory_bytes: what the session will hold: latents, maps and trajectory, without the model.
        depth: steps up, and down.
    """

    size: tuple[int, int]
    working_size: tuple[int, int]
    latent_size: tuple[int, int]
    evaluations: dict[str, int]
    memory_bytes: int
    depth: int


@dataclass(frozen=True)
class Memory:
    """What a session holds, in bytes.

    Attributes:
        held: sum of everything cached.
        limit: above it the least recently used is dropped.
        entries: bytes by kind: `latent`, `contrast`, `outline`, `trajectory`.
        dropped: how many entries were dropped so far.
    """

    held: int
    limit: int
    entries: dict[str, int]
    dropped: int
