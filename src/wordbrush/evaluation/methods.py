"""The paper's baselines and ablations, each a few lines on the same core as the editor.

What is shared by all: the settings' grid, cut at their ratio, their guidance, solver and thresholds; the same z0; the
same way back to the picture's size. A method whose mask is empty, or whose ratio cuts every step, returns the input.

The noise that `sdedit` starts from is the draw that `mask_without_encode` starts from and holds the outside to, so that
the two differ by the mask alone. All that have a mask free the same cells and compose with the same seam.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from torch import Tensor

from wordbrush.diffusion.ask import Program
from wordbrush.errors import InputError
from wordbrush.evaluation.items import Float, Method, MethodRequest, Outcome
from wordbrush.evaluation.walks import Trial, blended_x0, low_referred, noised, with_low
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region, cut_region, region_of

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["ILVR_FACTOR", "METHODS", "ilvr"]

ILVR_FACTOR: Final = 4
"""Down-sampling factor of `ilvr` in latent cells; `ilvr_2` and `ilvr_8` have the factors of their names. 4 cells of 8
pixels are 32 pixels, in the middle of what Choi et al. show: layout and colours are shared, the object may change."""

METHODS: Final[dict[str, Method]] = {}
"""Every method by its name."""


def _method(name: str) -> Callable[[Callable[[Trial], Outcome]], Callable[[Trial], Outcome]]:
    """Register a function of a trial as the method of this name; its wall time is measured.

    `Outcome.seconds` is None where fewer evaluations ran than the method needs alone: the session then held work of an
    earlier one, and a time would say nothing.
    """

    def register(outcome_of: Callable[[Trial], Outcome]) -> Callable[[Trial], Outcome]:
        def method(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
            before, begin = session.driver.rows, time.perf_counter()
            outcome = outcome_of(Trial(editor, session, request, settings))
            seconds, ran = time.perf_counter() - begin, session.driver.rows - before
            return replace(outcome, seconds=seconds if ran == outcome.evaluations else None)

        METHODS[name] = method
        return outcome_of

    return register


def _find_region(trial: Trial) -> tuple[Region, Region, Float, int]:
    """Return the editor's region, as it is repainted and as it was found, the raw contrast, and its evaluations."""
    session, request, settings = trial.session, trial.request, trial.settings
    contrast = session.contrast(request.query, request.reference, seed=request.seed, settings=settings)
    found = cut_region(session.frame, contrast, settings)
    cost = trial.cost("contrast") if contrast.raw.any() else 0
    return region_of(session.frame, found, settings), found, contrast.raw, cost


def _painted(trial: Trial, program: Program[Tensor], *stages: str) -> Outcome:
    """Run a program for the whole picture's clean latent; `stages` are those that it needs when run alone."""
    return Outcome(trial.image(trial.session.run(program)), trial.cost(*stages))


@_method("copy")
def _copy(trial: Trial) -> Outcome:
    """Return the input itself: the lowest success, and the highest likeness to the input."""
    return Outcome(trial.request.picture, 0)


@_method("retrieve")
def _retrieve(trial: Trial) -> Outcome:
    """Return another picture that shows the query: the highest success, and little likeness to the input."""
    if trial.request.retrieved is None:
        raise InputError("retrieve: the request carries no retrieved picture; give one, or leave the method out")
    return Outcome(trial.request.retrieved, 0)


@_method("mask")
def _mask(trial: Trial) -> Outcome:
    """Find the region and return the input unchanged: masks are scored at the cost of the contrast alone."""
    region, _, raw, cost = _find_region(trial)
    return Outcome(trial.request.picture, cost, mask=region.pixels.values, contrast=raw)


@_method("sdedit")
def _sdedit(trial: Trial) -> Outcome:
    """Noise z0 to the level of the ratio and decode it under the query (Meng et al. 2022): no encoding, no mask."""
    x = noised(trial.z0, trial.draw("encoding"), trial.levels[-1])
    return _painted(trial, trial.decode(x), "decode")


