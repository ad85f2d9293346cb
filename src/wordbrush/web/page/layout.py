"""The layout of the page: its components, where they stand and how they look at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from wordbrush.settings import DEFAULT_PRESET, PRESETS
from wordbrush.web.page import components
from wordbrush.web.page.controls import EDGES, SLIDERS, VARIATION
from wordbrush.web.page.model_views import about, encodings, guidance_info
from wordbrush.web.page.views import NOTHING_PAINTED, empty_stage
from wordbrush.web.state.request import values_of_preset

if TYPE_CHECKING:
    from wordbrush.models.model import Model
    from wordbrush.web.workbench import Workbench

__all__ = ["Parts", "lay_out"]

BLURB = (
    "Say what a picture shows and what it should show instead. **Find the region** shows where the words disagree; "
    "correct it with threshold and brush; **Paint** repaints that region and leaves every other pixel as it was."
)


@dataclass(frozen=True, eq=False)
class Parts:
    """The components of the page that handlers read or write.

    Attributes:
        controls: by the names of `CONTROLS`.
        stage: the picture.
        words: words the model does not know.
        about: what the model is.
        progress: how far the work is, and messages.
        versions: the history.
        compare: two pictures under a slider.
        facts: the drawer's tables.
        command: the drawer's command.
        find: the button; `paint` and `stop` are the others.
    """

    controls: dict[str, Any]
    stage: gr.HTML
    words: gr.HTML
    about: gr.HTML
    progress: gr.HTML
    versions: gr.HTML
    compare: gr.HTML
    facts: gr.HTML
    command: gr.Textbox
    find: gr.Button
    paint: gr.Button
    stop: gr.Button


def lay_out(workbench: Workbench) -> Parts:
    """Put the components on the page that is being built."""
    gr.Markdown(f"# wordbrush\n{BLURB}", elem_id="blurb")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            stage = components.stage(value=empty_stage(workbench.samples))
            progress = components.progress()
        with gr.Column(scale=2, min_width=320):
            controls, words, told, buttons = _controls(workbench)
    compare, versions = components.compare(), components.versions()
    with gr.Accordion("How it got there", open=False, elem_id="drawer"):
        command = gr.Textbox(
            label="The command that makes the very same file", interactive=False, lines=2, buttons=["copy"],
            elem_id="command",
        )  # fmt: skip
        facts = gr.HTML(NOTHING_PAINTED, elem_id="facts")
    return Parts(controls, stage, words, told, progress, versions, compare, facts, command, *buttons)


def _controls(
    workbench: Workbench,
) -> tuple[dict[str, Any], gr.HTML, gr.HTML, tuple[gr.Button, gr.Button, gr.Button]]:
    c: dict[str, Any] = {}
    c["reference"] = gr.Textbox(label="from: what the picture shows (may stay empty)", max_length=2000, elem_id="from")
    c["query"] = gr.Textbox(label="to: what it should show", max_length=2000, elem_id="to")
    words = components.words()
    names = list(workbench.models.names)
    c["model"] = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
    model = workbench.models.editor(names[0]).model
    told = gr.HTML(about(model), elem_id="about")
    rest = values_of_preset(DEFAULT_PRESET, model.guidance)
    with gr.Group():
        find = gr.Button("Find the region", variant="secondary", elem_id="find")
        c |= _region_controls(rest)
    with gr.Group():
        with gr.Row():
            paint = gr.Button("Paint", variant="primary", elem_id="paint", scale=3)
            stop = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, min_width=80)
        c |= _paint_controls(rest, model)
    return c, words, told, (find, paint, stop)


def _slider(name: str, label: str, value: Any, low: float, high: float, step: float, info: str | None = None) -> Any:
    slider = gr.Slider(low, high, value=value, step=step, label=label, info=info, elem_id=name.replace("_", "-"))
    # A record may hold more than a slider reaches; what is possible at all, the settings say, and say better.
    slider.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return slider


def _region_controls(rest: dict[str, Any]) -> dict[str, Any]:
    c: dict[str, Any] = {}
    label, low, high, step = SLIDERS[rest["rule"]]
    c["threshold"] = _slider("threshold", label, rest["threshold"], low, high, step)
    with gr.Accordion("Refine the region", open=False, elem_id="refine"):
        c["rule"] = gr.Dropdown(list(SLIDERS), value=rest["rule"], label="Threshold rule", elem_id="rule")
        with gr.Row():
            c["grow"] = _slider("grow", "Grow or shrink", rest["grow"], -8, 8, 1, "in latent cells")
            c["feather"] = _slider("feather", "Feather", rest["feather"], 0, 8, 0.5, "in latent cells")
        with gr.Row():
            c["fill_holes"] = gr.Checkbox(rest["fill_holes"], label="Fill holes", elem_id="fill-holes")
            c["invert"] = gr.Checkbox(rest["invert"], label="Invert: edit the rest", elem_id="invert")
        c["drop_specks"] = _slider(
            "drop_specks", "Drop specks", rest["drop_specks"], 0, 32, 1, "smaller than so many latent cells"
        )
        c["edges"] = gr.Dropdown(list(EDGES), value=rest["edges"], label="Outline", elem_id="edges")
        c["contrast_seed"] = gr.Textbox("0", label="Seed of the contrast", max_lines=1, elem_id="contrast-seed")
    return c


def _paint_controls(rest: dict[str, Any], model: Model) -> dict[str, Any]:
    c: dict[str, Any] = {}
    with gr.Row():
        c["seeds"] = gr.Textbox("0", label="Seeds", info="several: 1,2,5-8", max_lines=1, elem_id="seeds")
        c["preset"] = gr.Dropdown(list(PRESETS), value=DEFAULT_PRESET, label="Preset", elem_id="preset")
    c["ratio"] = _slider(
        "ratio", "Ratio", rest["ratio"], 0, 1, 0.01, "how far into the noise: low keeps shapes, high frees them"
    )
    with gr.Accordion("More", open=False, elem_id="more"):
        c["guidance"] = _slider("guidance", "Guidance", rest["guidance"], 1, 20, 0.1, guidance_info(model))
        c["guidance"].interactive = model.policy.kind != "none"
        c["steps"] = _slider("steps", "Steps", rest["steps"], 1, 100, 1)
        c["eta"] = _slider("eta", "Variation", VARIATION, 0, 1, 0.05, "how much seeds differ; 0: not at all")
        c["encoding"] = gr.Dropdown(
            encodings(model), value=rest["encoding"], label="How the picture comes into the noise", elem_id="encoding"
        )
        c["negative"] = gr.Textbox(
            label="What the result should not show", max_length=2000, visible=model.policy.kind == "cfg",
            elem_id="negative",
        )  # fmt: skip
        c["flags"] = gr.Textbox(
            label="Further switches", info="as on the command line: --maps 4 --antithetic", max_length=500,
            elem_id="flags",
        )  # fmt: skip
        c["check_inversion"] = gr.Checkbox(label="Measure the reconstruction error", elem_id="check-inversion")
    return c
