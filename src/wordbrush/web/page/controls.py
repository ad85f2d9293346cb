"""The controls of the page: their names in order, the threshold rules with their ranges, the kinds of outline."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

from wordbrush.settings import RULES, Rule, Settings

__all__ = ["CONTROLS", "EDGES", "SLIDERS", "TEXTS", "VARIATION"]

CONTROLS = (
    "query", "reference", "negative", "model", "preset", "rule", "threshold", "grow", "feather", "fill_holes",
    "drop_specks", "edges", "invert", "contrast_seed", "seeds", "eta", "ratio", "guidance", "steps", "encoding",
    "flags", "check_inversion",
)  # fmt: skip
"""Names of the controls, in the order in which handlers get their values."""

TEXTS = {"query": "to", "reference": "from", "negative": "negative"}
"""The controls that hold a text for the model, and what the page calls them."""


def _slider(
    rule: Rule, label: str, step: float, least: float = -math.inf, most: float = math.inf
) -> tuple[str, float, float, float]:
    """Return label, low, high and step; `least` and `most` end the slider where the rule itself has no end."""
    low, high = RULES[rule].low, RULES[rule].high
    return label, least if low is None else low, most if high is None else high, step


SLIDERS = {
    "fixed": _slider("fixed", "Threshold", 0.01),
    "otsu": _slider("otsu", "Otsu's threshold, moved by", 0.01, least=-0.5, most=0.5),
    "area": _slider("area", "Share of the latent cells", 0.01),
    "quantile": _slider("quantile", "Quantile below the threshold", 0.01),
    "ratio": _slider("ratio", "Multiple of the mean", 0.05, most=6.0),
}
"""Threshold rules: what their number is called, and the range and step of its slider."""

EDGES: tuple[Any, ...] = get_args(get_type_hints(Settings)["edges"])
"""How the outline may run."""

VARIATION = 0.6
"""Where the control of eta stands at first: with 0 all seeds would paint the same picture on one mask."""