@_method("encode_decode")
def _encode_decode(trial: Trial) -> Outcome:
    """Invert to the level of the ratio and decode under the query: encoding without a mask."""
    return _painted(trial, trial.decode(trial.path[-1]), "invert", "decode")


@_method("mask_without_encode")
def _mask_without_encode(trial: Trial) -> Outcome:
    """Run DiffEdit with a noised background, one draw at every level, in place of the inverted one."""
    return _edited(trial.changed(encoding="noise"), None)


@_method("blend_x0")
def _blend_x0(trial: Trial) -> Outcome:
    """Run DiffEdit, but keep the outside by blending the estimate of x0 with z0, as in GLIDE, not by holding x_t."""
    region, found, raw, cost = _find_region(trial)
    session = trial.session
    if region.pixels.is_empty or not trial.depth:
        return Outcome(session.picture.pixels, cost, mask=region.pixels.values, contrast=raw)
    walk = trial.decode(trial.path[-1], region=region, wrap=lambda estimate: blended_x0(estimate, trial.z0))
    region, canvas = session.joined(region, found, trial.canvas(session.run(walk)), trial.settings, {})
    mask = region.pixels.values
    image = np.asarray(session.picture.compose(session.fit.inverse(canvas), mask).convert("RGB"))
    return Outcome(image, cost + trial.cost("invert", "decode"), mask=mask, contrast=raw)


def ilvr(trial: Trial, factor: int = ILVR_FACTOR) -> Outcome:
    """Generate from pure noise with the low frequencies of the input (Choi et al. 2021, algorithm 1, on latents).

    At every level the low frequencies of x are replaced by those of z0 noised to that level with a fresh draw. The
    ratio says where this stops: it is done down to the level of the ratio, and the decode is free below (the range of
    conditioning steps of the paper). So the ratio means what it means in `sdedit`, which is this with factor 1; and the
    lower it is, the nearer the result stays to the input. The other knob of the paper is the factor.
    The walk covers the full grid whatever the ratio. Its steps are those of the settings, deterministic unless eta is
    set, where the paper draws fresh noise in every step.

    Args:
        trial: steps, ratio, guidance, solver and eta are those of its settings.
        factor: of the low-pass, in latent cells.
    """
    z0, whole, stop = trial.z0, trial.changed(ratio=1.0), trial.depth
    levels = whole.levels
    draws = [trial.draw("ilvr", index) for index in range(len(levels) + 1)]
    references = {float(levels[i].time): noised(z0, draws[i], levels[i]) for i in range(stop, len(levels))}

    def walk() -> Program[Tensor]:
        x = yield from whole.decode(draws[-1], wrap=lambda estimate: low_referred(estimate, references, factor))
        return with_low(x, z0, factor) if stop == 0 else x

    return _painted(whole, walk(), "decode")


_method("ilvr")(ilvr)
for _factor in (2, 8):
    _method(f"ilvr_{_factor}")(partial(ilvr, factor=_factor))


def _edited(trial: Trial, mask: Mask | None) -> Outcome:
    """Edit with the editor itself, under `mask` or its automatic one."""
    request, settings = trial.request, trial.settings
    result = trial.session.edit(request.query, request.reference, seed=request.seed, settings=settings, mask=mask)
    raw = None if result.contrast is None else result.contrast.raw
    stages = [] if raw is None or not raw.any() else ["contrast"]
    if not result.mask.is_empty and trial.depth:
        stages += ["invert", "decode", *(["decode"] if result.report.retried else [])]
    image = np.asarray(result.image.convert("RGB"))
    return Outcome(image, trial.cost(*stages), mask=result.mask.values, contrast=raw)


@_method("oracle_mask")
def _oracle_mask(trial: Trial) -> Outcome:
    """Run full DiffEdit with the true region as its mask: the result of a perfect mask."""
    if trial.request.region is None:
        raise InputError("oracle_mask: the request carries no true region; give one, or leave the method out")
    return _edited(trial, Mask.from_array(trial.request.region))


@_method("diffedit")
def _diffedit(trial: Trial) -> Outcome:
    """Run full DiffEdit: exactly the result of `Editor.edit`."""
    return _edited(trial, None)
