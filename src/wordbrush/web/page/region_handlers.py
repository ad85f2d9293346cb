"""The region cut again, and the controls and words that go with it; no network of the model runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.web.page import views
from wordbrush.web.page.controls import SLIDERS, TEXTS
from wordbrush.web.page.handlers import UNCHANGED, Handlers, Update, Value, errors_shown, values_of
from wordbrush.web.state.request import values_of_preset

__all__ = ["RegionHandlers"]


class RegionHandlers(Handlers):
    """Handlers that answer at once."""

    @errors_shown
    def cut(self, http: gr.Request, stage: Value, *controls: Any) -> Update:
        """Cut the region again from what is known."""
        scene = self.scene_of(http, stage, controls)
        cut = self.workbench.cut(scene.opened, scene.request, scene.strokes)
        update: Update = {self.parts.stage: views.stage_view(stage, scene.opened, cut)}
        if cut.region is not None and not scene.visitor.busy:  # what runs keeps the box to itself
            update[self.parts.progress] = views.idle(cut.told, "done", "Region")
        return update

    def settle(self, http: gr.Request, stage: Value, *controls: Any) -> Update:
        """Cut the region again where the controls changed since it was cut: other texts, or changes while work ran.

        A text under which nothing was found yet takes the region off the stage. Nothing is told: what cannot be
        carried out is said when it is asked for.
        """
        try:
            _, opened, request, strokes = self.scene_of(http, stage, controls)
            if opened.last is None or opened.last.region_key == request.region_key:
                return UNCHANGED
            return self.region_shown(stage, opened, request, strokes)
        except WordbrushError:
            return UNCHANGED

    @errors_shown
    def rule(self, http: gr.Request, stage: Value, *controls: Any) -> Update:
        """Change the threshold rule; its number starts at the preset's or the rule's default."""
        values = values_of(controls)
        label, low, high, step = SLIDERS[values["rule"]]
        at_rest = values_of_preset(values["preset"], self.guidance(values["model"]), rule=values["rule"])
        values["threshold"] = at_rest["threshold"]
        slider = gr.Slider(low, high, values["threshold"], step=step, label=label)
        return {self.parts.controls["threshold"]: slider, **self._cut_picture(http, stage, values)}

    @errors_shown
    def model(self, http: gr.Request, stage: Value, *controls: Any) -> Update:
        """Change the model: load it, say what it is, set the guidance to its default, and cut a known contrast."""
        values = values_of(controls)
        moved = {"guidance": self.guidance(values["model"])}
        return {**self.model_shown(values["model"], moved), **self._cut_picture(http, stage, values | moved)}

    @errors_shown
    def preset(self, http: gr.Request, stage: Value, *controls: Any) -> Update:
        """Put the controls where a preset has them; texts, seeds and variation stay.

        What stays is not in the answer either: it may have been typed into since the question.
        """
        values = values_of(controls)
        at_rest = values_of_preset(values["preset"], self.guidance(values["model"]))
        moved = {name: value for name, value in at_rest.items() if name not in {"eta", "invert"}} | {"flags": ""}
        values |= moved
        shown = self.controls_shown(self.request_of(values))
        controls_moved = {part: shown[part] for part in (self.parts.controls[name] for name in moved)}
        return {**controls_moved, **self._cut_picture(http, stage, values)}

    def _cut_picture(self, http: gr.Request, stage: Value, values: dict[str, Any]) -> Update:
        """Cut the region again with these values of the controls, where there is a picture."""
        return self.cut(http, stage, *values.values()) if (stage or {}).get("picture") else {}

    def words(self, http: gr.Request, listed: Value, model: str, *texts: str) -> Update:
        """Name the words the model does not know; the answer carries the edition of the question."""
        try:
            words = {
                field: self.workbench.unknown_words(model, text or "")
                for field, text in zip(TEXTS.values(), texts, strict=True)
            }
        except WordbrushError:
            words = {}  # finding or painting says what is wrong with the text
        return {self.parts.words: views.words_view(words) | {"edition": (listed or {}).get("edition", 0)}}

    def choose_word(self, http: gr.Request, event: gr.EventData, listed: Value, model: str, *texts: str) -> Update:
        """Put a known word in an unknown one's place."""
        fields = dict(zip(TEXTS.values(), (text or "" for text in texts), strict=True))
        field, word, near = (str(getattr(event, name)) for name in ("field", "word", "near"))
        if field in fields and word:
            fields[field] = fields[field].replace(word, near)
        changed = {self.parts.controls[name]: fields[field] for name, field in TEXTS.items()}
        return {**changed, **self.words(http, listed, model, *fields.values())}
