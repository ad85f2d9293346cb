"""Presets: named sets of switches, as data; what each switch means is in `wordbrush.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["DEFAULT_PRESET", "GONE", "PRESETS"]

DEFAULT_PRESET: Final = "balanced"

_PLAIN: Final[Mapping[str, Any]] = {
    "solver": "ddim",
    "spacing": "model",
    "inversion_stride": 1,
    "guidance_low": 0.0,
    "guidance_every": 1,
    "retry": False,
}
"""Walks without any saving: every level of the model's own grid, one estimate a step, guidance throughout."""

_PAPER: Final[Mapping[str, Any]] = {**_PLAIN, "maps": 10, "strength": (0.5,), "steps": 50, "ratio": 0.8}
"""What the paper states in numbers; its ratio is the one of its ablations."""

_BARE: Final[Mapping[str, Any]] = {"ring": 0.0, "rim": 0.0, "blend": 0.0, "match": 0.0}
"""No care for the seam."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "balanced": {},
    "paper": {**_PAPER, "threshold": 0.5, "edges": "smooth", "inversion_label": "source", **_BARE},
    "diffusers": {
        **_PAPER,
        "rescale": "ratio",
        "threshold": 0.5,
        "strength_axis": "grid",
        "ratio_axis": "grid",
        "inversion_text": "reference",
        "inversion_guidance": 7.5,
        "edges": "cells",
        **_BARE,
    },
    "fast": {"steps": 8},
}
"""Named sets of switches: `balanced` (the default: the paper's recipe with the numbers that were measured to be better
on the truth bench), `paper` (what it states of strength, steps, ratio and threshold; the guidance is the model's own,
as in the others), `diffusers` (its threshold rule and guided inversion with blend, latent and pixels of our own, for
comparison) and `fast`."""

GONE: Final[Mapping[str, str]] = {
    "best": "it cost 276 evaluations and its pictures were no better; take balanced, or set steps, maps and the like",
}
"""Presets that were, and what to do instead."""
