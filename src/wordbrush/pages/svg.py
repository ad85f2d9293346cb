"""Plots as elements of a page: what plots are drawn with, and what a page makes of it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["GRID", "INK", "PAPER", "inline"]

INK: Final = "#26262b"
PAPER: Final = "#fdfdfc"
GRID: Final = "#d8d8d3"


def inline(svg: str, name: str) -> str:
    """Return an SVG file as an element of a page.

    Args:
        svg: a file that is drawn in `INK`, `PAPER` and `GRID`.
        name: unique on the page, letters, digits and hyphens; keeps identifiers of several plots apart.

    Returns:
        One `svg` element without namespaces or addresses: paper is clear, ink is the page's, so that it reads in light
        and dark.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", body, flags=re.DOTALL)  # a style would hold for the whole page
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{name}-", body)
    # Width and height in points would not shrink with a narrow page; the viewBox keeps the shape.
    body = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", body)
    body = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", body)
    return body.replace(INK, "currentColor").replace(PAPER, "none").replace(GRID, "var(--grid)").strip()
