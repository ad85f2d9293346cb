"""Views: what the page shows, as the values of its components. Texts of visitors are escaped where they become HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wordbrush.picture.panel import heat_colours
from wordbrush.region.mask import Mask
from wordbrush.web.page.components import EMPTY_STAGE
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.png import data_address, png_of, size_within
from wordbrush.web.state.work import LABELS

if TYPE_CHECKING:
    from wordbrush.models.model import Model, UnknownWord
    from wordbrush.picture.fit import FitPlan
    from wordbrush.picture.samples import Sample
    from wordbrush.region.threshold import Contrast
    from wordbrush.web.state.pictures import Cut
    from wordbrush.web.state.versions import Version
    from wordbrush.web.state.visitors import Visitor

__all__ = [
    "NOTHING_PAINTED", "compare_view", "drawer", "empty_stage", "idle", "problem", "reused_line", "stage_view",
    "versions_view", "words_view",
]  # fmt: skip

HEAT_SIDE = 256
MASK_SIDE = 768

NOTHING_PAINTED = "<p>Nothing was painted yet.</p>"
"""The drawer at first."""


def heat_picture(contrast: Contrast, fit: FitPlan) -> Image.Image:
    """Colour a contrast, at most 256 pixels a side; alpha is stronger where it is high."""
    laid = Mask.from_array(contrast.on_picture(fit))
    share = laid.resize(size_within(laid.size, HEAT_SIDE), "linear").values
    alpha = np.rint((0.35 + 0.5 * share) * 255).astype(np.uint8)
    return Image.fromarray(np.dstack((heat_colours(share), alpha)))


def mask_picture(mask: Mask) -> Image.Image:
    """Return a mask as alpha, at most 768 pixels a side."""
    alpha = mask.resize(size_within(mask.size, MASK_SIDE), "linear").to_image()
    image = Image.new("L", alpha.size, 255)
    image.putalpha(alpha)
    return image


def wide_picture(cells: Mask, fit: FitPlan) -> Image.Image:
    """Return the latent cells that the decode frees, laid on the picture."""
    canvas = cells.resize(fit.canvas, "nearest").values
    return mask_picture(Mask(fit.inverse(canvas, "nearest")))


def empty_stage(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return a stage with no picture: what to do, and the samples."""
    shown = [
        {"index": i, "url": f"/wordbrush/sample/{i}", "from": s.reference, "to": s.query} for i, s in enumerate(samples)
    ]
    return {**EMPTY_STAGE, "samples": shown}


def stage_view(
    stage: dict[str, Any], opened: Opened, cut: Cut | None, strokes: Strokes | None = None
) -> dict[str, Any]:
    """Return the stage with a picture and its region as it stands.

    Args:
        stage: as the page sent it; its strokes stay unless others are given.
        opened: the picture.
        cut: the region, or None where there is none yet.
        strokes: take the place of those on the page.
    """
    view = {**stage, "picture": opened.facts(), "heat": None, "mask": None, "wide": None}
    if cut is not None and cut.contrast is not None:
        view["heat"] = data_address(png_of(heat_picture(cut.contrast, cut.fit)))
    if cut is not None and cut.region is not None:
        view["mask"] = data_address(png_of(mask_picture(cut.region.pixels)))
        view["wide"] = data_address(png_of(wide_picture(cut.region.widest, cut.fit)))
    if strokes is not None:
        masks = {"include": strokes.include, "exclude": strokes.exclude}
        view["strokes"] = {name: mask and data_address(mask.png_bytes()) for name, mask in masks.items()}
        view["strokes_key"] = int(stage.get("strokes_key") or 0) + 1
    return view


def versions_view(visitor: Visitor, left: str | None, right: str | None) -> dict[str, Any]:
    """Return the history, newest first; `left` and `right` are being compared, `right` was restored or painted."""
    with visitor.lock:
        history = list(visitor.versions.values())
    cards = [
        {
            "id": version.id,
            "title": version.title,
            "detail": f"seed {version.seed} · ratio {version.request.settings.ratio:g} · "
            f"region {version.report.mask_area:.1%}",
            "thumb": f"/wordbrush/thumb/{version.id}",
            "url": version.address,
            "name": version.name,
            "seed": version.seed,
            "current": version.id == right,
        }
        for version in reversed(history)
    ]
    known = {version.id for version in history}
    return {
        "versions": cards,
        "left": left if left in known else None,
        "right": right if right in known else None,
    }


