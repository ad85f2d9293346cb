"""The controls of the page: their names in order, the threshold rules with their ranges, the kinds of outline."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from wordbrush.settings import Settings

__all__ = ["CONTROLS", "EDGES", "RULES", "TEXTS", "VARIATION"]

CONTROLS = (
    "query", "reference", "negative", "model", "preset", "rule", "threshold", "grow", "feather", "fill_holes",
    "drop_specks", "edges", "invert", "contrast_seed", "seeds", "eta", "ratio", "guidance", "steps", "flags",
    "check_inversion",
)  # fmt: skip
"""Names of the controls, in the order in which handlers get their values."""

TEXTS = {"query": "to", "reference": "from", "negative": "negative"}
"""The controls that hold a text for the model, and what the page calls them."""

RULES = {
    "fixed": ("Threshold", 0.0, 1.0, 0.01),
    "otsu": ("Otsu's threshold, moved by", -0.5, 0.5, 0.01),
    "area": ("Share of the picture", 0.0, 1.0, 0.01),
    "quantile": ("Quantile below the threshold", 0.0, 1.0, 0.01),
    "ratio": ("Multiple of the mean", 0.0, 6.0, 0.05),
}
"""Threshold rules: what their number is called, its range and step."""

EDGES: tuple[Any, ...] = get_args(get_type_hints(Settings)["edges"])
"""How the outline may run."""

VARIATION = 0.6
"""Where the control of eta stands at first: with 0 all seeds would paint the same picture on one mask."""
