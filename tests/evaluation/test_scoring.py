"""Scores on real items of the bench, with the bench's own judge."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from tests.support.bench import BENCH
from wordbrush.errors import InputError
from wordbrush.evaluation.flops import Costs
from wordbrush.evaluation.items import KINDS, Outcome, Scores, TruthItem
from wordbrush.evaluation.judge import Judge
from wordbrush.evaluation.metrics import ssim
from wordbrush.evaluation.scoring import BACKGROUND_KEPT_DB, METRICS, Tools, score
from wordbrush.evaluation.truth import load_truth


@lru_cache(maxsize=1)
def tools() -> Tools:
    return Tools(Judge.load(BENCH / "judge"), costs=Costs(evaluation=0.01, encode=0.2, decode=0.3, text=9.0))


@lru_cache(maxsize=1)
def items() -> tuple[TruthItem, ...]:
    return tuple(load_truth(BENCH, "dev", limit=2))


def scored(item: TruthItem, image: np.ndarray, evaluations: int = 0, **more: object) -> Scores:
    return score(item, Outcome(image, evaluations, **more), tools())  # type: ignore[arg-type]


def test_a_copy_keeps_the_background_and_succeeds_at_nothing() -> None:
    rows = [scored(item, item.picture) for item in items()]
    assert len(rows) == 2 * len(KINDS)
    for row in rows:
        assert row["background_psnr"] == 100.0
        assert row["background_max_error"] == row["background_changed"] == row["distance_to_input"] == 0.0
        assert row["background_kept"] is True
        assert row["joint"] is row["success"]
        assert row["tflop"] == row["evaluations"] == 0
    # The judge is right on inputs almost always; where it is not, a copy may look like a success.
    assert np.mean([row["success"] for row in rows]) < 0.1


def test_the_counterfactual_is_a_perfect_edit() -> None:
    rows = [scored(item, item.counterfactual, mask=item.region.astype(np.float32)) for item in items()]
    for item, row in zip(items(), rows, strict=True):
        assert row["closeness_psnr"] == 100.0
        assert row["closeness_ssim"] == pytest.approx(1.0)
        assert row["background_psnr"] == 100.0
        assert row["mask_iou"] == row["mask_precision"] == row["mask_recall"] == 1.0
        assert row["mask_area"] == pytest.approx(item.region.mean())
    assert np.mean([row["success"] for row in rows]) > 0.9
    assert np.mean([row["faithful"] for row in rows]) > 0.9


def test_a_row_has_every_metric_in_order_and_null_where_there_is_none() -> None:
    row = scored(items()[0], items()[0].picture)
    assert list(row) == list(METRICS)
    none = {name for name, value in row.items() if value is None}
    assert none == {
        *("contrast_auc", "contrast_best_iou", "mask_iou", "mask_precision", "mask_recall", "mask_area"),
        *("lpips", "seconds", "peak_memory"),
    }
    blind = score(items()[0], Outcome(items()[0].picture, 3), Tools())
    assert {name for name in METRICS if blind[name] is None} - none == {
        *("success", "kept", "faithful", "object_right", "colour_right", "ground_right", "joint", "tflop")
    }


def test_the_true_region_as_contrast_is_found_by_some_cut() -> None:
    item = items()[0]
    row = scored(item, item.picture, contrast=item.region.astype(np.float32))
    assert row["contrast_auc"] == row["contrast_best_iou"] == 1.0
    inverse = scored(item, item.picture, contrast=1 - item.region.astype(np.float32))
    assert inverse["contrast_auc"] == 0.0
    # One cell for four pixels a side, as from a latent: laid on the picture, not smoothed.
    cells = item.region[::4, ::4].astype(np.float32)
    laid = np.kron(cells, np.ones((4, 4))) > 0.5
    coarse = scored(item, item.picture, contrast=cells)
    assert coarse["contrast_best_iou"] == pytest.approx((laid & item.region).sum() / (laid | item.region).sum())


def test_noise_outside_the_region_is_measured_there_only() -> None:
    item = items()[0]
    noisy = item.counterfactual.copy()
    outside = ~item.region
    noisy[outside] = np.clip(noisy[outside].astype(int) + 20, 0, 255).astype(np.uint8)
    row = scored(item, noisy)
    error = (noisy[outside].astype(float) - item.picture[outside]) ** 2
    assert row["background_psnr"] == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert row["background_max_error"] == 20
    assert row["background_kept"] is (float(row["background_psnr"] or 0) >= BACKGROUND_KEPT_DB)
    assert row["background_kept"] is False
    assert row["joint"] is False
    assert row["closeness_psnr"] == 100.0


def test_a_success_on_a_lost_background_is_no_joint_success() -> None:
    rows = [scored(item, item.retrieved) for item in items()]
    assert all(row["joint"] is bool(row["success"] and row["background_kept"]) for row in rows)
    assert np.mean([bool(row["success"]) for row in rows]) > np.mean([bool(row["joint"]) for row in rows])


def test_ssim_looks_at_the_region_and_half_a_window_around() -> None:
    for item in items()[::5]:
        whole = ssim(item.counterfactual, item.retrieved, item.region)
        assert scored(item, item.retrieved)["closeness_ssim"] == pytest.approx(whole, rel=1e-9)


def test_work_is_counted_in_tflop() -> None:
    item = items()[0]
    row = scored(item, item.picture, evaluations=130, seconds=1.5, peak_memory=3 * 2**20)
    assert row["tflop"] == pytest.approx(130 * 0.01 + 0.2 + 0.3)
    assert (row["seconds"], row["peak_memory"], row["evaluations"]) == (1.5, 3.0, 130)


def test_lpips_is_taken_where_it_is_at_hand() -> None:
    item = items()[0]
    with_lpips = Tools(lpips=lambda a, b: float(np.abs(a.astype(float) - b).mean()))
    assert score(item, Outcome(item.picture, 0), with_lpips)["lpips"] == 0.0
    assert float(score(item, Outcome(item.retrieved, 0), with_lpips)["lpips"] or 0) > 1.0


def test_a_result_of_another_size_is_refused() -> None:
    item = items()[0]
    with pytest.raises(InputError, match=r"dev/object/000.*input's size"):
        scored(item, item.picture[:64])
    with pytest.raises(InputError, match="float"):
        scored(item, item.picture.astype(np.float32))
