"""Handlers that run networks: finding the region, painting, and stopping either."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import gradio as gr

from wordbrush.errors import Cancelled, WordbrushError
from wordbrush.web.gate.queue import leave_queue
from wordbrush.web.page import views
from wordbrush.web.page.handlers import UNCHANGED, Handlers, Update, Value, sides_of
from wordbrush.web.page.layout import Parts
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
            visitor, opened, request, strokes = self.scene_of(http, stage, controls)
            async for state in self._run(http, visitor, lambda work: self.workbench.find(opened, request, work)):
                if not isinstance(state, Done):
                    yield {self.parts.progress: state}
            cut = self.workbench.cut(opened, request, strokes)
            note = f"{cut.area:.1%} of the picture. Correct it with the threshold or the brush, then paint."
            if cut.area == 0:
                note = "The region is empty: lower the threshold, or draw it with the brush."
            seen, box = views.stage_view(stage, opened, cut), views.idle(note, "done", "Region found")
            yield {self.parts.stage: seen, self.parts.progress: box}
        except Exception as error:
            yield {self.parts.progress: _failure(error)}

    async def paint(self, http: gr.Request, stage: Value, listed: Value, *controls: Any) -> AsyncIterator[Update]:
        """Repaint the region once a seed, and keep the versions."""
        left, painted, shown = sides_of(listed)["left"], list[Version](), 0
        try:
            visitor, opened, request, strokes = self.scene_of(http, stage, controls)

            def run(work: Work) -> object:
                return self.workbench.paint(visitor, opened, request, strokes, work, painted.append)

            async for state in self._run(http, visitor, run):
                if isinstance(state, Done):
                    break
                update: Update = {self.parts.progress: state}
                if len(painted) > shown:
                    shown = len(painted)
                    update |= self.versions_shown(visitor, left, painted[-1].id)
                yield update
            yield {
                **self.region_shown(stage, opened, request, strokes),
                **self.versions_shown(visitor, left, painted[-1].id),
                self.parts.progress: _painted(painted[-1]),
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
    logging.getLogger(__name__).error("work of the page failed", exc_info=error)
    return views.problem("Something went wrong on the server; its log says what.")


def _painted(version: Version) -> Value:
    warnings = " ".join(f"{warning}." for warning in version.report.warnings)
    return views.idle(f"{views.reused_line(version)} {warnings}".strip(), "done", f"Painted {version.name}")
