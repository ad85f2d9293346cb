"""What the page says of a model, and how its controls stand where the model has no use for them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from wordbrush.models.classes import ClassText
from wordbrush.models.model import GUIDED

if TYPE_CHECKING:
    from wordbrush.models.model import GuidanceKind, Model

__all__ = ["about", "controls_for", "encodings", "guidance_info"]

_GUIDANCE: Mapping[GuidanceKind, str] = {
    "cfg": "how firmly the text is followed",
    "embedded": "how firmly the text is followed; this model is told the number, so it costs nothing",
    "none": "this model has none to set: it was distilled into its network",
}
_USUALLY = {"invert": "inverted", "noise": "noised with one draw"}


def about(model: Model) -> str:
    """Return the HTML of what a visitor should know of a model: what it is, how it is guided, and its notes."""
    policy = model.policy
    usual = "" if policy.kind == "none" else f" ({policy.scale:g} by default)"
    unsaid = "" if policy.kind == "cfg" else "; no text can be guided away from"
    undistilled = f" (undistilled, {model.sibling} inverts well)" if model.sibling else ""
    facts = [
        f"{model.identity.name} ({model.identity.family}, {model.resolution} pixels): guidance is {GUIDED[policy.kind]}"
        f"{usual}{unsaid}",
        f"The picture is {_USUALLY[model.encoding]} unless you say{undistilled}",
    ]
    if isinstance(model.text, ClassText):
        facts.append(f"Its texts are the names of {model.text.classes:,} classes or their numbers")
    notes = "".join(f"<li>{escape(note)}</li>" for note in model.notes)
    return f"<p>{escape('. '.join(facts))}.</p>" + (f"<ul>{notes}</ul>" if notes else "")


def guidance_info(model: Model) -> str:
    """Return what stands under the control of guidance."""
    return _GUIDANCE[model.policy.kind]


def encodings(model: Model) -> list[tuple[str, str]]:
    """Return the choices of how the picture comes into the noise, as (what is shown, value) pairs."""
    return [
        (f"as fits the model: {_USUALLY[model.encoding]}", "auto"),
        ("inverted", "invert"),
        (_USUALLY["noise"], "noise"),
    ]


def controls_for(model: Model, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the controls whose use depends on the model, by name; a text it refuses goes.

    Args:
        model: the one chosen.
        values: of the controls that are to be put there; the others stay as they are.
    """
    kind = model.policy.kind
    told = {name: {"value": values[name]} for name in ("guidance", "encoding", "negative") if name in values}
    if kind != "cfg":
        told["negative"] = {"value": ""}
    return {
        "guidance": gr.Slider(**told.get("guidance", {}), interactive=kind != "none", info=guidance_info(model)),
        "encoding": gr.Dropdown(encodings(model), **told.get("encoding", {})),
        "negative": gr.Textbox(**told.get("negative", {}), visible=kind == "cfg"),
    }
