"""Custom components of the page: the stage with its brush, versions, compare, words, progress; and the page's look.

Each is a `gr.HTML` of a fixed template, a style sheet and scripts under `static/`; what it shows is its JSON value,
and what a visitor does comes back as events. Templates hold no value, so nothing a visitor wrote is ever read as
markup; the scripts set it as text.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import gradio as gr

from wordbrush.web.options import Limits

__all__ = ["EMPTY_STAGE", "compare", "progress", "stage", "theme_css", "versions", "words"]

_STAGE_PARTS = ("contour", "strokes", "board", "brush", "upload", "samples")

_STAGE_SCRIPTS = (*(f"stage_{name}.js" for name in _STAGE_PARTS), "stage.js")

EMPTY_STAGE: dict[str, Any] = {
    "picture": None, "heat": None, "mask": None, "wide": None, "strokes": {"include": None, "exclude": None},
    "strokes_key": 0, "samples": [],
}  # fmt: skip
"""The value of a stage with nothing on it."""


def _static(name: str) -> str:
    return resources.files("wordbrush.web.page").joinpath("static", name).read_text("utf-8")


def _component(name: str, value: dict[str, Any], scripts: tuple[str, ...] = (), **kw: Any) -> gr.HTML:
    return gr.HTML(
        value,
        html_template=_static(f"{name}.html"),
        css_template=_static("common.css") + _static(f"{name}.css"),
        js_on_load="\n".join(_static(script) for script in ("common.js", *(scripts or (f"{name}.js",)))),
        apply_default_css=False,
        elem_id=name,
        **kw,
    )


def stage(*, value: dict[str, Any] | None = None, limit: int = Limits.file_bytes, **kw: Any) -> gr.HTML:
    """Return the stage: picture, heat map, outlines of the region and of what the decode frees, and strokes by hand.

    Its root (`#stage .stage`) tells what is drawn: `data-picture` (id or ""), `data-outline` (changes with the mask
    image, "" without one), `data-wide` (the same of the image of what the decode frees), `data-heat` ("on" where the
    heat map is seen), `data-strokes` (how many count), and
    `data-ready` ("true" once everything of the present value is drawn).

    Args:
        value: {"picture": None or {"id", "url", "name", "width", "height"}, "heat", "mask", "wide": PNG data
            address or None,
            "strokes": {"include", "exclude"} (the same), "strokes_key": a number that only grows: under a larger one
            the strokes of the value take the place of those on the page; under a smaller one, which comes from work
            begun earlier, strokes and picture stay, "samples": [{"index", "url", "from", "to"}]}. Comes back
            with the strokes as they are on the page: opaque PNGs, white (stroke) on black, at most 1,024 pixels a
            side, None where there is none. Strokes go when another picture comes under the same key.
        limit: most bytes of a file; larger ones are refused before they are sent.
        kw: for `gr.HTML`.

    Returns:
        A component with the events `stroke`; `opened` and `masked` {"id"} after an upload of a picture or a mask;
        `sample` {"index"}; `problem` {"message"}, which is shown in place, too.
    """
    return _component("stage", {**EMPTY_STAGE, **(value or {})}, _STAGE_SCRIPTS, limit=limit, **kw)


def versions(**kw: Any) -> gr.HTML:
    """Return the history: a card for each version, in the order of the value.

    Its value is {"versions": [{"id", "title", "detail", "thumb", "url", "name", "seed", "current"}], "left", "right":
    id or None}. Events: `restore`, `reuse`, `remove` {"id"}; `pick` {"side": "left" or "right", "id"}, where the id is
    None when a side is given free. `kw` is for `gr.HTML`.
    """
    return _component("versions", {"versions": [], "left": None, "right": None}, **kw)


def compare(**kw: Any) -> gr.HTML:
    """Return the before/after slider; hidden while a side is missing.

    Its value is {"left", "right": None or {"url", "label"}}. `kw` is for `gr.HTML`.
    """
    return _component("compare", {"left": None, "right": None}, **kw)


def words(**kw: Any) -> gr.HTML:
    """Return the words the model does not know, with near ones as buttons; hidden while there is none.

    Its value is {"words": [{"field", "word", "near": [str]}], "edition": int}. The edition grows with each `choose`
    {"field", "word", "near"}; a value with a smaller one, as it answers an older question, is not taken, one without
    always is. `kw` is for `gr.HTML`.
    """
    return _component("words", {"words": [], "edition": 0}, **kw)


def progress(**kw: Any) -> gr.HTML:
    """Return the progress box; hidden while idle with nothing to say.

    Its value is {"title", "stages": [{"label", "done", "total"}], "preview": image data address or None, "note",
    "state": "idle", "running", "done", "stopped" or "failed"}. A total of 0 means unknown. `kw` is for `gr.HTML`.
    """
    return _component("progress", {"title": "", "stages": [], "preview": None, "note": "", "state": "idle"}, **kw)


def theme_css() -> str:
    """Return the style sheet of the page around the components, for `css=` of the application."""
    return _static("theme.css")
