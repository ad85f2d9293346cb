"""The types that all evaluations share: items with their truth, methods, requests and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = [
    "DETERMINED_KINDS",
    "KINDS",
    "LOCAL_KINDS",
    "MEAN_KINDS",
    "PHRASINGS",
    "SLOTS",
    "Facts",
    "Kind",
    "Method",
    "MethodRequest",
    "Outcome",
    "Phrasing",
    "Scores",
    "Slot",
    "Split",
    "Thing",
    "TruthItem",
    "Variant",
]

Kind = Literal["object", "colour", "ground", "time", "pair", "removal", "addition"]
Split = Literal["dev", "test"]
Phrasing = Literal["captions", "phrases", "empty"]
Slot = Literal["left", "middle", "right"]

KINDS: Final[tuple[Kind, ...]] = ("object", "colour", "ground", "time", "pair", "removal", "addition")
MEAN_KINDS: Final[tuple[Kind, ...]] = ("object", "colour", "ground", "time", "pair", "removal")
"""Kinds that the mean over all counts: all but additions, whose place is drawn at random and said nowhere."""
LOCAL_KINDS: Final[tuple[Kind, ...]] = ("object", "colour", "pair", "removal")
"""Of them those whose true region is a thing's silhouette; ground and time change everything but the things."""
DETERMINED_KINDS: Final[tuple[Kind, ...]] = ("removal", "colour", "ground", "time")
"""Kinds whose counterfactual is determined: it shows no thing whose shape and pose the texts leave open."""
PHRASINGS: Final[tuple[Phrasing, ...]] = ("captions", "phrases", "empty")
SLOTS: Final[tuple[Slot, ...]] = ("left", "middle", "right")

Bytes = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
Scores = dict[str, float | bool | None]
"""Values of one edit by metric; None where a metric is not defined or cannot be measured."""


@dataclass(frozen=True)
class Thing:
    """The thing in a slot: a noun, and a colour where the noun takes one."""

    noun: str
    colour: str | None = None


@dataclass(frozen=True)
class Facts:
    """The things, ground and time of a scene: one thing stands in the middle, two stand left and right."""

    things: Mapping[Slot, Thing]
    ground: str
    time: Literal["day", "night"]


@dataclass(frozen=True, eq=False)
class TruthItem:
    """One edit of the truth bench.

    Attributes:
        id: `split/kind/number`, such as `test/object/007`.
        split: dev to tune on, test to report.
        kind: what changes.
        picture: the input, (height, width, RGB).
        counterfactual: the same scene with one thing changed, (height, width, RGB).
        region: what must change, from silhouettes, (height, width).
        retrieved: another picture that shows what the query says, (height, width, RGB).
        texts: (reference, query) by phrasing.
        before: what the input shows.
        after: what the counterfactual shows.
        ceiling: IoU of the true region with what the input shows of it, which is what a perfect segmenter of the old
            thing would get; None where the bench does not say.
    """

    id: str
    split: Split
    kind: Kind
    picture: Bytes
    counterfactual: Bytes
    region: Bool
    retrieved: Bytes
    texts: Mapping[Phrasing, tuple[str, str]]
    before: Facts
    after: Facts
    ceiling: float | None = None


@dataclass(frozen=True, eq=False)
class MethodRequest:
    """One edit that a method is asked for: `picture` from `reference` to `query`.

    It is no `EditRequest`, since peers have no masks and switches of ours, and since it carries truth: `region` and
    `retrieved`, which only the methods that say so in their name may look at.
    """

    picture: Bytes
    query: str
    reference: str
    seed: int = 0
    region: Bool | None = None
    retrieved: Bytes | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a method for one request, with its cost.

    Attributes:
        image: (height, width, RGB), of the input's size.
        evaluations: network evaluations (one row of one call each) that the method needs when run alone.
        seconds: wall time, or None where work was shared with another method and a time would say nothing.
        mask: what was edited, [0, 1], (height, width) of the input's size; None where the method has no mask.
        contrast: the raw contrast map at latent cells, if the method made one.
        peak_memory: largest growth of the process's memory while it ran, in bytes, if it was measured.
    """

    image: Bytes
    evaluations: int
    seconds: float | None = None
    mask: Float | None = None
    contrast: Float | None = None
    peak_memory: int | None = None


Method = Callable[["Editor", "Session", MethodRequest, "Settings"], Outcome]
"""Edits one request with one model. The session is open on its picture, and may hold results of earlier methods."""


@dataclass(frozen=True)
class Variant:
    """One column of a benchmark: a method under settings."""

    name: str
    method: str = "diffedit"
    settings: Settings | None = None
    phrasing: Phrasing = "captions"
    preset: str | None = None
    tags: Mapping[str, str | float | int] = field(default_factory=dict)
    """The plots that the variant belongs to, such as {"curve": "sdedit", "ratio": 0.5}."""
