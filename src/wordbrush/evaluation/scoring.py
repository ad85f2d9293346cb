"""Score one outcome against the truth of its item, as one row of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wordbrush.errors import InputError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.flops import Costs, total
from wordbrush.evaluation.items import Bool, Bytes, Outcome, Scores, TruthItem
from wordbrush.evaluation.judge import verdict

if TYPE_CHECKING:
    from wordbrush.evaluation.critic import Critic
    from wordbrush.evaluation.judge import Judge

__all__ = ["BAND", "METRICS", "REST_RMS", "Metric", "Tools", "score"]

BAND: Final = 6
"""Pixels on either side of the true region's outline that `band_rms` looks at."""
REST_RMS: Final = 8.0
"""What lies outside the mask of an addition counts as unchanged up to this rms (of 255; 30 dB), which is what passing
through the pocket autoencoder costs. So a method that copies no pixels can pass."""

@dataclass(frozen=True)
class Metric:
    """How reports show a metric.

    Attributes:
        label: a few words, with the unit.
        higher: whether more is better; None where neither is.
        decimals: to show.
        timed: depends on the machine and the moment.
        scope: where its mean over several kinds is to be looked at; see `summary.SCOPES`.
    """

    label: str
    higher: bool | None = True
    decimals: int = 3
    timed: bool = False
    scope: str = "all"


METRICS: Final[Mapping[str, Metric]] = {
    "contrast_auc": Metric("contrast: area under ROC"),
    "contrast_best_iou": Metric("contrast: IoU at the best cut"),
    "mask_iou": Metric("mask: IoU"),
    "mask_ceiling": Metric("mask: ceiling of the IoU", None),
    "mask_precision": Metric("mask: precision"),
    "mask_recall": Metric("mask: recall"),
    "mask_area": Metric("mask: share of the picture", None),
    "outside_changed": Metric("outside the mask: pixels with other bytes", higher=False),
    "rms": Metric("rms to the counterfactual (of 255)", higher=False, decimals=1, scope="determined"),
    "band_rms": Metric(f"rms within {BAND} pixels of the outline", higher=False, decimals=1, scope="determined"),
    "success": Metric("success: what should change did"),
    "kept": Metric("kept: what should stay did"),
    "critic": Metric("critic: faults seen", higher=False),
    "clean": Metric("clean: success, kept, and no fault seen"),
    "added": Metric("added: clean, and all else unchanged", scope="addition"),
    "object_right": Metric("objects right"),
    "colour_right": Metric("colours right"),
    "ground_right": Metric("ground and time right"),
    "background_rms": Metric("background: rms (of 255)", higher=False, decimals=1),
    "background_psnr": Metric("background: PSNR where it changed (dB)", decimals=1),
    "background_changed": Metric("background: share of changed pixels", higher=False),
    "untouched": Metric("untouched: no byte of the background changed", None),
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
    """The judge, the critic, costs and LPIPS for scoring; where one is None, so are its metrics.

    Attributes:
        judge: reads what pictures show.
        critic: sees how well they are drawn.
        lpips: perceptual distance of two pictures (height, width, RGB).
        costs: of the model at the item's size.
    """

    judge: Judge | None = None
    critic: Critic | None = None
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
        `closeness` looks inside the true region, `background` outside, `outside` at pixels that the method's own mask
        leaves out wholly, `rms`, `distance_to_input` and `lpips` at all. `added` is of additions only.

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
        **_judged(item, outcome, tools),
        "lpips": None if tools.lpips is None else float(tools.lpips(item.picture, outcome.image)),
        "evaluations": outcome.evaluations,
        "tflop": _tflop(outcome.evaluations, tools.costs),
        "seconds": outcome.seconds,
        "peak_memory": None if outcome.peak_memory is None else outcome.peak_memory / 2**20,
    }
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
    mask, names = outcome.mask, ("mask_iou", "mask_ceiling", "mask_precision", "mask_recall", "mask_area")
    if mask is None:
        return dict.fromkeys(names)
    values = (
        metrics.iou(mask, item.region),
        item.ceiling,
        metrics.precision(mask, item.region),
        metrics.recall(mask, item.region),
        float((mask > 0.5).mean()),
    )
    return dict(zip(names, values, strict=True))


def _pixels(item: TruthItem, outcome: Outcome) -> Scores:
    image, outside, rest = outcome.image, ~item.region, _rest(outcome)
    changed = metrics.changed_share(item.picture, image, outside)
    untouched = None if changed is None else changed == 0.0
    return {
        "outside_changed": None if rest is None else metrics.changed_share(item.picture, image, rest),
        "rms": metrics.rms(item.counterfactual, image),
        "band_rms": metrics.rms(item.counterfactual, image, metrics.band(item.region, BAND)),
        "background_rms": metrics.rms(item.picture, image, outside),
        "background_psnr": None if untouched else metrics.psnr(item.picture, image, outside),
        "background_changed": changed,
        "untouched": untouched,
        "closeness_psnr": metrics.psnr(item.counterfactual, image, item.region),
        "closeness_ssim": metrics.ssim(item.counterfactual, image, item.region),
        "distance_to_input": metrics.rms_distance(item.picture, image),
    }


def _rest(outcome: Outcome) -> Bool | None:
    """Return the pixels that the method's mask leaves out wholly; None where it has no mask."""
    return None if outcome.mask is None else outcome.mask == 0


def _judged(item: TruthItem, outcome: Outcome, tools: Tools) -> Scores:
    names = {
        "success": "success",
        "kept": "kept",
        "object_right": "object",
        "colour_right": "colour",
        "ground_right": "ground",
    }
    seen: Scores = dict.fromkeys((*names, "critic", "clean", "added"))
    if tools.judge is not None:
        held = verdict(tools.judge.look(outcome.image[None])[0], item)
        seen |= {name: bool(getattr(held, field)) for name, field in names.items()}
    if tools.critic is not None:
        critique = tools.critic.look(outcome.image[None])[0]
        seen["critic"] = float(critique.score)
        if tools.judge is not None:
            clean = bool(seen["success"] and seen["kept"] and critique.clean)
            seen |= {"clean": clean, "added": _added(item, outcome, clean=clean)}
    return seen


def _added(item: TruthItem, outcome: Outcome, *, clean: bool) -> bool | None:
    """Whether an addition is there and clean, and all that the method's own mask leaves out is as it was.

    Where a new thing stands is drawn at random and in no text, so neither the place nor the counterfactual counts.
    None for other kinds, and for methods without a mask.
    """
    rest = _rest(outcome)
    if item.kind != "addition" or rest is None:
        return None
    change = metrics.rms(item.picture, outcome.image, rest)
    return clean and (change is None or change <= REST_RMS)


def _tflop(evaluations: int, costs: Costs | None) -> float | None:
    """Return the cost of an edit: one encode, the evaluations, one decode; 0 for a method that runs no network."""
    if costs is None:
        return None
    return total(costs, evaluations) if evaluations else 0.0
