"""The paper's baselines and ablations, through the same core as the editor: each is a few lines.

What is shared by all: the settings' grid, cut at their ratio, their guidance, solver and thresholds; the same z0; the
same way back to the picture's size. A method whose mask is empty, or whose ratio cuts every step, returns the input.

The noise that a method starts from, or holds the outside to, is one seeded draw, the same for `sdedit` and
`mask_without_encode`, so that the two differ by the mask alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Final

import numpy as np
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.schedule import depth_of
from wordbrush.errors import InputError
from wordbrush.evaluation.items import Float, Method, MethodRequest, Outcome
from wordbrush.evaluation.walks import (
    blended_x0,
    decoded,
    low_referred,
    noised,
    pixels,
    start_noise,
    weights,
    with_low,
)
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region, found_mask, region_of

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


def _method(name: str) -> Callable[[Method], Method]:
    """Register a method under a name; the wrapper measures its wall time.

    `Outcome.seconds` is None where fewer evaluations ran than the method needs alone: the session then held work of an
    earlier one, and a time would say nothing.
    """

    def register(method: Method) -> Method:
        @wraps(method)
        def timed(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
            counted = session.driver
            before, begin = counted.rows, time.perf_counter()
            outcome = method(editor, session, request, settings)
            seconds, ran = time.perf_counter() - begin, counted.rows - before
            return replace(outcome, seconds=seconds if ran == outcome.evaluations else None)

        METHODS[name] = timed
        return timed

    return register


def _cost(editor: Editor, session: Session, settings: Settings, *stages: str) -> int:
    """Return the evaluations of some stages (`contrast`, `invert`, `decode`) of an edit of this picture, run alone."""
    plan = editor.plan(session.picture.size, settings=settings).evaluations
    return sum(plan[stage] for stage in stages)


def _found(session: Session, request: MethodRequest, settings: Settings) -> tuple[Region, Float]:
    """Return the automatic region and the raw contrast, as the editor finds them."""
    contrast = session.contrast(request.query, request.reference, seed=request.seed, settings=settings)
    return region_of(session.frame, found_mask(session.frame, contrast, settings), settings), contrast.raw


def _masked(
    editor: Editor,
    session: Session,
    request: MethodRequest,
    settings: Settings,
    stages: Sequence[str],
    run: Callable[[Region], Tensor],
) -> Outcome:
    """Find the region, let `run(region)` repaint the latent, and compose; the outside keeps the input's bytes."""
    region, raw = _found(session, request, settings)
    contrast = _cost(editor, session, settings, "contrast") if raw.any() else 0
    mask = region.pixels.values
    if region.pixels.is_empty or not _depth(settings):
        return Outcome(session.picture.pixels, contrast, mask=mask, contrast=raw)
    image = session.picture.compose(pixels(session, run(region)), mask).convert("RGB")
    return Outcome(np.asarray(image), contrast + _cost(editor, session, settings, *stages), mask=mask, contrast=raw)


def _depth(settings: Settings) -> int:
    return depth_of(settings.ratio, settings.steps)


