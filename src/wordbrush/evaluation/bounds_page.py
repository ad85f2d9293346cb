"""The report on Proposition 1: a table of the curves, and one page with both plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from wordbrush.evaluation.plots import Series, inline, lines_with_bands

if TYPE_CHECKING:
    from wordbrush.evaluation.bounds import Bounds, Spread

__all__ = ["as_csv", "render"]

_CURVES: Final = (
    ("noise_error", "measured, from noise", False),
    ("encode_error", "measured, from the inversion", False),
    ("noise_bound", "bound, from noise", True),
    ("encode_bound", "bound, from the inversion", True),
    ("gronwall_bound", "the same by Gronwall", True),
)
_TOLD: Final = {
    "encode_bound": "the paper's bounds cross at model time",
    "gronwall_bound": "with Gronwall's for the second, at model time",
    "error": "the measured errors cross at ratio",
}
_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfbf9; --ink: #26262b; --grid: #d8d8d3; --panel: #f1f1ed; }
@media (prefers-color-scheme: dark) { :root { --paper: #17171a; --ink: #e6e6e2; --grid: #3a3a41; --panel: #202026; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
p, li { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; background: var(--panel); border-radius: .5rem; padding: .5rem; }
svg { width: 100%; height: auto; display: block; }
"""


def as_csv(bounds: Bounds) -> str:
    """Return the rows as CSV, one a ratio."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(bounds.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(bounds.rows)
    return text.getvalue()


def _plot(bounds: Bounds, ending: str, title: str) -> str:
    """Draw bounds and errors over the ratio, on a logarithmic axis."""
    ratios = [row["ratio"] for row in bounds.rows]

    def values(name: str) -> list[float]:
        found = [row[name + ending] for row in bounds.rows]
        return [value if 0 < value < 1e12 else float("nan") for value in found]  # no place on the axis

    return lines_with_bands(
        [Series(label, ratios, values(name), dashed=dashed) for name, label, dashed in _CURVES],
        x_label="encoding ratio",
        y_label="distance to the input, RMS of latents",
        title=title,
        log_y=True,
    )


def _constants(bounds: Bounds) -> Iterator[str]:
    known = bounds.constants
    spreads: list[tuple[str, Spread]] = [("C: size of the noise estimate", known.c)]
    spreads += [(f"C under guidance {known.guidance:g}", known.c_guided)]
    names = {"random": "random directions", "pairs": "pairs of noised latents", "power": "power iteration"}
    spreads += [(f"K1: by {names[way]}", found) for way, found in known.k1.items()]
    spreads += [("K2: largest difference between the texts", known.k2)]
    yield "<div class=wide><table><tr><th>constant<th>samples<th>mean<th>median<th>largest</tr>"
    for name, found in spreads:
        cells = "".join(f"<td>{value:.3g}" for value in (found.mean, found.median, found.largest))
        yield f"<tr><td>{escape(name)}<td>{found.count}{cells}</tr>"
    yield "</table></div>"
    yield (
        f"<p>The bounds take C = {known.c.largest:.3g} ({known.c_guided.largest:.3g} guided), "
        f"K1 = {known.lipschitz:.3g} and K2 = {known.k2.mean:.3g} ({known.guidance * known.k2.mean:.3g} guided)."
    )


def _crossings(bounds: Bounds) -> Iterator[str]:
    yield "<ul>"
    for ending, where in (("", "unguided"), ("_guided", "guided")):
        for name, text in _TOLD.items():
            found = bounds.crossings[name + ending]
            yield f"<li>{where}: {text} {'none' if found is None else f'{found:.3g}'}</li>"
    yield "</ul>"


def render(bounds: Bounds) -> str:
    """Return the page: HTML with its plots inside; no script, no address."""
    guidance = bounds.constants.guidance
    plots = [
        _plot(bounds, "", "Decoded without guidance"),
        _plot(bounds, "_guided", f"Decoded with guidance {guidance:g}"),
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Proposition 1</title><style>{_STYLE}</style><h1>Proposition 1 of DiffEdit</h1>",
        f"<p>{escape(str(bounds.model['name']))}, {bounds.items} pictures, {bounds.steps} steps, seed {bounds.seed}. ",
        "Lengths are root mean squares per element of the latents; normal noise has 1. Full lines are measured ",
        "means, broken lines are bounds; what is above 10<sup>12</sup> or is 0 is not drawn.",
        *(f"<figure>{inline(plot, f'bounds-{i}')}</figure><br>" for i, plot in enumerate(plots)),
        "<h2>Constants</h2>",
        *_constants(bounds),
        "<h2>Where starting from the inversion stops being the better of the two</h2>",
        *_crossings(bounds),
    ]
    return "\n".join(parts) + "\n"
