"""Outlines that follow the picture's edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.heldout import iou
from wordbrush.region.outline import guided


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
