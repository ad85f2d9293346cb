"""The page: which of its components does what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from wordbrush.web.gate.queue import DEVICE
from wordbrush.web.page.controls import CONTROLS, TEXTS
from wordbrush.web.page.device_handlers import DeviceHandlers
from wordbrush.web.page.layout import Parts, lay_out
from wordbrush.web.page.open_handlers import OpenHandlers
from wordbrush.web.page.region_handlers import RegionHandlers

if TYPE_CHECKING:
    from wordbrush.web.workbench import Workbench

__all__ = ["add_page"]

RECUT = ("threshold", "grow", "feather", "fill_holes", "drop_specks", "edges", "invert")
"""Controls that cut the region again at once."""

TYPED = ("query", "reference", "contrast_seed", "flags")
"""Controls that are typed into, and cut the region again when they are left."""

OF_MODEL = ("guidance", "encoding", "negative")
"""Controls that a model may have no use for."""

QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
LATEST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}
"""Asks once more where it was asked for again before its answer came.

Gradio does so by raising the event that was answered anew, with everything that is wired to it. So nothing that must
run once for each click, such as painting, may be wired to the same event of a component as one of these.
"""


def add_page(page: gr.Blocks, workbench: Workbench) -> None:
    """Add the components to a page that is being built, and what they do."""
    parts = lay_out(workbench)
    controls = [parts.controls[name] for name in CONTROLS]
    scene = [parts.stage, *controls]
    history = [parts.versions, parts.compare, parts.facts, parts.command]
    _wire_opening(page, parts, OpenHandlers(workbench, parts), scene, history)
    region = RegionHandlers(workbench, parts)
    _wire_region(parts, region, scene)
    work = _wire_device(parts, DeviceHandlers(workbench, parts, page), scene, history)
    work.append(_wire_words(parts, region))
    settle: dict[str, Any] = {"fn": region.settle, "inputs": scene, "outputs": [parts.stage]}
    gr.on([parts.controls[name].blur for name in TYPED], **settle, **LATEST)
    for slow in work:
        slow.then(**settle, **QUICK)


def _wire_opening(page: gr.Blocks, parts: Parts, do: OpenHandlers, scene: list[Any], history: list[Any]) -> None:
    everything = [*scene, parts.words, parts.about, parts.progress]
    page.load(do.load, [parts.stage], [*everything, *history], **QUICK)
    parts.stage.opened(do.opened, [parts.stage], everything, **QUICK)
    parts.stage.sample(do.sample, scene, everything, **QUICK)
    parts.versions.restore(do.restore, [parts.stage, parts.versions], [*everything, *history], **QUICK)
    parts.versions.reuse(do.reuse, scene, everything, **QUICK)
    parts.versions.remove(do.remove, [parts.versions], history, **QUICK)
    parts.versions.pick(do.pick, [parts.versions], history, **QUICK)


def _wire_region(parts: Parts, do: RegionHandlers, scene: list[Any]) -> None:
    seen = [parts.stage, parts.progress]
    # One dependency for all controls that cut again: answers cannot overtake one another, the last state counts.
    cut: dict[str, Any] = {"fn": do.cut, "inputs": scene, "outputs": seen}
    gr.on([parts.controls[name].input for name in RECUT], **cut, **LATEST)
    parts.stage.stroke(**cut, **LATEST)
    parts.stage.masked(**cut, **LATEST)
    parts.controls["rule"].input(do.rule, scene, [parts.controls["threshold"], *seen], **QUICK)
    of_model = [parts.controls[name] for name in OF_MODEL]
    parts.controls["model"].input(do.model, scene, [*of_model, parts.about, *seen], **QUICK)
    parts.controls["preset"].input(do.preset, scene, [*scene, parts.progress], **QUICK)


def _wire_device(parts: Parts, do: DeviceHandlers, scene: list[Any], history: list[Any]) -> list[Any]:
    """Wire the buttons, and return the events of those that run networks."""
    device: dict[str, Any] = {
        "concurrency_id": DEVICE, "concurrency_limit": 1, "show_progress": "full",
        "show_progress_on": parts.progress, "api_visibility": "private",
    }  # fmt: skip
    seen = [parts.stage, parts.progress]
    starts = (parts.find.click, parts.controls["query"].submit, parts.controls["reference"].submit)
    work = [start(do.find, scene, seen, **device) for start in starts]
    stage, *controls = scene
    work.append(parts.paint.click(do.paint, [stage, parts.versions, *controls], [*seen, *history], **device))
    parts.stop.click(do.stop, None, parts.progress, **QUICK)
    return work


def _wire_words(parts: Parts, do: RegionHandlers) -> Any:
    """Wire the unknown words, and return the event of choosing another one."""
    texts = [parts.controls[name] for name in TEXTS]
    question = [parts.words, parts.controls["model"], *texts]
    starts = [parts.find.click, parts.paint.click, *(text.submit for text in texts[:2])]
    named: dict[str, Any] = {"fn": do.words, "inputs": question, "outputs": [parts.words]}
    gr.on([text.blur for text in texts], **named, **LATEST)
    gr.on(starts, **named, **QUICK)  # where a text was changed and not left
    return parts.words.choose(do.choose_word, question, [*texts, parts.words], **QUICK)
