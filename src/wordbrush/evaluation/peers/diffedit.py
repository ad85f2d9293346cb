"""The DiffEdit pipeline of diffusers: at its defaults, tuned as our defaults are, and as near to the paper as can be.

At its defaults it does what its documentation shows: a mask, an inversion under the source prompt with guidance 7.5, a
decode under the target prompt with guidance 7.5; 200 evaluations, 81 calls.

As near to the paper as it allows: the inversion under the empty text without guidance, the decode with the checkpoint's
guidance, numbers of maps and steps, noise strength and encoding ratio from the settings. Two things of the paper cannot
be had. Its mask step crashes without guidance (1.0); so it runs with 2.0, where, the two halves of a pair being swapped
in it, the factor on the difference is |1 - 2| = 1 (any other would give the same mask). And its threshold is 1.5 times
the mean instead of 0.5 of the rescaled map.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wordbrush.evaluation.peers.canvas import cells_on_picture, image_on_canvas, outcome_of
from wordbrush.evaluation.peers.pipelines import pipelines_of

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.items import MethodRequest, Outcome
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["DiffEditNumbers", "diffedit", "diffedit_paper", "diffedit_tuned", "diffedit_tuned_pasted", "diffedit_with"]


@dataclass(frozen=True)
class Arguments:
    """Arguments of the pipeline's three calls, besides texts, picture and generator."""

    mask: dict[str, Any]
    inversion: dict[str, Any]
    decode: dict[str, Any]


def diffedit(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run diffusers' DiffEdit at its own defaults, whatever the settings."""
    return _run(editor, session, request, Arguments({}, {"prompt": request.reference}, {}))


@dataclass(frozen=True)
class DiffEditNumbers:
    """What there is to tune; the inversion is under the empty text without guidance, which leads back.

    Attributes:
        cut: `mask_thresholding_ratio`; half of it, times the mean of the map, is the threshold.
        guidance: of the decode.
        ratio: `inpaint_strength`.
        steps: of the grid.
    """

    cut: float
    guidance: float
    ratio: float
    steps: int

    def __str__(self) -> str:
        depth = int(self.steps * self.ratio)  # as the pipeline counts
        return (
            f"{depth} of {self.steps} steps, cut at {self.cut / 2:g} of the mean, empty inversion without guidance, "
            f"guidance {self.guidance:g}"
        )


TUNED = DiffEditNumbers(cut=0.3, guidance=4.0, ratio=0.88, steps=25)
"""Chosen on dev for the pocket model by `benchmarks.tuning`."""


def diffedit_with(
    editor: Editor, session: Session, request: MethodRequest, numbers: DiffEditNumbers, *, paste: bool = False
) -> Outcome:
    """Run diffusers' DiffEdit with some numbers; `paste` puts the input back where its mask is 0."""
    steps = {"num_inference_steps": numbers.steps}
    depth = {**steps, "inpaint_strength": numbers.ratio}
    outcome = _run(
        editor,
        session,
        request,
        Arguments(
            {**steps, "mask_thresholding_ratio": numbers.cut},
            {**depth, "prompt": "", "guidance_scale": 1.0},
            {**depth, "guidance_scale": numbers.guidance},
        ),
    )
    if not paste or outcome.mask is None:
        return outcome
    return replace(outcome, image=np.where(outcome.mask[..., None] > 0, outcome.image, request.picture))


def diffedit_tuned(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run diffusers' DiffEdit with the numbers chosen on dev, whatever the settings."""
    return diffedit_with(editor, session, request, TUNED)


def diffedit_tuned_pasted(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run the same, the input put back outside of its mask."""
    return diffedit_with(editor, session, request, TUNED, paste=True)


def diffedit_paper(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run diffusers' DiffEdit as near to the paper as it allows."""
    steps = {"num_inference_steps": settings.steps}
    depth = {**steps, "inpaint_strength": settings.ratio}
    strength = statistics.median(settings.strength)  # the pipeline looks at one level
    mask = {"num_maps_per_mask": settings.maps, "mask_encode_strength": strength, "guidance_scale": 2.0}
    return _run(
        editor,
        session,
        request,
        Arguments(
            {**steps, **mask},
            {**depth, "prompt": "", "guidance_scale": 1.0},
            {**depth, "guidance_scale": editor.guidance(settings)},
        ),
    )


def _run(editor: Editor, session: Session, request: MethodRequest, arguments: Arguments) -> Outcome:
    pipelines = pipelines_of(editor)
    pipe, image = pipelines.diffedit, image_on_canvas(request, session.fit)
    draws = {"generator": torch.Generator().manual_seed(request.seed)}
    with pipelines.running() as cost:
        mask = pipe.generate_mask(
            image, target_prompt=request.query, source_prompt=request.reference, **draws, **arguments.mask
        )
        latents = pipe.invert(image=image, **draws, **arguments.inversion).latents
        edited = pipe(request.query, mask_image=mask, image_latents=latents, **draws, **arguments.decode).images[0]
    cells = np.asarray(mask[0], np.float32)
    return outcome_of(edited, session.fit, cost, mask=cells_on_picture(cells, session.fit))
