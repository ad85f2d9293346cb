"""The history: versions restored, used again, dropped, compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.web.page import views
from wordbrush.web.page.controls import CONTROLS
from wordbrush.web.page.desk import Desk, Value, skips
from wordbrush.web.state.pictures import Strokes

__all__ = ["History"]


class History(Desk):
    """Handlers of the cards."""

    def restore(self, request: gr.Request, event: gr.EventData, stage: Value, listed: Value) -> list[Any]:
        """Bring back a version: its picture, texts, settings, strokes."""
        try:
            visitor = self.visitor_of(request)
            version = self.version_of(visitor, event)
            opened, order = self.bench.reopen(visitor, version), version.order
            opened.given = version.given
            if version.given is not None:  # it is kept as it was used, turned already
                order = replace(order, switches={k: v for k, v in order.switches.items() if k != "invert"})
            order = replace(order, seeds=(version.seed,))
            seen = self.stage_of(stage, opened, order, version.strokes, fresh=True)
            done = views.idle(f"{version.number}. {order.query}", "done", "Version restored")
            history = self.history_of(visitor, (listed or {}).get("left"), version.id)
            return [seen, *self.laid(order), self.unknown(order), done, *history]
        except WordbrushError as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error)), *skips(4)]

    def reuse(self, request: gr.Request, event: gr.EventData, stage: Value, listed: Value, *controls: Any) -> list[Any]:
        """Make a version the new input: what it was to show is now what it shows."""
        try:
            visitor = self.visitor_of(request)
            version = self.version_of(visitor, event)
            opened = self.bench.open(visitor, version.png, version.name)
            values = dict(zip(CONTROLS, controls, strict=True))
            values |= {"reference": version.order.query, "query": ""}
            order = self.order_of(tuple(values[name] for name in CONTROLS))
            seen = views.stage_view(stage, opened, None, Strokes())
            done = views.idle(f"Now write what {version.name} should show next.", "done", "New input")
            return [seen, *self.laid(order), self.unknown(order), done]
        except WordbrushError as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error))]

    def remove(self, request: gr.Request, event: gr.EventData, listed: Value) -> list[Any]:
        """Drop a version."""
        try:
            visitor = self.visitor_of(request)
            gone = self.version_of(visitor, event)
            with visitor.lock:
                visitor.versions.pop(gone.id, None)
            shown_ids = {side: (listed or {}).get(side) for side in ("left", "right")}
            right = shown_ids["right"] if shown_ids["right"] != gone.id else next(reversed(visitor.versions), None)
            return self.history_of(visitor, shown_ids["left"], right)
        except WordbrushError:
            return skips(4)  # it is gone already

    def pick(self, request: gr.Request, event: gr.EventData, listed: Value) -> list[Any]:
        """Choose one side of the comparison."""
        try:
            visitor = self.visitor_of(request)
            sides = {side: (listed or {}).get(side) for side in ("left", "right")}
            if event.side in sides:
                sides[event.side] = None if event.id is None else self.version_of(visitor, event).id
            return self.history_of(visitor, sides["left"], sides["right"])
        except WordbrushError:
            return skips(4)
