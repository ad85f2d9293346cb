"""The sides of whole edits, of a second edit in a session and of masks: wordbrush and the pipelines of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.speed.measure import Side
from wordbrush import Editor
from wordbrush.evaluation.items import MethodRequest
from wordbrush.evaluation.peers.diffedit import DiffEditNumbers, diffedit, diffedit_with
from wordbrush.evaluation.peers.leditspp import leditspp
from wordbrush.evaluation.peers.pipelines import pipelines_of
from wordbrush.evaluation.peers.repaint import RepaintNumbers, img2img_with, inpaint
from wordbrush.settings import Settings

__all__ = ["OTHER", "QUERY", "REFERENCE", "YARDSTICK", "edit_sides", "sample"]

QUERY, REFERENCE, OTHER = "a zebra on grass", "a horse on grass", "a dog on grass"
YARDSTICK = "diffusers DiffEdit, defaults"
"""What every ratio is to: a whole edit by it."""
_QUICK = {YARDSTICK, "wordbrush, balanced", "wordbrush, fast", "wordbrush, second edit, other text", "wordbrush, mask"}


def sample(side: int) -> Image.Image:
    """Return smooth random colours, `side` x `side` pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def edit_sides(editor: Editor, picture: Image.Image, *, quick: bool = False) -> list[Side]:
    """Return the sides, the yardstick first.

    Args:
        editor: of a model of the Stable Diffusion build; the pipelines run on its networks.
        picture: what is edited.
        quick: the yardstick and our own but for the preset `paper`.
    """
    sides = [*_peers(editor, picture), *_ours(editor, picture)]
    return [side for side in sides if not quick or side.name in _QUICK]


def _peers(editor: Editor, picture: Image.Image) -> list[Side]:
    """Return the pipelines of diffusers, each on a session of its own, so that nothing is known beforehand."""
    request, settings = MethodRequest(np.asarray(picture), QUERY, REFERENCE), Settings()
    ours = DiffEditNumbers(cut=3.0, guidance=editor.guidance(settings), ratio=settings.ratio, steps=settings.steps)

    def on_fresh(method: Callable[..., Any], *arguments: Any) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            session = Editor(editor.model).open(picture)
            return lambda: method(editor, session, request, *arguments)

        return prepare

    return [
        Side(YARDSTICK, on_fresh(diffedit, settings)),
        Side("diffusers DiffEdit, our steps", on_fresh(diffedit_with, ours)),
        Side("diffusers LEDITS++, defaults", on_fresh(leditspp, settings)),
        Side("diffusers img2img, defaults", on_fresh(img2img_with, RepaintNumbers(0.8, 7.5, 50))),
        Side("diffusers inpainting, our mask", on_fresh(inpaint, settings)),
        Side("diffusers DiffEdit, mask", _peers_mask(editor, picture)),
    ]


def _peers_mask(editor: Editor, picture: Image.Image) -> Callable[[], Callable[[], Any]]:
    def mask() -> None:
        pipelines = pipelines_of(editor)
        with pipelines.running():
            generator = torch.Generator().manual_seed(0)
            pipelines.diffedit.generate_mask(picture, QUERY, source_prompt=REFERENCE, generator=generator)

    return lambda: mask


def _ours(editor: Editor, picture: Image.Image) -> list[Side]:
    """Return our own; the work of an edit tells its seconds by stage."""

    def whole(preset: str) -> Callable[[], Callable[[], dict[str, float]]]:
        def prepare() -> Callable[[], dict[str, float]]:
            fresh = Editor(editor.model)  # knows no text
            return lambda: fresh.edit(picture, QUERY, REFERENCE, preset=preset).report.timings

        return prepare

    def second(text: str, **switches: Any) -> Callable[[], Callable[[], dict[str, float]]]:
        def prepare() -> Callable[[], dict[str, float]]:
            session = Editor(editor.model).open(picture)
            session.edit(QUERY, REFERENCE)
            return lambda: session.edit(text, REFERENCE, **switches).report.timings

        return prepare

    def mask() -> Callable[[], Any]:
        session = Editor(editor.model).open(picture)
        return lambda: session.mask(QUERY, REFERENCE)

    return [
        *(Side(f"wordbrush, {preset}", whole(preset)) for preset in ("paper", "balanced", "fast")),
        Side("wordbrush, second edit, other text", second(OTHER)),
        Side("wordbrush, second edit, other threshold", second(QUERY, threshold=0.4)),
        Side("wordbrush, mask", mask),
    ]
