"""What the handlers of the page share: they read visitor, picture and request, and show the answer.

A handler takes the HTTP request first (whose cookie tells the visitor), then the event, then the components' values. It
returns new values by component; what it does not name stays as it is. Errors of wordbrush are told in the progress box.
Nothing of another visitor is ever reached, as ids are looked up in the visitor's own things.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import gradio as gr

from wordbrush.errors import InputError, WordbrushError
from wordbrush.web.gate.log import SORRY, fault
from wordbrush.web.page import views
from wordbrush.web.page.controls import CONTROLS, SLIDERS, TEXTS
from wordbrush.web.page.layout import Parts
from wordbrush.web.page.model_views import about, controls_for
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.request import PageRequest
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import Visitor
from wordbrush.web.workbench import Workbench

if TYPE_CHECKING:
    from wordbrush.models.model import Model

__all__ = ["UNCHANGED", "Handlers", "Scene", "Update", "Value", "errors_shown", "sides_of", "values_of"]

Value = dict[str, Any]
"""What a custom component holds."""

Update = dict[Any, Any]
"""New values by component."""

UNCHANGED: Update = gr.skip()
"""Leaves every component as it is."""

H = TypeVar("H", bound="Handlers")


def errors_shown(handler: Callable[..., Update]) -> Callable[..., Update]:
    """Show the WordbrushError of a handler in the progress box, and of any other error that there was one."""

    @functools.wraps(handler)
    def answer(self: H, *values: Any) -> Update:
        try:
            return handler(self, *values)
        except WordbrushError as error:
            return {self.parts.progress: views.problem(str(error))}
        except Exception as error:
            fault(f"the page's {handler.__name__}", error)
            return {self.parts.progress: views.problem(f"{SORRY}.")}

    return answer


def values_of(controls: tuple[Any, ...]) -> dict[str, Any]:
    """Return the values of the controls by name."""
    return dict(zip(CONTROLS, controls, strict=True))


def sides_of(listed: Value | None) -> dict[str, str | None]:
    """Return the ids of the versions under the slider, left and right, from the value of the history."""
    return {side: (listed or {}).get(side) for side in ("left", "right")}


class Scene(NamedTuple):
    """What is on the page: whose it is, the picture, the request of the controls, and the strokes."""

    visitor: Visitor
    opened: Opened
    request: PageRequest
    strokes: Strokes


class Handlers:
    """The base of all handlers: it reads the page and shows regions, controls and versions.

    Args:
        workbench: does the work.
        parts: the components.
    """

    def __init__(self, workbench: Workbench, parts: Parts) -> None:
        self.workbench, self.parts = workbench, parts

    def visitor_of(self, http: gr.Request) -> Visitor:
        """Return the visitor who sent the request.

        Raises:
            InputError: nobody known: the cookie is missing, or the visitor was dropped.
        """
        visitor = self.workbench.visitors.of(http.cookies.get(COOKIE))
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

    def version_of(self, visitor: Visitor, event: gr.EventData) -> Version:
        """Return the version an event is about.

        Raises:
            InputError: it was dropped.
        """
        version = visitor.versions.get(str(event.id))
        if version is None:
            raise InputError("this version was dropped to keep within the limits of memory")
        return version

    def model_of(self, name: str) -> Model:
        """Return a model by the operator's name for it."""
        return self.workbench.models.editor(name).model

    def guidance(self, model: str) -> float:
        """Return a model's own guidance scale."""
        return self.model_of(model).guidance

    def request_of(self, values: Mapping[str, Any]) -> PageRequest:
        """Read the values of the controls.

        Raises:
            SettingsError: see `PageRequest.of`.
        """
        return PageRequest.of(values, self.guidance(values["model"]), self.workbench.options.limits)

    def scene_of(self, http: gr.Request, stage: Value, controls: tuple[Any, ...]) -> Scene:
        """Read the whole page.

        Raises:
            InputError: there is no visitor or no picture, or a value is wrong.
        """
        visitor = self.visitor_of(http)
        opened, request = self.picture_of(visitor, stage), self.request_of(values_of(controls))
        return Scene(visitor, opened, request, Strokes.of(stage.get("strokes")))

    # ---- what is shown

    def region_shown(
        self, stage: Value, opened: Opened, request: PageRequest, strokes: Strokes, *, lay: bool = False
    ) -> Update:
        """Show a picture with its region as it stands; `lay` replaces the strokes on the page by these."""
        cut = self.workbench.cut(opened, request, strokes)
        return {self.parts.stage: views.stage_view(stage, opened, cut, strokes if lay else None)}

    def controls_shown(self, request: PageRequest) -> Update:
        """Put the controls where a request has them."""
        values = request.controls(self.guidance(request.model))
        (label, low, high, step), number = SLIDERS[values["rule"]], values["threshold"]
        values["threshold"] = gr.Slider(min(low, number), max(high, number), number, step=step, label=label)
        return {
            **{self.parts.controls[name]: values[name] for name in CONTROLS},
            **self.model_shown(request.model, values),
        }

    def model_shown(self, name: str, values: Mapping[str, Any]) -> Update:
        """Say what a model is, and put the controls whose use depends on it as it has use for them."""
        model = self.model_of(name)
        controls = {self.parts.controls[key]: control for key, control in controls_for(model, values).items()}
        return {**controls, self.parts.about: about(model)}

    def request_shown(self, request: PageRequest) -> Update:
        """Put the controls where a request has them, and name the words in it that its model does not know."""
        words = {
            field: self.workbench.unknown_words(request.model, getattr(request, name)) for name, field in TEXTS.items()
        }
        return {**self.controls_shown(request), self.parts.words: views.words_view(words)}

    def versions_shown(self, visitor: Visitor, left: str | None, right: str | None) -> Update:
        """Show the history, two of it under the slider, and the facts of the right one in the drawer."""
        version, facts, command = visitor.versions.get(right or ""), views.NOTHING_PAINTED, ""
        if version is not None:
            name = version.request.model
            facts = views.drawer(version, self.workbench.models.editor(name).model, self.workbench.card(name))
            command = version.command
        return {
            self.parts.versions: views.versions_view(visitor, left, right),
            self.parts.compare: views.compare_view(visitor, left, right),
            self.parts.facts: facts,
            self.parts.command: command,
        }
