"""Scoring: one outcome against the truth of its item, as one row of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wordbrush.errors import InputError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.flops import Costs, total
from wordbrush.evaluation.items import Bytes, Outcome, TruthItem
from wordbrush.evaluation.judge import verdict

if TYPE_CHECKING:
    from wordbrush.evaluation.judge import Judge

__all__ = ["BACKGROUND_KEPT_DB", "METRICS", "PSNR_CAP_DB", "Measure", "Score", "Tools", "score"]

Score = dict[str, float | bool | None]

BACKGROUND_KEPT_DB: Final = 25.0
"""A background counts as kept from this PSNR on. A round trip through the pocket autoencoder alone is about 30 dB, so
a method that repaints nothing outside the region passes even without copying pixels, and one that shifts colours or
moves things there does not."""

PSNR_CAP_DB: Final = metrics.PSNR_CAP
"""PSNR of identical pixels, which would be infinite: means over items stay finite, and no picture that was encoded and
decoded comes near it."""

_HALF_WINDOW: Final = 5


@dataclass(frozen=True)
class Measure:
    """How a metric is told to people.

    Attributes:
        label: a few words, with the unit.
        higher: whether more is better; None where neither is.
        decimals: to show.
        timed: depends on the machine and the moment.
    """

    label: str
    higher: bool | None = True
    decimals: int = 3
    timed: bool = False


METRICS: Final[Mapping[str, Measure]] = {
    "contrast_auc": Measure("contrast: area under ROC"),
    "contrast_best_iou": Measure("contrast: IoU at the best cut"),
    "mask_iou": Measure("mask: IoU"),
    "mask_precision": Measure("mask: precision"),
    "mask_recall": Measure("mask: recall"),
    "mask_area": Measure("mask: share of the picture", None),
    "background_psnr": Measure("background: PSNR (dB)", decimals=1),
    "background_max_error": Measure("background: largest error (of 255)", higher=False, decimals=0),
    "background_changed": Measure("background: share of changed pixels", higher=False),
    "background_kept": Measure(f"background kept (PSNR of {BACKGROUND_KEPT_DB:.0f} dB or more)"),
    "success": Measure("success: what should change did"),
    "kept": Measure("kept: what should stay did"),
    "faithful": Measure("faithful: success and kept"),
    "object_right": Measure("objects right"),
    "colour_right": Measure("colours right"),
    "ground_right": Measure("ground and time right"),
    "joint": Measure("joint: success and background kept"),
    "closeness_psnr": Measure("closeness to the counterfactual: PSNR (dB)", decimals=1),
    "closeness_ssim": Measure("closeness to the counterfactual: SSIM"),
    "distance_to_input": Measure("distance to the input (RMS)", None),
    "lpips": Measure("LPIPS to the input", higher=False),
    "evaluations": Measure("network evaluations", higher=False, decimals=0),
    "tflop": Measure("TFLOP", higher=False),
    "seconds": Measure("seconds", higher=False, decimals=2, timed=True),
    "peak_memory": Measure("peak memory (MiB)", higher=False, decimals=1, timed=True),
}
"""Every metric of a row, in the order of the reports."""


@dataclass(frozen=True, eq=False)
class Tools:
    """What scoring needs besides the truth; what is missing leaves its metrics null.

    Attributes:
        judge: reads pictures.
        lpips: perceptual distance of two pictures (height, width, RGB).
        costs: of the model at the item's size.
    """

    judge: Judge | None = None
    lpips: Callable[[Bytes, Bytes], float] | None = None
    costs: Costs | None = None


def score(item: TruthItem, outcome: Outcome, tools: Tools) -> Score:
    """Hold an outcome against the truth of its item.

    Args:
        item: one edit of the bench.
        outcome: what a method made of it.
        tools: judge, costs, and LPIPS where its weights are at hand.

    Returns:
        A value for each name in `METRICS`, in that order: None where it is not defined or cannot be measured.
        `closeness` looks inside the true region, `background` outside, `distance_to_input` and `lpips` at all.

    Raises:
        InputError: the outcome is not of the item's size.
    """
    if outcome.image.shape != item.picture.shape or outcome.image.dtype != np.uint8:
        raise InputError(
            f"{item.id}: the result is {outcome.image.dtype} of {outcome.image.shape}, the input uint8 of "
            f"{item.picture.shape}; a method must return the input's size"
        )
    found: Score = {
        **_contrast(item, outcome),
        **_mask(item, outcome),
        **_pixels(item, outcome),
        **_judged(item, outcome, tools.judge),
        "lpips": None if tools.lpips is None else float(tools.lpips(item.picture, outcome.image)),
        "evaluations": outcome.evaluations,
        "tflop": _tflop(outcome.evaluations, tools.costs),
        "seconds": outcome.seconds,
        "peak_memory": None if outcome.peak_memory is None else outcome.peak_memory / 2**20,
    }
    success, background = found["success"], found["background_kept"]
    found["joint"] = None if success is None or background is None else bool(success and background)
    return {name: found[name] for name in METRICS}


def _contrast(item: TruthItem, outcome: Outcome) -> Score:
    if outcome.contrast is None:
        return {"contrast_auc": None, "contrast_best_iou": None}
    laid = metrics.on_picture(outcome.contrast, item.region.shape)
    return {
        "contrast_auc": metrics.roc_auc(laid, item.region),
        "contrast_best_iou": metrics.best_iou(laid, item.region)[0],
    }


def _mask(item: TruthItem, outcome: Outcome) -> Score:
    mask, names = outcome.mask, ("mask_iou", "mask_precision", "mask_recall", "mask_area")
    if mask is None:
        return dict.fromkeys(names)
    values = (
        metrics.iou(mask, item.region),
        metrics.precision(mask, item.region),
        metrics.recall(mask, item.region),
        float((mask > 0.5).mean()),
    )
    return dict(zip(names, values, strict=True))


def _pixels(item: TruthItem, outcome: Outcome) -> Score:
    image, outside = outcome.image, ~item.region
    background = metrics.psnr(item.picture, image, outside)
    return {
        "background_psnr": background,
        "background_max_error": metrics.largest_error(item.picture, image, outside),
        "background_changed": metrics.changed_share(item.picture, image, outside),
        "background_kept": None if background is None else background >= BACKGROUND_KEPT_DB,
        "closeness_psnr": metrics.psnr(item.counterfactual, image, item.region),
        "closeness_ssim": _ssim_inside(item, image),
        "distance_to_input": metrics.rms_distance(item.picture, image),
    }


def _ssim_inside(item: TruthItem, image: Bytes) -> float | None:
    """Return the SSIM to the counterfactual inside the region.

    A pixel's value depends on its window of 11 x 11 alone, so only the region's box with half a window around it is
    looked at: the same value for a fraction of the work.
    """
    if not item.region.any():
        return None
    box = tuple(
        slice(max(0, int(places[0]) - _HALF_WINDOW), int(places[-1]) + _HALF_WINDOW + 1)
        for places in (np.flatnonzero(item.region.any(axis=1)), np.flatnonzero(item.region.any(axis=0)))
    )
    return metrics.ssim(item.counterfactual[box], image[box], item.region[box])


def _judged(item: TruthItem, outcome: Outcome, judge: Judge | None) -> Score:
    names = {
        "success": "success",
        "kept": "kept",
        "faithful": "faithful",
        "object_right": "object",
        "colour_right": "colour",
        "ground_right": "ground",
    }
    if judge is None:
        return dict.fromkeys(names)
    held = verdict(judge.look(outcome.image[None])[0], item)
    return {name: bool(getattr(held, field)) for name, field in names.items()}


def _tflop(evaluations: int, costs: Costs | None) -> float | None:
    """Return the cost of an edit: one encode, the evaluations, one decode; what runs no network encodes nothing."""
    if costs is None:
        return None
    return total(costs, evaluations) if evaluations else 0.0
