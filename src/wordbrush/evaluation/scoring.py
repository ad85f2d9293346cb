"""Score one outcome against the truth of its item, as one row of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wordbrush.errors import InputError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.flops import Costs, total
from wordbrush.evaluation.items import Bytes, Outcome, Scores, TruthItem
from wordbrush.evaluation.judge import verdict

if TYPE_CHECKING:
    from wordbrush.evaluation.judge import Judge

__all__ = ["BACKGROUND_KEPT_DB", "METRICS", "Metric", "Tools", "score"]

BACKGROUND_KEPT_DB: Final = 25.0
"""A background counts as kept from this PSNR on. A round trip through the pocket autoencoder alone is about 30 dB, so
a method that repaints nothing outside the region passes even without copying pixels, and one that shifts colours or
moves things there does not."""

@dataclass(frozen=True)
class Metric:
    """How reports show a metric.

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


METRICS: Final[Mapping[str, Metric]] = {
    "contrast_auc": Metric("contrast: area under ROC"),
    "contrast_best_iou": Metric("contrast: IoU at the best cut"),
    "mask_iou": Metric("mask: IoU"),
    "mask_precision": Metric("mask: precision"),
    "mask_recall": Metric("mask: recall"),
    "mask_area": Metric("mask: share of the picture", None),
    "background_psnr": Metric("background: PSNR (dB)", decimals=1),
    "background_max_error": Metric("background: largest error (of 255)", higher=False, decimals=0),
    "background_changed": Metric("background: share of changed pixels", higher=False),
    "background_kept": Metric(f"background kept (PSNR of {BACKGROUND_KEPT_DB:.0f} dB or more)"),
    "success": Metric("success: what should change did"),
    "kept": Metric("kept: what should stay did"),
    "faithful": Metric("faithful: success and kept"),
    "object_right": Metric("objects right"),
    "colour_right": Metric("colours right"),
    "ground_right": Metric("ground and time right"),
    "joint": Metric("joint: success and background kept"),
    "closeness_psnr": Metric("closeness to the counterfactual: PSNR (dB)", decimals=1),
    "closeness_ssim": Metric("closeness to the counterfactual: SSIM"),
    "distance_to_input": Metric("distance to the input (RMS)", None),
    "lpips": Metric("LPIPS to the input", higher=False),
    "evaluations": Metric("network evaluations", higher=False, decimals=0),
    "tflop": Metric("TFLOP", higher=False),
    "seconds": Metric("seconds", higher=False, decimals=2, timed=True),
    "peak_memory": Metric("peak memory (MiB)", higher=False, decimals=1, timed=True),
}
"""Every metric of a row, in the order of the reports."""


@dataclass(frozen=True, eq=False)
class Tools:
    """The judge, costs and LPIPS for scoring; where one is None, so are its metrics.

    Attributes:
        judge: reads pictures.
        lpips: perceptual distance of two pictures (height, width, RGB).
        costs: of the model at the item's size.
    """

    judge: Judge | None = None
    lpips: Callable[[Bytes, Bytes], float] | None = None
    costs: Costs | None = None


def score(item: TruthItem, outcome: Outcome, tools: Tools) -> Scores:
    """Score an outcome against the truth of its item.

    Args:
        item: one edit of the truth bench.
        outcome: a method's result on the item.
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
    scores: Scores = {
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
    success, background = scores["success"], scores["background_kept"]
    scores["joint"] = None if success is None or background is None else bool(success and background)
    return {name: scores[name] for name in METRICS}


def _contrast(item: TruthItem, outcome: Outcome) -> Scores:
    if outcome.contrast is None:
        return {"contrast_auc": None, "contrast_best_iou": None}
    laid = metrics.on_picture(outcome.contrast, item.region.shape)
    return {
        "contrast_auc": metrics.roc_auc(laid, item.region),
        "contrast_best_iou": metrics.best_iou(laid, item.region)[0],
    }


def _mask(item: TruthItem, outcome: Outcome) -> Scores:
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


def _pixels(item: TruthItem, outcome: Outcome) -> Scores:
    image, outside = outcome.image, ~item.region
    background = metrics.psnr(item.picture, image, outside)
    return {
        "background_psnr": background,
        "background_max_error": metrics.largest_error(item.picture, image, outside),
        "background_changed": metrics.changed_share(item.picture, image, outside),
        "background_kept": None if background is None else background >= BACKGROUND_KEPT_DB,
        "closeness_psnr": metrics.psnr(item.counterfactual, image, item.region),
        "closeness_ssim": metrics.ssim(item.counterfactual, image, item.region),
        "distance_to_input": metrics.rms_distance(item.picture, image),
    }


def _judged(item: TruthItem, outcome: Outcome, judge: Judge | None) -> Scores:
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
    """Return the cost of an edit: one encode, the evaluations, one decode; 0 for a method that runs no network."""
    if costs is None:
        return None
    return total(costs, evaluations) if evaluations else 0.0
