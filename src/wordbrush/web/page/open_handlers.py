"""Handlers that bring a picture or a version onto the page, from uploads, samples and the history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from wordbrush.errors import InputError, WordbrushError
from wordbrush.record.provenance import Provenance
from wordbrush.web.page import views
from wordbrush.web.page.handlers import UNCHANGED, Handlers, Update, Value, errors_shown, sides_of, values_of
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.request import PageRequest

__all__ = ["OpenHandlers"]


class OpenHandlers(Handlers):
    """Handlers of uploads, samples and the cards of the history."""

    @errors_shown
    def load(self, http: gr.Request, stage: Value) -> Update:
        """Show a visitor who comes back what was there: the last picture, its controls, the history."""
        visitor = self.visitor_of(http)
        shown = {
            self.parts.progress: views.idle(),
            **self.versions_shown(visitor, None, next(reversed(visitor.versions), None)),
        }
        opened = next(reversed(visitor.pictures.values()), None)
        if opened is None:
            return shown
        if opened.last is None:
            return {self.parts.stage: views.stage_view(stage, opened, None), **shown}
        return {**self._scene_shown(stage, opened, opened.last, opened.strokes), **shown}

    @errors_shown
    def opened(self, http: gr.Request, stage: Value) -> Update:
        """Take an uploaded picture; one that this program made brings its settings along, and so does its input."""
        visitor = self.visitor_of(http)
        opened = self.picture_of(visitor, stage)
        record = opened.record()
        if record is not None and record.replayable:
            origin = self.workbench.origin(visitor, record)
            return self._record_shown(stage, origin or opened, record, at_origin=origin is not None)
        record = self.workbench.awaited(visitor, opened)
        if record is not None:
            return self._record_shown(stage, opened, record)
        note = " ".join(opened.picture.notes)
        box = views.idle(note, "done", "Note") if note else views.idle()
        return {self.parts.stage: views.stage_view(stage, opened, None, Strokes()), self.parts.progress: box}

    def _record_shown(self, stage: Value, opened: Opened, record: Provenance, *, at_origin: bool = True) -> Update:
        """Show a picture with the settings and strokes of a record; `at_origin`: it is the one the record tells of."""
        models = self.workbench.models
        request = PageRequest.of_record(record, models.names, lambda name: models.editor(name).model.resolution)
        request = request.suiting(models.editor(request.model).model.policy)  # it may be another than the record's
        strokes, opened.own_mask = Strokes.of_record(record)
        name = record.input["name"] or "another picture"
        note = f"The settings in this file are restored. It was made from {name}: "
        note += "that one is open now." if at_origin else "open that one to do the same again; now you edit the result."
        box = views.idle(note, "done", "Settings restored")
        return {**self._scene_shown(stage, opened, request, strokes), self.parts.progress: box}

    def _scene_shown(self, stage: Value, opened: Opened, request: PageRequest, strokes: Strokes) -> Update:
        return {**self.region_shown(stage, opened, request, strokes, lay=True), **self.request_shown(request)}

    @errors_shown
    def sample(self, http: gr.Request, event: gr.EventData, stage: Value, *controls: Any) -> Update:
        """Open a sample with its texts."""
        visitor = self.visitor_of(http)
        try:
            index = int(event.index)
        except ValueError as error:
            raise InputError(str(error)) from error
        opened, sample = self.workbench.open_sample(visitor, index)
        texts = {"query": sample.query, "reference": sample.reference, "negative": ""}
        return {**self._new_shown(stage, opened, controls, texts), self.parts.progress: views.idle()}

    @errors_shown
    def reuse(self, http: gr.Request, event: gr.EventData, stage: Value, *controls: Any) -> Update:
        """Make a version the new input: what it was to show is now what it shows."""
        visitor = self.visitor_of(http)
        version = self.version_of(visitor, event)
        opened = self.workbench.open(visitor, version.png, version.name)
        texts = {"reference": version.request.query, "query": ""}
        box = views.idle(f"Now write what {version.name} should show next.", "done", "New input")
        return {**self._new_shown(stage, opened, controls, texts), self.parts.progress: box}

    def _new_shown(self, stage: Value, opened: Opened, controls: tuple[Any, ...], texts: dict[str, str]) -> Update:
        """Show a picture that was just opened, with other texts; the controls stay."""
        request = self.request_of(values_of(controls) | texts)
        seen = views.stage_view(stage, opened, None, Strokes())
        return {self.parts.stage: seen, **self.request_shown(request)}

    # ---- the history

    @errors_shown
    def restore(self, http: gr.Request, event: gr.EventData, stage: Value, listed: Value) -> Update:
        """Bring back a version: its picture, texts, settings, strokes."""
        visitor = self.visitor_of(http)
        version = self.version_of(visitor, event)
        opened, request = self.workbench.reopen(visitor, version), replace(version.request, seeds=(version.seed,))
        opened.own_mask = version.own_mask
        if version.own_mask is not None:  # it is kept as it was used, turned already
            request = replace(request, switches={k: v for k, v in request.switches.items() if k != "invert"})
        box = views.idle(version.title, "done", "Version restored")
        return {
            **self._scene_shown(stage, opened, request, version.strokes),
            **self.versions_shown(visitor, sides_of(listed)["left"], version.id),
            self.parts.progress: box,
        }

    def remove(self, http: gr.Request, event: gr.EventData, listed: Value) -> Update:
        """Drop a version."""
        try:
            visitor = self.visitor_of(http)
            version = self.version_of(visitor, event)
            with visitor.lock:
                visitor.versions.pop(version.id, None)
            sides = sides_of(listed)
            if sides["right"] == version.id:
                sides["right"] = next(reversed(visitor.versions), None)
            return self.versions_shown(visitor, **sides)
        except WordbrushError:
            return UNCHANGED  # it is gone already

    def pick(self, http: gr.Request, event: gr.EventData, listed: Value) -> Update:
        """Choose one side of the comparison."""
        try:
            visitor = self.visitor_of(http)
            sides = sides_of(listed)
            if event.side in sides:
                sides[event.side] = None if event.id is None else self.version_of(visitor, event).id
            return self.versions_shown(visitor, **sides)
        except WordbrushError:
            return UNCHANGED
