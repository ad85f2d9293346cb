"""Scores on real items of the bench, with the bench's own judge and a critic of a closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests.support.bench import BENCH
from wordbrush.errors import InputError
from wordbrush.evaluation.flops import Costs
from wordbrush.evaluation.items import KINDS, Outcome, Scores, TruthItem
from wordbrush.evaluation.judge import Judge
from wordbrush.evaluation.metrics import band, ssim
from wordbrush.evaluation.scoring import BAND, METRICS, REST_RMS, Tools, score
from wordbrush.evaluation.truth import load_truth


@dataclass(frozen=True)
class Seen:
    """What a critic says of a picture."""

    faults: np.ndarray
    score: float
    clean: bool


class WhiteCritic:
    """Takes pure white for a fault: the score is its share of the picture."""

    def look(self, pictures: np.ndarray) -> list[Seen]:
        faults = (pictures == 255).all(axis=-1).astype(np.float32)
        return [Seen(one, float(one.mean()), not one.any()) for one in faults]


@lru_cache(maxsize=1)
def tools() -> Tools:
    critic: Any = WhiteCritic()
    costs = Costs(evaluation=0.01, encode=0.2, decode=0.3, text=9.0)
    return Tools(Judge.load(BENCH / "judge"), critic, costs=costs)


@lru_cache(maxsize=1)
def items() -> tuple[TruthItem, ...]:
    return tuple(load_truth(BENCH, "dev", limit=2))


def scored(item: TruthItem, image: np.ndarray, evaluations: int = 0, **more: object) -> Scores:
    return score(item, Outcome(image, evaluations, **more), tools())  # type: ignore[arg-type]


def test_a_copy_keeps_the_background_and_succeeds_at_nothing() -> None:
    rows = [scored(item, item.picture) for item in items()]
    assert len(rows) == 2 * len(KINDS)
    for row in rows:
        assert row["background_rms"] == row["background_changed"] == row["distance_to_input"] == 0.0
        assert row["untouched"] is True
        assert row["background_psnr"] is None  # told apart, not counted as a number of dB
        assert float(row["rms"] or 0) > 0
        assert row["tflop"] == row["evaluations"] == 0
    # The judge is right on inputs almost always; where it is not, a copy may look like a success.
    assert np.mean([row["success"] for row in rows]) < 0.1


def test_the_counterfactual_is_a_perfect_edit() -> None:
    rows = [scored(item, item.counterfactual, mask=item.region.astype(np.float32)) for item in items()]
    for item, row in zip(items(), rows, strict=True):
        assert row["closeness_psnr"] == 100.0
        assert row["closeness_ssim"] == pytest.approx(1.0)
        assert row["rms"] == row["band_rms"] == row["outside_changed"] == 0.0
        assert row["untouched"] is True
        assert row["mask_iou"] == row["mask_precision"] == row["mask_recall"] == 1.0
        assert row["mask_area"] == pytest.approx(item.region.mean())
    assert np.mean([row["success"] for row in rows]) > 0.9
    assert np.mean([row["kept"] for row in rows]) > 0.9


def test_a_row_has_every_metric_in_order_and_null_where_there_is_none() -> None:
    row = scored(items()[0], items()[0].picture)
    assert list(row) == list(METRICS)
    none = {name for name, value in row.items() if value is None}
    assert none == {
        *("contrast_auc", "contrast_best_iou", "mask_iou", "mask_precision", "mask_recall", "mask_area"),
        *("mask_ceiling", "outside_changed", "added", "background_psnr", "lpips", "seconds", "peak_memory"),
    }
    blind = score(items()[0], Outcome(items()[0].picture, 3), Tools())
    assert {name for name in METRICS if blind[name] is None} - none == {
        *("success", "kept", "critic", "clean", "object_right", "colour_right", "ground_right", "tflop")
    }
    careless = score(items()[0], Outcome(items()[0].picture, 3), replace(tools(), critic=None))
    assert careless["success"] is not None
    assert careless["critic"] is careless["clean"] is None


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
    assert row["background_rms"] == pytest.approx(np.sqrt(error.mean()))
    assert row["untouched"] is False
    assert row["closeness_psnr"] == 100.0
    whole = (noisy.astype(float) - item.counterfactual) ** 2
    assert row["rms"] == pytest.approx(np.sqrt(whole.mean()))
    assert row["band_rms"] == pytest.approx(np.sqrt(whole[band(item.region, BAND)].mean()))


def test_bytes_outside_a_soft_mask_are_counted_where_it_is_nothing() -> None:
    item = items()[0]
    mask = np.zeros(item.region.shape, np.float32)
    mask[20:40, 20:40], mask[40:44, 20:40] = 1.0, 0.1
    image = item.picture.copy()
    image[20:44, 20:40] ^= 255
    assert scored(item, image, mask=mask)["outside_changed"] == 0.0
    image[0, :16, 1] ^= 1
    share = 16 / (128 * 128 - 24 * 20)
    assert scored(item, image, mask=mask)["outside_changed"] == pytest.approx(share)
    assert scored(item, image)["outside_changed"] is None
    assert scored(item, image, mask=np.ones_like(mask))["outside_changed"] is None


def test_clean_is_success_kept_and_no_fault() -> None:
    good = next(item for item in items() if scored(item, item.counterfactual)["success"])
    assert not (good.counterfactual == 255).all(axis=-1).any()
    assert scored(good, good.counterfactual)["clean"] is True
    spoiled = good.counterfactual.copy()
    spoiled[0, :32] = 255
    row = scored(good, spoiled)
    assert row["critic"] == pytest.approx(32 / 128**2)
    assert (row["success"], row["clean"]) == (True, False)
    assert scored(good, good.picture)["clean"] is False


def added(item: TruthItem, image: np.ndarray, mask: np.ndarray | None) -> float | bool | None:
    return scored(item, image, mask=None if mask is None else mask.astype(np.float32))["added"]


def test_an_addition_counts_where_it_is_clean_inside_the_mask_and_leaves_the_rest() -> None:
    item = next(i for i in items() if i.kind == "addition" and scored(i, i.counterfactual)["clean"])
    wide = item.region.copy()
    wide[:, 60:90] = True  # neither the overlap of the mask nor the place of the thing counts
    assert added(item, item.counterfactual, wide) is True
    assert added(item, item.picture, wide) is False  # nothing was added
    assert added(item, item.counterfactual, np.zeros_like(wide)) is False  # it stands outside the mask
    shifted = np.clip(item.counterfactual.astype(int) + np.where(wide, 0, int(REST_RMS))[..., None], 0, 254)
    assert added(item, shifted.astype(np.uint8), wide) is True  # as much as an autoencoder costs
    more = np.clip(item.counterfactual.astype(int) + np.where(wide, 0, 2 * int(REST_RMS))[..., None], 0, 254)
    assert added(item, more.astype(np.uint8), wide) is False
    assert added(item, item.counterfactual, None) is None
    assert added(items()[0], items()[0].counterfactual, items()[0].region) is None


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
