"""Handlers that run networks: finding the region, painting, and stopping either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool

from wordbrush.errors import Cancelled, WordbrushError
from wordbrush.web.gate.log import SORRY, fault
from wordbrush.web.gate.queue import leave_queue
from wordbrush.web.page import views
from wordbrush.web.page.handlers import UNCHANGED, Handlers, Update, Value, sides_of
from wordbrush.web.page.layout import Parts
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.request import PageRequest
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import Visitor
from wordbrush.web.state.work import Done, Work, run_work
from wordbrush.web.workbench import Workbench

__all__ = ["DeviceHandlers"]


class DeviceHandlers(Handlers):
    """Handlers that queue for the device.

    Args:
        workbench: does the work.
        parts: the components.
        page: whose queue it is.
    """

    def __init__(self, workbench: Workbench, parts: Parts, page: gr.Blocks) -> None:
        super().__init__(workbench, parts)
        self.page = page

    async def find(self, http: gr.Request, stage: Value, *controls: Any) -> AsyncIterator[Update]:
        """Contrast the texts and show the region."""
        try:
            visitor, opened, request, strokes = await run_in_threadpool(self.scene_of, http, stage, controls)
            async for state in self._run(http, visitor, lambda work: self.workbench.find(opened, request, work)):
                if not isinstance(state, Done):
                    yield {self.parts.progress: state}
            yield await run_in_threadpool(self._found, stage, opened, request, strokes)
        except Exception as error:
            yield {self.parts.progress: _failure(error)}

    def _found(self, stage: Value, opened: Opened, request: PageRequest, strokes: Strokes) -> Update:
        cut = self.workbench.cut(opened, request, strokes)
        note = f"{cut.area:.1%} of the picture. Correct it with the threshold or the brush, then paint."
        if cut.area == 0:
            note = "The region is empty: lower the threshold, or draw it with the brush."
        seen, box = views.stage_view(stage, opened, cut), views.idle(note, "done", "Region found")
        return {self.parts.stage: seen, self.parts.progress: box}

    async def paint(self, http: gr.Request, stage: Value, listed: Value, *controls: Any) -> AsyncIterator[Update]:
        """Repaint the region once a seed, and keep the versions."""
        painted, shown = list[Version](), 0
        try:
            left = sides_of(listed)["left"]
            visitor, opened, request, strokes = await run_in_threadpool(self.scene_of, http, stage, controls)

            def run(work: Work) -> object:
                return self.workbench.paint(visitor, opened, request, strokes, work, painted.append)

            async for state in self._run(http, visitor, run):
                if isinstance(state, Done):
                    break
                update: Update = {self.parts.progress: state}
                if len(painted) > shown:
                    shown = len(painted)
                    update |= await run_in_threadpool(self.versions_shown, visitor, left, painted[-1].id)
                yield update
            yield {
                **await run_in_threadpool(self.region_shown, stage, opened, request, strokes),
                **await run_in_threadpool(self.versions_shown, visitor, left, painted[-1].id),
                self.parts.progress: _painted(painted[-1], self.model_of(request.model).notes),
            }
        except Exception as error:
            # What was painted before it stays, and is shown.
            rest = self.versions_shown(visitor, left, painted[-1].id) if len(painted) > shown else {}
            yield {self.parts.progress: _failure(error), **rest}

    def _run(
        self, http: gr.Request, visitor: Visitor, function: Callable[[Work], object]
    ) -> AsyncGenerator[Value | Done[object], None]:
        """Run a function in the device's thread, as work of the tab that sent the request."""
        stop = visitor.begin(http.session_hash or "")
        return run_work(self.workbench.models.device, function, stop, on_end=lambda: visitor.end(stop))

    async def stop(self, http: gr.Request) -> Update:
        """Stop this tab's work: what waits leaves the queue, what runs ends at its next step and says so."""
        try:
            tab = http.session_hash or ""
            self.visitor_of(http).stop(tab)
            left = await leave_queue(self.page, tab)
        except WordbrushError as error:
            return {self.parts.progress: views.problem(str(error))}
        return {self.parts.progress: views.idle("It had not begun yet.", "stopped", "Stopped")} if left else UNCHANGED


def _failure(error: Exception) -> Value:
    """Return the progress box for work that did not reach its end; a fault of the program goes to the log."""
    if isinstance(error, Cancelled):
        return views.idle("What was painted before stays.", "stopped", "Stopped")
    if isinstance(error, WordbrushError):
        return views.problem(str(error))
    fault("work of the page", error)
    return views.problem(f"{SORRY}.")


def _painted(version: Version, told: Collection[str]) -> Value:
    """Return the progress box for a version, without the notes of the model, which the page shows already."""
    warnings = " ".join(f"{warning}." for warning in version.report.warnings if warning not in told)
    return views.idle(f"{views.reused_line(version)} {warnings}".strip(), "done", f"Painted {version.name}")
