"""The desk: what all handlers of the page need - who asks, about which picture, and how things are shown.

A handler takes the request first (whose cookie tells the visitor), then the event, then the components' values, and
returns what components shall hold. Errors of wordbrush are told in the progress box. Nothing of another visitor is ever
reached, as ids are looked up in the visitor's own things.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from wordbrush.errors import InputError
from wordbrush.web.page import views
from wordbrush.web.page.controls import CONTROLS, RULES
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.requests import Order
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import Visitor
from wordbrush.web.workbench import Bench

__all__ = ["FIELDS", "Desk", "Value", "skips"]

Value = dict[str, Any]
"""What a custom component holds."""

FIELDS = {"query": "to", "reference": "from", "negative": "negative"}
"""The texts of an order, and what the page calls them."""


def skips(count: int) -> list[Any]:
    """Leave so many components as they are."""
    return [gr.skip() for _ in range(count)]


class Desk:
    """What handlers share.

    Args:
        bench: does the work.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def visitor_of(self, request: gr.Request) -> Visitor:
        """Return who asks.

        Raises:
            InputError: nobody known: the cookie is missing, or the visitor was dropped.
        """
        visitor = self.bench.visitors.of(request.cookies.get(COOKIE))
        if visitor is None:
            raise InputError(
                "this page was left alone for too long and what it held was dropped, or its cookie blocked; reload it"
            )
        return visitor

    def picture_of(self, visitor: Visitor, stage: Value) -> Opened:
        """Return the picture on the stage.

        Raises:
            InputError: there is none, or it was closed.
        """
        id_ = ((stage or {}).get("picture") or {}).get("id")
        if id_ is None:
            raise InputError("open a picture first: drop one, paste one, or take a sample")
        opened = visitor.picture(str(id_))
        if opened is None:
            raise InputError("this picture was closed; open it again")
        return opened

    def guidance(self, model: str) -> float:
        """Return a model's own guidance scale."""
        return self.bench.models.editor(model).model.guidance

    def order_of(self, controls: tuple[Any, ...]) -> Order:
        """Read the controls.

        Raises:
            SettingsError: see `Order.of`.
        """
        values = dict(zip(CONTROLS, controls, strict=True))
        return Order.of(values, self.guidance(values["model"]), self.bench.options.limits)

    def stage_of(self, stage: Value, opened: Opened, order: Order, strokes: Strokes, *, fresh: bool = False) -> Value:
        """Return the stage with the region as it stands; `fresh` lays these strokes on the page, too."""
        cut = self.bench.cut(opened, order, strokes)
        return views.stage_view(stage, opened, cut, strokes if fresh else None)

    def laid(self, order: Order) -> list[Any]:
        """Return what the controls hold for an order, in their order."""
        values = order.controls(self.guidance(order.model))
        (label, low, high, step), number = RULES[values["rule"]], values["threshold"]
        slider = gr.Slider(min(low, number), max(high, number), number, step=step, label=label)
        laid = {**values, "threshold": slider}
        return [laid[name] for name in CONTROLS]

    def unknown(self, order: Order) -> Value:
        """Return the words of an order that its model does not know."""
        fields = {shown: self.bench.unknown_words(order.model, getattr(order, name)) for name, shown in FIELDS.items()}
        return views.words_view(fields)

    def history_of(self, visitor: Visitor, left: str | None, right: str | None) -> list[Any]:
        """Return what the history, the comparison and the drawer show."""
        version = visitor.versions.get(right or "")
        listed = views.versions_view(visitor, left, right, right)
        compared = views.compare_view(visitor, left, right)
        if version is None:
            return [listed, compared, "<p>Nothing was painted yet.</p>", ""]
        name = version.order.model
        told = views.drawer(version, self.bench.models.editor(name).model, self.bench.card(name))
        return [listed, compared, told, version.command]

    def version_of(self, visitor: Visitor, event: gr.EventData) -> Version:
        """Return the version an event is about.

        Raises:
            InputError: it was dropped.
        """
        version = visitor.versions.get(str(event.id))
        if version is None:
            raise InputError("this version was dropped to keep within the limits of memory")
        return version