def compare_view(visitor: Visitor, left: str | None, right: str | None) -> dict[str, Any]:
    """Return the two pictures of the slider: two versions, or the input and a version."""
    versions = visitor.versions
    first, second = versions.get(left or ""), versions.get(right or "")
    if second is None:
        return {"left": None, "right": None}
    before = _side(first) if first is not None else _input_side(visitor, second)
    return {"left": before, "right": _side(second)}


def _side(version: Version) -> dict[str, str]:
    return {"url": version.address, "label": version.title}


def _input_side(visitor: Visitor, version: Version) -> dict[str, str] | None:
    if version.picture not in visitor.pictures:
        return None
    return {"url": f"/wordbrush/picture/{version.picture}", "label": f"input: {version.source_name}"}


def words_view(unknown: dict[str, tuple[UnknownWord, ...]]) -> dict[str, Any]:
    """Return the words the model does not know, by field."""
    return {
        "words": [
            {"field": field, "word": word.word, "near": list(word.near)}
            for field, words in unknown.items()
            for word in words
        ]
    }


def idle(note: str = "", state: str = "idle", title: str = "") -> dict[str, Any]:
    """Return the progress box at rest, perhaps with something to say."""
    return {"title": title, "stages": [], "preview": None, "note": note, "state": state}


def problem(message: str) -> dict[str, Any]:
    """Return the progress box with the message of a failure."""
    return idle(message, "failed", "That did not work")


def reused_line(version: Version) -> str:
    """Say which values painting reused, and how many network evaluations it ran."""
    report = version.report
    names = {
        "latent": "the encoded picture",
        "contrast": "the contrast",
        "reference": "the reference's half of the contrast",
        "trajectory": "the inversion",
        "part of the trajectory": "the inversion as far as it went",
    }
    reused = [names.get(name, name) for name in report.reused]
    ran = [f"{LABELS.get(k, k).lower()} {v}" for k, v in report.evaluations.items() if v]
    first = f"Reused: {', '.join(reused)}. " if reused else ""
    return f"{first}Network evaluations: {', '.join(ran) if ran else 'none'}."


def drawer(version: Version, model: Model, card: str) -> str:
    """Return the drawer's HTML: time and evaluations by stage, errors, mask area, and who the model is."""
    report = version.report
    stages = sorted(set(report.timings) | set(report.evaluations), key=list(LABELS).index)
    rows = "".join(
        f"<tr><td>{escape(LABELS[stage])}</td><td>{report.timings.get(stage, 0.0):.2f} s</td>"
        f"<td>{report.evaluations.get(stage, 0)}</td></tr>"
        for stage in stages
    )
    total = f"{sum(report.timings.values()):.2f} s</td><td>{sum(report.evaluations.values())}"
    error = "not measured" if report.reconstruction_error is None else f"{report.reconstruction_error:.4f}"
    facts = {
        "Version": f"{version.number}, seed {version.seed}",
        "Reused": ", ".join(report.reused) or "nothing",
        "Region": f"{report.mask_area:.2%} of the picture",
        "Cells near the threshold": str(report.near_threshold),
        "Reconstruction error": error,
        "Warnings": "; ".join(report.warnings) or "none",
        **model_facts(model),
    }
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return (
        "<table class='costs'><thead><tr><th>Stage</th><th>Time</th><th>Network evaluations</th></tr></thead>"
        f"<tbody>{rows}<tr><td>In all</td><td>{total}</td></tr></tbody></table>"
        f"<table class='facts'><tbody>{lines}</tbody></table>"
        + (f"<details><summary>The model's card</summary><pre>{escape(card)}</pre></details>" if card else "")
    )


def model_facts(model: Model) -> dict[str, str]:
    """Return who a model is, and what its card says in short."""
    who = model.identity
    facts = {"Model": f"{who.name} ({who.family}, {who.parametrisation}) on {who.device}, {who.dtype}"}
    if who.revision:
        facts["Revision"] = who.revision
    if who.sha256:
        facts["Weights"] = f"sha256 {who.sha256[:16]}…"
    return facts | {f"Card: {name}": str(value) for name, value in model.card.items()}
