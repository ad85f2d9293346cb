"""Opening pictures: on loading the page, by upload, or from the samples."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.record.provenance import Provenance
from wordbrush.web.page import views
from wordbrush.web.page.controls import CONTROLS
from wordbrush.web.page.desk import Desk, Value, skips
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.requests import Order

__all__ = ["Opening"]


class Opening(Desk):
    """Handlers that open a picture."""

    def load(self, request: gr.Request, stage: Value) -> list[Any]:
        """Show a visitor who comes back what was there: the last picture, its controls, the history."""
        try:
            visitor = self.visitor_of(request)
            newest = next(reversed(visitor.versions), None)
            history = self.history_of(visitor, None, newest)
            opened = next(reversed(visitor.pictures.values()), None)
            if opened is None:
                return [*skips(len(CONTROLS) + 2), views.idle(), *history]
            order = opened.last
            if order is None:
                return [views.stage_view(stage, opened, None), *skips(len(CONTROLS) + 1), views.idle(), *history]
            seen = self.stage_of(stage, opened, order, opened.strokes, fresh=True)
            return [seen, *self.laid(order), self.unknown(order), views.idle(), *history]
        except WordbrushError as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error)), *skips(4)]

    def opened(self, request: gr.Request, stage: Value, *controls: Any) -> list[Any]:
        """Take an uploaded picture; one that this program made brings its settings along, and so does its input."""
        try:
            visitor = self.visitor_of(request)
            opened = self.picture_of(visitor, stage)
            record = opened.record()
            if record is not None and record.replayable:
                origin = self.bench.origin(visitor, record)
                return self._restored(stage, origin or opened, record, at_origin=origin is not None)
            record = self.bench.awaited(visitor, opened)
            return self._plain(stage, opened) if record is None else self._restored(stage, opened, record)
        except WordbrushError as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error))]

    def _restored(self, stage: Value, opened: Opened, record: Provenance, *, at_origin: bool = True) -> list[Any]:
        """Show a picture with the settings and strokes of a record; `at_origin`: it is the one the record tells of."""
        models = self.bench.models
        order = Order.of_record(record, models.names, lambda name: models.editor(name).model.resolution)
        strokes, opened.given = Strokes.of_record(record)
        name = record.input["name"] or "another picture"
        note = f"The settings in this file are restored. It was made from {name}: "
        note += "that one is open now." if at_origin else "open that one to do the same again; now you edit the result."
        seen = self.stage_of(stage, opened, order, strokes, fresh=True)
        return [seen, *self.laid(order), self.unknown(order), views.idle(note, "done", "Settings restored")]

    def _plain(self, stage: Value, opened: Opened) -> list[Any]:
        note = " ".join(opened.picture.notes)
        seen = views.stage_view(stage, opened, None, Strokes())
        return [seen, *skips(len(CONTROLS) + 1), views.idle(note, "done" if note else "idle", note and "Note")]

    def sample(self, request: gr.Request, event: gr.EventData, stage: Value, *controls: Any) -> list[Any]:
        """Open a sample with its texts."""
        try:
            visitor = self.visitor_of(request)
            opened, sample = self.bench.open_sample(visitor, int(event.index))
            values = dict(zip(CONTROLS, controls, strict=True))
            values |= {"query": sample.query, "reference": sample.reference, "negative": ""}
            order = self.order_of(tuple(values[name] for name in CONTROLS))
            seen = views.stage_view(stage, opened, None, Strokes())
            return [seen, *self.laid(order), self.unknown(order), views.idle()]
        except (WordbrushError, ValueError) as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error))]
