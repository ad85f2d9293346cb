"""Cutting the region again, and the controls and words that go with it; no network of the model runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.web.page import views
from wordbrush.web.page.controls import CONTROLS, RULES
from wordbrush.web.page.desk import FIELDS, Desk, Value, skips
from wordbrush.web.state.pictures import Strokes
from wordbrush.web.state.requests import shown

__all__ = ["Cutting"]


class Cutting(Desk):
    """Handlers that answer at once."""

    def cut(self, request: gr.Request, stage: Value, *controls: Any) -> list[Any]:
        """Cut the region again from what is known."""
        try:
            visitor = self.visitor_of(request)
            opened, order = self.picture_of(visitor, stage), self.order_of(controls)
            cut = self.bench.cut(opened, order, Strokes.of(stage.get("strokes")))
            seen = views.stage_view(stage, opened, cut)
            known = cut.region is not None and not visitor.busy  # what runs keeps the box to itself
            return [seen, views.idle(f"{cut.area:.1%} of the picture.", "done", "Region") if known else gr.skip()]
        except WordbrushError as error:
            return [gr.skip(), views.problem(str(error))]

    def settle(self, request: gr.Request, stage: Value, *controls: Any) -> Any:
        """Cut the region again where it is not the one of the present controls: texts changed, or work took its time.

        A text under which nothing was found yet takes the region off the stage. Nothing is told: what cannot be
        carried out is said when it is asked for.
        """
        try:
            opened, order = self.picture_of(self.visitor_of(request), stage), self.order_of(controls)
            if opened.last is None or opened.last.region_key == order.region_key:
                return gr.skip()
            return self.stage_of(stage, opened, order, Strokes.of(stage.get("strokes")))
        except WordbrushError:
            return gr.skip()

    def rule(self, request: gr.Request, stage: Value, *controls: Any) -> list[Any]:
        """Another threshold rule: its number starts at the rule's default."""
        values = dict(zip(CONTROLS, controls, strict=True))
        label, low, high, step = RULES[values["rule"]]
        guidance = self.guidance(values["model"])
        values["threshold"] = shown(values["preset"], guidance, rule=values["rule"])["threshold"]
        slider = gr.Slider(low, high, values["threshold"], step=step, label=label)
        if not (stage or {}).get("picture"):
            return [slider, gr.skip(), gr.skip()]
        return [slider, *self.cut(request, stage, *(values[name] for name in CONTROLS))]

    def model(self, request: gr.Request, stage: Value, *controls: Any) -> list[Any]:
        """Another model: it is loaded, guidance stands where it likes it, and its contrast is cut if known."""
        values = dict(zip(CONTROLS, controls, strict=True))
        try:
            values["guidance"] = self.guidance(values["model"])
        except WordbrushError as error:
            return [gr.skip(), gr.skip(), views.problem(str(error))]
        if not (stage or {}).get("picture"):
            return [values["guidance"], gr.skip(), gr.skip()]
        return [values["guidance"], *self.cut(request, stage, *(values[name] for name in CONTROLS))]

    def preset(self, request: gr.Request, stage: Value, *controls: Any) -> list[Any]:
        """Put the controls where a preset has them; texts, seeds and variation stay."""
        values = dict(zip(CONTROLS, controls, strict=True))
        rest = shown(values["preset"], self.guidance(values["model"]))
        values |= {name: value for name, value in rest.items() if name not in {"eta", "invert"}}
        values["flags"] = ""
        laid = tuple(values[name] for name in CONTROLS)
        try:
            order = self.order_of(laid)
            seen, told = self.cut(request, stage, *laid) if (stage or {}).get("picture") else skips(2)
            return [seen, *self.laid(order), gr.skip(), told]
        except WordbrushError as error:
            return [*skips(len(CONTROLS) + 2), views.problem(str(error))]

    def words(self, request: gr.Request, listed: Value, model: str, *texts: str) -> Value:
        """Name the words the model does not know; the answer carries the edition of the question."""
        try:
            found = {
                name: self.bench.unknown_words(model, text or "")
                for name, text in zip(FIELDS.values(), texts, strict=True)
            }
        except WordbrushError:
            found = {}  # finding or painting says what is wrong with the text
        return views.words_view(found) | {"edition": (listed or {}).get("edition", 0)}

    def choose_word(
        self, request: gr.Request, event: gr.EventData, listed: Value, model: str, *texts: str
    ) -> list[Any]:
        """Put a known word in an unknown one's place."""
        fields = dict(zip(FIELDS.values(), (text or "" for text in texts), strict=True))
        field, word, near = (str(getattr(event, name)) for name in ("field", "word", "near"))
        if field in fields and word:
            fields[field] = fields[field].replace(word, near)
        changed = tuple(fields.values())
        return [*changed, self.words(request, listed, model, *changed)]
