"""The report on Proposition 1: the curves as a table, and a page with both plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from wordbrush.evaluation.plots import Series, lines_with_bands
from wordbrush.pages.page import Cell, Page, Section, Table
from wordbrush.pages.report import Report

if TYPE_CHECKING:
    from wordbrush.evaluation.bounds import Bounds, Spread

__all__ = ["report_of"]

_CURVES: Final = (
    ("noise_error", "measured, from noise", False),
    ("encode_error", "measured, from the inversion", False),
    ("noise_bound", "bound, from noise", True),
    ("encode_bound", "bound, from the inversion", True),
    ("gronwall_bound", "the same by Gronwall", True),
)
_LABELS: Final = {
    "encode_bound": "the paper's bounds cross at model time",
    "gronwall_bound": "with Gronwall's for the second, at model time",
    "error": "the measured errors cross at ratio",
}


def _plot(bounds: Bounds, ending: str, title: str) -> str:
    """Draw bounds and errors over the ratio, with a logarithmic vertical axis."""
    ratios = [row["ratio"] for row in bounds.rows]

    def values(name: str) -> list[float]:
        column = [row[name + ending] for row in bounds.rows]
        return [value if 0 < value < 1e12 else float("nan") for value in column]  # no place on the axis

    return lines_with_bands(
        [Series(label, ratios, values(name), dashed=dashed) for name, label, dashed in _CURVES],
        x_label="encoding ratio",
        y_label="distance to the input, RMS of latents",
        title=title,
        log_y=True,
    )


def _constants(bounds: Bounds) -> Section:
    known = bounds.constants
    spreads: list[tuple[str, Spread]] = [("C: size of the noise estimate", known.c)]
    spreads += [(f"C under guidance {known.guidance:g}", known.c_guided)]
    names = {"random": "random directions", "pairs": "pairs of noised latents", "power": "power iteration"}
    spreads += [(f"K1: by {names[way]}", spread) for way, spread in known.k1.items()]
    spreads += [("K2: largest difference between the texts", known.k2)]
    rows = [
        [Cell(name), Cell(str(v.count)), *(Cell(f"{value:.3g}") for value in (v.mean, v.median, v.largest))]
        for name, v in spreads
    ]
    note = (
        f"The bounds take C = {known.c.largest:.3g} ({known.c_guided.largest:.3g} guided), "
        f"K1 = {known.lipschitz:.3g} and K2 = {known.k2.mean:.3g} ({known.guidance * known.k2.mean:.3g} guided)."
    )
    return Section("Constants", [note], [Table(["constant", "samples", "mean", "median", "largest"], rows)])


def _crossings(bounds: Bounds) -> Section:
    lines = []
    for ending, where in (("", "unguided"), ("_guided", "guided")):
        for name, text in _LABELS.items():
            ratio = bounds.crossings[name + ending]
            lines.append(f"{where}: {text} {'none' if ratio is None else f'{ratio:.3g}'}")
    return Section("Where starting from the inversion stops being the better of the two", lines=lines)


def report_of(bounds: Bounds, record: Mapping[str, Any]) -> Report:
    """Return the report: the record, the bounds and errors with one line for each ratio, and the page."""
    table = list(bounds.rows[0]), [list(row.values()) for row in bounds.rows]
    return Report(record=record, tables={"bounds": table}, page=_page(bounds), names=("bounds", "bounds"))


def _page(bounds: Bounds) -> Page:
    titles = ("Decoded without guidance", f"Decoded with guidance {bounds.constants.guidance:g}")
    plots = [(title, _plot(bounds, ending, title)) for ending, title in zip(("", "_guided"), titles, strict=True)]
    facts = {
        "Model": str(bounds.model["name"]),
        "Pictures": str(bounds.items),
        "Steps": str(bounds.steps),
        "Seed": str(bounds.seed),
    }
    note = (
        "Lengths are root mean squares per element of the latents; normal noise has 1. Full lines are measured means, "
        "broken lines are bounds; what is above 1e12 or is 0 is not drawn."
    )
    sections = [Section("Curves", [note], plots=plots), _constants(bounds), _crossings(bounds)]
    return Page("Proposition 1 of DiffEdit", facts, sections)
