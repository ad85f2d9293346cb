"""SDEdit and inpainting: the image-to-image and the inpainting pipelines of diffusers.

Image-to-image noises the picture to a depth and decodes it under the query, everywhere; its strength is the encoding
ratio of the settings, or what was chosen on dev. It is the paper's SDEdit.

Inpainting is given our mask, found on the session's picture with the settings, and is charged for it. At its default
strength of 1 the inside starts from pure noise; the outside is blended from the noised picture after every step. A
latent is a block of pixels and the autoencoder loses something everywhere, so the outside still changes; the pipeline
pastes it back only together with its zoom (`padding_mask_crop`), but documents the paste by itself, as
`image_processor.apply_overlay`: the variant `_pasted`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from wordbrush.evaluation.peers.canvas import image_on_canvas, outcome_of
from wordbrush.evaluation.peers.pipelines import pipelines_of

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.items import MethodRequest, Outcome
    from wordbrush.region.mask import Mask
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["RepaintNumbers", "img2img", "img2img_tuned", "img2img_with", "inpaint", "inpaint_pasted", "inpaint_tuned"]

GUIDANCE = 7.5
"""Default of both pipelines."""


@dataclass(frozen=True)
class RepaintNumbers:
    """What there is to tune of image-to-image: depth, guidance, and the steps of the grid."""

    strength: float
    guidance: float
    steps: int

    def __str__(self) -> str:
        depth = min(int(self.steps * self.strength), self.steps)  # as the pipeline counts
        return f"{depth} of {self.steps} steps, guidance {self.guidance:g}"


TUNED = RepaintNumbers(strength=0.96, guidance=4.0, steps=25)
"""Chosen on dev for the pocket model by `benchmarks.tuning`."""


def img2img(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """SDEdit with the pipeline's default guidance; ratio and steps from the settings."""
    return img2img_with(editor, session, request, RepaintNumbers(settings.ratio, GUIDANCE, settings.steps))


def img2img_tuned(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """SDEdit with the numbers chosen on dev, whatever the settings."""
    return img2img_with(editor, session, request, TUNED)


def img2img_with(editor: Editor, session: Session, request: MethodRequest, numbers: RepaintNumbers) -> Outcome:
    """Run image-to-image with some numbers."""
    pipelines = pipelines_of(editor)
    pipe, image = pipelines.img2img, image_on_canvas(request, session.fit)
    with pipelines.running() as cost:
        edited = pipe(
            request.query,
            image,
            strength=numbers.strength,
            num_inference_steps=numbers.steps,
            guidance_scale=numbers.guidance,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
    return outcome_of(edited, session.fit, cost)


def inpaint(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Inpainting of our mask at the pipeline's own defaults."""
    return _inpaint(editor, session, request, settings, GUIDANCE)


def inpaint_tuned(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Inpainting of our mask with our guidance."""
    return _inpaint(editor, session, request, settings, editor.guidance(settings))


def inpaint_pasted(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Inpainting of our mask with our guidance, the outside pasted back by the pipeline's own overlay."""
    return _inpaint(editor, session, request, settings, editor.guidance(settings), paste=True)


def _inpaint(
    editor: Editor,
    session: Session,
    request: MethodRequest,
    settings: Settings,
    guidance: float,
    *,
    paste: bool = False,
) -> Outcome:
    from PIL import Image

    mask, own, seconds = _our_mask(session, request, settings)
    pipelines, fit = pipelines_of(editor), session.fit
    pipe, image = pipelines.inpaint, image_on_canvas(request, fit)
    laid = Image.fromarray(np.clip(np.rint(fit.forward(mask.values, "linear") * 255), 0, 255).astype(np.uint8))
    width, height = fit.canvas
    with pipelines.running() as cost:
        edited = pipe(
            request.query,
            image,
            laid,
            height=height,
            width=width,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        if paste:
            edited = pipe.image_processor.apply_overlay(laid, image, edited)
    return outcome_of(
        edited,
        fit,
        cost,
        mask=mask.values,
        evaluations=cost.evaluations + own,
        seconds=None if seconds is None else cost.seconds + seconds,
    )


def _our_mask(session: Session, request: MethodRequest, settings: Settings) -> tuple[Mask, int, float | None]:
    """Return our mask, the evaluations it needs, and its seconds, or None where the session knew the contrast."""
    texts, before, begin = (request.query, request.reference), session.driver.rows, time.perf_counter()
    mask = session.mask(*texts, seed=request.seed, settings=settings)
    needed = 2 * settings.maps * len(settings.strength) if request.query != request.reference else 0
    seconds = time.perf_counter() - begin
    return mask, needed, seconds if session.driver.rows - before == needed else None
