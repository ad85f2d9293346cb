"""Metrics on arrays: closed forms, brute force and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wordbrush.errors import InputError
from wordbrush.evaluation import metrics

SHAPE = (24, 20, 3)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def half() -> NDArray[np.bool_]:
    where = np.zeros(SHAPE[:2], dtype=bool)
    where[:, 11:] = True
    return where


def test_psnr_of_a_constant_error_is_its_closed_form() -> None:
    a = np.full(SHAPE, 100, np.uint8)
    b = np.full(SHAPE, 90, np.uint8)
    assert metrics.psnr(a, b) == pytest.approx(20 * math.log10(255 / 10))
    assert metrics.psnr(b, a) == metrics.psnr(a, b), "uint8 must not wrap around"


def test_psnr_looks_only_where_it_is_told() -> None:
    a, where = picture(0), half()
    b = a.copy()
    b[where] = 255 - b[where]
    assert metrics.psnr(a, b, ~where) == 100.0
    assert metrics.psnr(a, b, ~where, cap=60.0) == 60.0
    inside = np.mean((a[where].astype(float) - b[where]) ** 2)
    assert metrics.psnr(a, b, where) == pytest.approx(10 * math.log10(255**2 / inside))
    assert metrics.psnr(a, b, np.zeros_like(where)) is None


def test_psnr_and_ssim_agree_with_torchmetrics() -> None:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    a = picture(1)
    b = np.clip(a.astype(int) + np.random.default_rng(2).integers(-30, 31, SHAPE), 0, 255).astype(np.uint8)
    left, right = (torch.from_numpy(x).permute(2, 0, 1)[None].double() for x in (a, b))
    assert metrics.psnr(a, b) == pytest.approx(float(peak_signal_noise_ratio(left, right, data_range=255.0)))
    assert metrics.ssim(a, b) == pytest.approx(
        float(structural_similarity_index_measure(left, right, data_range=255.0)), abs=1e-12
    )


def test_ssim_of_two_flat_pictures_is_the_luminance_term() -> None:
    a, b = np.full(SHAPE, 100, np.uint8), np.full(SHAPE, 150, np.uint8)
    stable = (0.01 * 255) ** 2
    wanted = (2 * 100 * 150 + stable) / (100**2 + 150**2 + stable)
    assert metrics.ssim(a, b) == pytest.approx(wanted, abs=1e-9)
    assert metrics.ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert metrics.ssim(a[..., 0], b[..., 0]) == pytest.approx(wanted, abs=1e-9)


def test_ssim_of_a_part_equals_that_part_of_the_whole_map() -> None:
    """Only the surroundings of the selected pixels are looked at, which must not show."""
    from torchmetrics.functional.image.ssim import structural_similarity_index_measure as similarity

    random = np.random.default_rng(3)
    a, b = (random.integers(0, 256, (40, 52, 3)).astype(np.uint8) for _ in range(2))
    planes = [torch.from_numpy(x.astype(np.float64).transpose(2, 0, 1))[None] for x in (a, b)]
    _, full = similarity(*planes, sigma=1.5, kernel_size=11, data_range=255.0, return_full_image=True)
    for rows, columns in ((slice(0, 3), slice(0, 4)), (slice(17, 21), slice(30, 31)), (slice(35, 40), slice(2, 52))):
        where = np.zeros((40, 52), bool)
        where[rows, columns] = True
        expected = float(full[0][:, rows, columns].mean())
        assert metrics.ssim(a, b, where) == pytest.approx(expected, abs=1e-9)


def test_ssim_where_a_change_is_out_of_reach_is_one() -> None:
    a = picture(3)
    b = a.copy()
    b[:, :4] = 0
    far = np.zeros(SHAPE[:2], dtype=bool)
    far[:, 4 + 5 :] = True
    assert metrics.ssim(a, b, far) == pytest.approx(1.0, abs=1e-12)
    near, away = metrics.ssim(a, b, ~far), metrics.ssim(a, b, far)
    whole = metrics.ssim(a, b)
    assert near is not None and away is not None and whole is not None
    assert near < 0.7
    assert near * 9 / 20 + away * 11 / 20 == pytest.approx(whole), "the parts make up the whole"
    assert metrics.ssim(a, b, np.zeros_like(far)) is None


def test_errors_and_changes_are_counted_by_pixel() -> None:
    a, where = picture(4), half()
    b = a.copy()
    a[0, 0], b[0, 0] = (10, 20, 30), (10, 20, 37)
    a[1, 15], b[1, 15] = (0, 0, 0), (255, 1, 0)
    assert metrics.changed_share(a, b) == pytest.approx(2 / (24 * 20))
    assert metrics.changed_share(a, b, ~where) == pytest.approx(1 / (24 * 11))
    assert metrics.rms_distance(a, b) == pytest.approx(math.sqrt((7**2 + 255**2 + 1) / a.size) / 255)
    nothing = np.zeros_like(where)
    assert metrics.changed_share(a, b, nothing) is None


def test_rms_of_a_constant_error_is_that_error_and_looks_only_where_it_is_told() -> None:
    a, where = np.full(SHAPE, 100, np.uint8), half()
    b = a.copy()
    b[where] = 90
    assert metrics.rms(a, b, where) == pytest.approx(10.0)
    assert metrics.rms(a, b, ~where) == 0.0
    assert metrics.rms(a, b) == pytest.approx(10 * math.sqrt(9 / 20))
    assert metrics.rms(a, b, np.zeros_like(where)) is None


def test_the_band_of_a_straight_outline_has_its_width_on_either_side() -> None:
    region = np.zeros((20, 40), bool)
    region[:, 15:] = True  # to the border, which is no outline
    found = metrics.band(region, 6)
    assert found.tolist() == [[9 <= x < 21 for x in range(40)]] * 20
    np.testing.assert_array_equal(metrics.band(~region, 6), found)
    np.testing.assert_array_equal(metrics.band(region, 1)[:, 13:17], [[False, True, True, False]] * 20)


def test_the_band_of_a_single_pixel_is_a_disc_and_of_nothing_nothing() -> None:
    region = np.zeros((21, 21), bool)
    region[10, 10] = True
    y, x = np.mgrid[0:21, 0:21]
    np.testing.assert_array_equal(metrics.band(region, 6), (y - 10) ** 2 + (x - 10) ** 2 <= 36)
    for whole in (np.zeros((5, 5), bool), np.ones((5, 5), bool)):
        assert not metrics.band(whole, 6).any()


def test_black_against_white_is_as_far_as_it_goes() -> None:
    black, white = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)
    assert metrics.rms_distance(black, white) == 1.0
    assert metrics.psnr(black, white) == 0.0


def test_what_does_not_fit_is_refused() -> None:
    a = picture(5)
    with pytest.raises(InputError, match="of one size"):
        metrics.psnr(a, a[:-1])
    with pytest.raises(InputError, match="must be bool"):
        metrics.psnr(a, a, np.ones(SHAPE[:2]))
    with pytest.raises(InputError, match="too small"):
        metrics.ssim(a[:5], a[:5])
    with pytest.raises(InputError, match="ambiguous"):
        metrics.iou(np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool))
    with pytest.raises(InputError, match="NaN"):
        metrics.roc_auc(np.array([0.0, np.nan]), np.array([True, False]))


@given(st.integers(0, 2**32 - 1))
def test_mask_metrics_are_those_of_sets(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask, truth = (random.random((5, 4)) < share for share in random.random(2))
    left, right = ({tuple(p) for p in np.argwhere(x)} for x in (mask, truth))
    both = len(left & right)
    assert metrics.iou(mask, truth) == (both / len(left | right) if left | right else 1.0)
    assert metrics.precision(mask, truth) == (both / len(left) if left else float(not right))
    assert metrics.recall(mask, truth) == (both / len(right) if right else float(not left))


def test_empty_masks_are_right_only_where_nothing_is_to_find() -> None:
    none, some = np.zeros((3, 3), bool), np.eye(3, dtype=bool)
    for metric in (metrics.iou, metrics.precision, metrics.recall):
        assert (metric(none, none), metric(none, some), metric(some, none)) == (1.0, 0.0, 0.0)


def test_a_soft_mask_counts_above_one_half() -> None:
    soft = np.array([[0.5, 0.51], [1.0, 0.0]], np.float32)
    assert metrics.iou(soft, np.array([[False, True], [True, False]])) == 1.0


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=14))
def test_auc_is_the_share_of_right_pairs(cells: list[tuple[int, bool]]) -> None:
    inside = [score for score, true in cells if true]
    outside = [score for score, true in cells if not true]
    scores, truth = np.array([float(s) for s, _ in cells]), np.array([t for _, t in cells])
    area = metrics.roc_auc(scores, truth)
    if not inside or not outside:
        assert area is None
    else:
        wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
        assert area == pytest.approx(wins / (len(inside) * len(outside)), abs=1e-12)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=14))
def test_best_iou_is_the_best_of_all_cuts(cells: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([float(s) for s, _ in cells]), np.array([t for _, t in cells])
    value, cut = metrics.best_iou(scores, truth)
    cuts = [-10.0, *(s for s in scores)]
    assert value == max(metrics.iou(scores > other, truth) for other in cuts)
    assert metrics.iou(scores > cut, truth) == value, "the cut must give what is promised"


def test_a_perfect_map_scores_one_and_its_inverse_none() -> None:
    truth = np.zeros((8, 8), bool)
    truth[2:5, 3:6] = True
    assert metrics.roc_auc(truth.astype(float), truth) == 1.0
    assert metrics.roc_auc(-truth.astype(float), truth) == 0.0
    assert metrics.best_iou(truth.astype(np.float32), truth) == (1.0, 0.0)
    value, _ = metrics.best_iou(np.zeros((8, 8)), truth)
    assert value == 9 / 64, "a flat map can only select all"


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_cells_on_a_picture_are_kron_where_it_fits(rows: int, columns: int, down: int, across: int) -> None:
    cells = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    laid = metrics.on_picture(cells, (rows * down, columns * across))
    assert laid.dtype == np.float32
    assert np.array_equal(laid, np.kron(cells, np.ones((down, across))))


def test_cells_on_a_picture_of_any_size_are_the_nearest() -> None:
    assert metrics.on_picture(np.array([[1, 2, 3]]), (2, 5)).tolist() == [[1, 1, 2, 3, 3]] * 2
    with pytest.raises(InputError, match="rows, columns"):
        metrics.on_picture(np.zeros((0, 3)), (4, 4))
