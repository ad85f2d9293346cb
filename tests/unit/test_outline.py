"""Outlines that follow the picture's edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.heldout import iou
from wordbrush.region.outline import WEIGHTS, guided, regional, smoothed


def disc(side: int, radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[0:side, 0:side] + 0.5
    inside: NDArray[np.bool_] = np.hypot(x - side / 2, y - side / 2) < radius
    return inside


def test_an_even_picture_only_smooths() -> None:
    cells = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    laid = guided(cells, np.full((64, 64, 3), 90, np.uint8), radius=8)
    assert laid.shape == (64, 64)
    assert laid.mean() == pytest.approx(cells.mean(), abs=0.02)
    assert laid.std() < cells.std()


def test_a_constant_map_stays_constant() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.abs(guided(np.full((8, 8), 0.3, np.float32), noise, radius=8) - 0.3).max() < 1e-6


def test_the_outline_snaps_to_the_object() -> None:
    """A disc seen through 8-pixel cells: its own edge is found again from the picture."""
    truth = disc(128, 37.0)
    picture = np.where(truth[..., None], (200, 60, 40), (60, 140, 80)).astype(np.uint8)
    cells = truth.reshape(16, 8, 16, 8).mean((1, 3)).astype(np.float32)
    plain = np.kron(cells > 0.5, np.ones((8, 8))) > 0
    fine = guided(cells, picture, radius=8) > 0.5
    assert iou(plain, truth) < 0.93
    assert iou(fine, truth) > 0.985


def test_a_picture_edge_without_contrast_is_no_outline() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 10:] = 255
    cells = np.zeros((8, 8), np.float32)
    cells[:, 6:] = 1.0
    laid = guided(cells, picture, radius=8)
    assert np.abs(laid[:, :24]).max() < 1e-6


def minimised(values: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same system, dense."""
    differences = np.diff(np.eye(len(values)), axis=0)
    return np.asarray(np.linalg.solve(np.eye(len(values)) + differences.T * ties @ differences, values), np.float64)


def test_one_row_is_the_minimum_of_its_sum_of_squares() -> None:
    random = np.random.default_rng(2)
    values, colours = random.random((1, 40)), random.random((1, 40, 3))
    ties = 1.5 * 9.0 / 3.0 * np.exp(-np.linalg.norm(np.diff(colours[0], axis=0), axis=-1) / 0.5)
    found = smoothed(values, colours, stiffness=9.0, contrast=0.5, rounds=1)
    assert found[0] == pytest.approx(minimised(values[0], ties), abs=1e-12)


def test_smoothing_keeps_the_mean_and_does_not_cross_a_strong_edge() -> None:
    colours = np.zeros((32, 32, 3))
    colours[:, 16:] = 1.0
    values = np.random.default_rng(3).random((32, 32))
    found = smoothed(values, colours)
    for half in (np.s_[:, :16], np.s_[:, 16:]):
        assert found[half].mean() == pytest.approx(values[half].mean(), abs=1e-6)
        assert found[half].std() < 0.15 * values[half].std()
    assert smoothed(np.full((8, 8), 0.4), colours[:8, :8]) == pytest.approx(0.4)


def test_a_turned_picture_gives_the_map_turned() -> None:
    random = np.random.default_rng(5)
    values, colours = random.random((12, 20)), random.random((12, 20, 3))
    assert smoothed(values.T, colours.transpose(1, 0, 2)) == pytest.approx(smoothed(values, colours).T, abs=1e-12)


def test_where_all_agrees_the_map_keeps_its_height() -> None:
    """An even picture and an even map: the weights of the maps sum to 1, and the colours say nothing."""
    assert WEIGHTS.guided + WEIGHTS.smoothed + WEIGHTS.around == pytest.approx(1.0)
    for height in (0.2, 3.0):
        laid = regional(np.full((8, 8), height, np.float32), np.full((64, 64, 3), 90, np.uint8), radius=8)
        assert laid == pytest.approx(height, rel=1e-4)


def test_a_multiple_of_the_map_gives_the_multiple_of_the_outline() -> None:
    random = np.random.default_rng(4)
    cells = random.random((8, 8)).astype(np.float32)
    picture = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, seven = (regional(factor * cells, picture, radius=8) for factor in (np.float32(1), np.float32(7)))
    assert seven == pytest.approx(7 * one, rel=1e-3, abs=1e-3)
    assert not regional(np.zeros((8, 8), np.float32), np.full((64, 64, 3), 90, np.uint8), radius=8).any()


def test_a_missed_part_of_an_even_ground_is_filled_from_the_rest() -> None:
    """The contrast names a ground but for one corner: its guided map leaves a hole there, the regional one does not."""
    thing = disc(128, 30.0)
    picture = np.where(thing[..., None], (200, 60, 40), (60, 140, 80)).astype(np.uint8)
    cells = 0.5 * (~thing).reshape(16, 8, 16, 8).mean((1, 3)).astype(np.float32)
    cells[:2, :2] = 0.05
    alone, whole = (lay(cells, picture, radius=8) > 0.2 for lay in (guided, regional))
    assert not alone[:9, :9].any()
    assert whole[:16, :16].all()
    assert iou(whole, ~thing) > 0.97


def test_a_shadow_is_taken_along_where_the_contrast_is_faint() -> None:
    """Two spots of one faint contrast: the darker one lies over the cut, the other below it."""
    picture = np.full((128, 128, 3), (150, 160, 140), np.uint8)
    picture[32:64, 16:48] = (60, 64, 56)
    cells = np.zeros((16, 16), np.float32)
    cells[4:8, 2:6] = cells[4:8, 10:14] = 0.14
    cells[12:14, 12:14] = 1.0
    mask = regional(cells, picture, radius=8) > 0.2
    assert mask[40:56, 24:40].mean() > 0.9
    assert mask[40:56, 88:104].mean() < 0.1
