"""The held-out scenes with known truth, and the scores that are taken on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HOME = Path(__file__).parents[1] / "pocket" / "heldout"


@dataclass(frozen=True, eq=False)
class Item:
    """One edit with its truth.

    Attributes:
        kind: what changes: object, ground, colour, pair, time.
        picture: (height, width, 3), uint8.
        region: (height, width), bool: what differs between the scene and its counterfactual.
        query: text of the counterfactual.
        reference: text of the scene.
    """

    kind: str
    picture: NDArray[np.uint8]
    region: NDArray[np.bool_]
    query: str
    reference: str


def kinds() -> list[str]:
    """Return the kinds there are."""
    return list(json.loads((HOME / "heldout.json").read_text(encoding="utf-8"))["kinds"])


def items(kind: str) -> Iterator[Item]:
    """Yield the scenes of a kind."""
    index = json.loads((HOME / "heldout.json").read_text(encoding="utf-8"))
    size, columns, sheet = index["size"], index["columns"], index["kinds"][kind]
    pictures = np.asarray(Image.open(HOME / sheet["inputs"]).convert("RGB"))
    regions = np.asarray(Image.open(HOME / sheet["regions"]).convert("1"))
    for number, edit in enumerate(sheet["edits"]):
        top, left = number // columns * size, number % columns * size
        place = np.s_[top : top + size, left : left + size]
        yield Item(kind, pictures[place], regions[place], edit["query"], edit["reference"])


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0