@_method("copy")
def _copy(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Return the input: the floor of every measure of success, the ceiling of every measure of likeness."""
    return Outcome(request.picture, 0)


@_method("retrieve")
def _retrieve(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Return another picture that shows what the query says: the ceiling of success, the floor of likeness."""
    if request.retrieved is None:
        raise InputError("retrieve: the request carries no retrieved picture; give one, or leave the method out")
    return Outcome(request.retrieved, 0)


@_method("mask")
def _mask(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Only find the region and return the input: scores masks at the cost of the contrast alone."""
    region, raw = _found(session, request, settings)
    cost = _cost(editor, session, settings, "contrast") if raw.any() else 0
    return Outcome(request.picture, cost, mask=region.pixels.values, contrast=raw)


@_method("sdedit")
def _sdedit(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Noise z0 to the level of the ratio and decode it under the query (Meng et al. 2022): no encoding, no mask."""
    x = noised(session.latent(), start_noise(session, request), session.levels(settings)[-1])
    image = pixels(session, decoded(session, x, request, settings))
    return Outcome(image, _cost(editor, session, settings, "decode"))


@_method("encode_decode")
def _encode_decode(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Invert to the level of the ratio and decode under the query: encoding without a mask."""
    x = session.trajectory(request.reference, settings=settings)[-1]
    image = pixels(session, decoded(session, x, request, settings))
    return Outcome(image, _cost(editor, session, settings, "invert", "decode"))


@_method("mask_without_encode")
def _mask_without_encode(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Repaint the automatic mask from noised z0, the outside held to z0 noised alike: a mask without encoding."""

    def run(region: Region) -> Tensor:
        z0, fresh = session.latent(), start_noise(session, request)
        path = [noised(z0, fresh, level) for level in session.levels(settings)]
        return decoded(session, path[-1], request, settings, trajectory=path, cells=region.cells)

    return _masked(editor, session, request, settings, ["decode"], run)


@_method("blend_x0")
def _blend_x0(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """DiffEdit, but the outside is kept by blending the estimate of x0 with z0, as in GLIDE, not by holding x_t."""

    def run(region: Region) -> Tensor:
        z0, x = session.latent(), session.trajectory(request.reference, settings=settings)[-1]
        mask = weights(region.cells, z0)
        return decoded(session, x, request, settings, wrap=lambda inner: blended_x0(inner, z0, mask))

    return _masked(editor, session, request, settings, ["invert", "decode"], run)


def ilvr(
    editor: Editor, session: Session, request: MethodRequest, settings: Settings, factor: int = ILVR_FACTOR
) -> Outcome:
    """Generate from pure noise with the low frequencies of the input (Choi et al. 2021, algorithm 1, on latents).

    At every level the low frequencies of x are replaced by those of z0 noised to that level with a fresh draw. The
    ratio says where this stops: it is done down to the level of the ratio, and the decode is free below (the range of
    conditioning steps of the paper). So the ratio means what it means in `sdedit`, which is this with factor 1; and the
    lower it is, the nearer the result stays to the input. The other knob of the paper is the factor.
    The walk covers the full grid whatever the ratio. Its steps are those of the settings, deterministic unless eta is
    set, where the paper draws fresh noise in every step.

    Args:
        editor: the model.
        session: open on the request's picture.
        request: what to edit.
        settings: steps, ratio, guidance, solver and eta.
        factor: of the low-pass, in latent cells.
    """
    z0, full = session.latent(), settings.changed(ratio=1.0)
    levels, stop = session.levels(full), _depth(settings)
    draws = [noise.normal(request.seed, "ilvr", index, z0.shape[1:])[None].to(z0) for index in range(len(levels) + 1)]
    references = {float(levels[i].time): noised(z0, draws[i], levels[i]) for i in range(stop, len(levels))}
    x = decoded(session, draws[-1], request, full, wrap=lambda inner: low_referred(inner, references, factor))
    if stop == 0:
        x = with_low(x, z0, factor)
    return Outcome(pixels(session, x), _cost(editor, session, full, "decode"))


_method("ilvr")(ilvr)
for _factor in (2, 8):
    _method(f"ilvr_{_factor}")(partial(ilvr, factor=_factor))


def _edited(editor: Editor, session: Session, request: MethodRequest, settings: Settings, mask: Mask | None) -> Outcome:
    """Edit with the editor itself, under a given mask or the one it finds."""
    result = session.edit(request.query, request.reference, seed=request.seed, settings=settings, mask=mask)
    raw = None if result.contrast_map is None else result.contrast_map.raw
    stages = [] if raw is None or not raw.any() else ["contrast"]
    if not result.mask.is_empty and _depth(settings):
        stages += ["invert", "decode"]
    image = np.asarray(result.image.convert("RGB"))
    cost = _cost(editor, session, settings, *stages)
    return Outcome(image, cost, mask=result.mask.values, contrast=raw)


@_method("oracle_mask")
def _oracle_mask(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Full DiffEdit with the true region for its mask: what a perfect mask would give."""
    if request.region is None:
        raise InputError("oracle_mask: the request carries no true region; give one, or leave the method out")
    return _edited(editor, session, request, settings, Mask.from_array(request.region))


@_method("diffedit")
def _diffedit(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Full DiffEdit: exactly what `Editor.edit` gives."""
    return _edited(editor, session, request, settings, None)
