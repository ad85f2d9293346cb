"""Work that runs networks: finding the region, painting, and stopping either."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from wordbrush.errors import Cancelled, WordbrushError
from wordbrush.web.gate.queue import leave_queue
from wordbrush.web.page import views
from wordbrush.web.page.desk import Desk, Value, skips
from wordbrush.web.state.pictures import Strokes
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import TabStops, Visitor
from wordbrush.web.state.work import Done, run_job
from wordbrush.web.workbench import Bench

__all__ = ["Working"]


class Working(Desk):
    """Handlers that queue for the device.

    Args:
        bench: does the work.
        page: whose queue it is.
    """

    def __init__(self, bench: Bench, page: gr.Blocks) -> None:
        super().__init__(bench)
        self.page = page

    async def find(self, request: gr.Request, stage: Value, *controls: Any) -> AsyncIterator[list[Any]]:
        """Contrast the texts and show the region."""
        try:
            visitor = self.visitor_of(request)
            opened, order = self.picture_of(visitor, stage), self.order_of(controls)
            strokes = Strokes.of((stage or {}).get("strokes"))
            found = run_job(
                self.bench.models.device, lambda job: self.bench.find(opened, order, job), _stops(visitor, request)
            )
            async for state in found:
                if not isinstance(state, Done):
                    yield [gr.skip(), state]
            cut = self.bench.cut(opened, order, strokes)
            note = f"{cut.area:.1%} of the picture. Correct it with the threshold or the brush, then paint."
            if cut.area == 0:
                note = "The region is empty: lower the threshold, or draw it with the brush."
            seen = views.stage_view(stage, opened, cut)
            yield [seen, views.idle(note, "done", "Region found")]
        except Exception as error:
            yield [gr.skip(), _ended(error)]

    async def paint(self, request: gr.Request, stage: Value, listed: Value, *controls: Any) -> AsyncIterator[list[Any]]:
        """Repaint the region once a seed, and keep the versions."""
        left, made, told = (listed or {}).get("left"), list[Version](), 0
        try:
            visitor = self.visitor_of(request)
            opened, order = self.picture_of(visitor, stage), self.order_of(controls)
            strokes = Strokes.of((stage or {}).get("strokes"))
            work = run_job(
                self.bench.models.device,
                lambda job: self.bench.paint(visitor, opened, order, strokes, job, made.append),
                _stops(visitor, request),
            )
            async for state in work:
                if isinstance(state, Done):
                    break
                history = skips(4)
                if len(made) > told:
                    told, history = len(made), self.history_of(visitor, left, made[-1].id)
                yield [gr.skip(), state, *history]
            seen = self.stage_of(stage, opened, order, strokes)
            yield [seen, _finished(made), *self.history_of(visitor, left, made[-1].id)]
        except Exception as error:
            # What was painted before it stays, and is shown.
            history = self.history_of(visitor, left, made[-1].id) if len(made) > told else skips(4)
            yield [gr.skip(), _ended(error), *history]

    async def stop(self, request: gr.Request) -> Any:
        """Stop this tab's jobs: those that wait leave the queue, one that runs ends at its next step and says so."""
        try:
            tab = request.session_hash or ""
            self.visitor_of(request).stop(tab)
            left = await leave_queue(self.page, tab)
            return views.idle("It had not begun yet.", "stopped", "Stopped") if left else gr.skip()
        except WordbrushError as error:
            return views.problem(str(error))


def _stops(visitor: Visitor, request: gr.Request) -> TabStops:
    return TabStops(visitor, request.session_hash or "")


def _ended(error: Exception) -> Value:
    """Tell how work ended otherwise than well; what is not an error of ours goes to the log."""
    if isinstance(error, Cancelled):
        return views.idle("What was painted before stays.", "stopped", "Stopped")
    if isinstance(error, WordbrushError):
        return views.problem(str(error))
    logging.getLogger(__name__).error("work of the page failed", exc_info=error)
    return views.problem("Something went wrong on the server; its log says what.")


def _finished(made: list[Version]) -> Value:
    last = made[-1]
    warnings = " ".join(f"{warning}." for warning in last.report.warnings)
    return views.idle(f"{views.reused_line(last)} {warnings}".strip(), "done", f"Painted {last.name}")
