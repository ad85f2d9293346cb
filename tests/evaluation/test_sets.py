"""Distances between sets: Gaussians whose distance is known, brute force, and other implementations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation.sets import ClassMeans, Moments, csfid, fid, moments, sfid

Float = NDArray[np.float64]


def covariance(seed: int, size: int, rank: int | None = None) -> Float:
    factor = np.random.default_rng(seed).normal(size=(size, rank or size))
    product: Float = factor @ factor.T
    return product


def test_fid_of_gaussians_with_diagonal_covariances_is_the_closed_form() -> None:
    """|m1 - m2|² + sum (s1 - s2)² for deviations s1, s2."""
    m1, m2 = np.array([1.0, -2.0, 0.5]), np.array([0.0, 0.0, 0.0])
    s1, s2 = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0])
    a, b = Moments(m1, np.diag(s1**2), 9), Moments(m2, np.diag(s2**2), 9)
    assert fid(a, b) == pytest.approx((m1**2).sum() + ((s1 - s2) ** 2).sum())
    assert fid(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rank", [6, 3])
def test_fid_agrees_with_the_matrix_root(rank: int) -> None:
    """Also for singular covariances, as fewer pictures than features give."""
    first, second = covariance(0, 6, rank), covariance(1, 6)
    root = scipy.linalg.sqrtm(first @ second)
    wanted = np.trace(first + second - 2 * np.real(root))
    a, b = Moments(np.zeros(6), first, 9), Moments(np.zeros(6), second, 9)
    assert fid(a, b) == pytest.approx(wanted, rel=1e-5)
    assert fid(b, a) == pytest.approx(fid(a, b))


def test_fid_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flatten(torch.nn.Module):
        num_features = 12

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).double()

    random = np.random.default_rng(2)
    first = random.normal(0, 1, (60, 12))
    second = random.normal(0.5, 2, (50, 12))
    theirs = FrechetInceptionDistance(feature=Flatten(), normalize=False).set_dtype(torch.float64)
    for values, real in ((first, True), (second, False)):
        theirs.update(torch.from_numpy(values).reshape(-1, 3, 2, 2), real=real)
    assert fid(first, second) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_fid_of_samples_approaches_that_of_their_gaussians() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0, 1, (20_000, 4)), random.normal([1, 0, 0, 0], 2, (20_000, 4))
    assert fid(first, second) == pytest.approx(1 + 4, rel=0.03)
    assert fid(moments(first), second) == fid(first, second)


def test_csfid_and_sfid_are_distances_of_means() -> None:
    reference = ClassMeans(("cat", "dog"), np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([4.0, 4.0]))
    features = np.array([[1.0, 0.0], [3.0, 0.0], [10.0, 3.0]])
    labels = ["cat", "cat", "dog"]
    assert csfid(features, labels, reference) == pytest.approx((2.0**2 + 3.0**2) / 2), "each class counts the same"
    assert sfid(features, reference) == pytest.approx((14 / 3 - 4) ** 2 + (1 - 4) ** 2)
    assert csfid(features[:2], labels[:2], reference) == pytest.approx(4.0), "only classes that are a target count"


def test_what_does_not_fit_is_refused() -> None:
    reference = ClassMeans(("cat",), np.zeros((1, 2)), np.zeros(2))
    calls: tuple[tuple[Callable[[], float], str], ...] = (
        (lambda: csfid(np.zeros((1, 2)), ["cow"], reference), "no class cow"),
        (lambda: csfid(np.zeros((2, 2)), ["cat"], reference), "one label per picture"),
        (lambda: csfid(np.zeros((1, 3)), ["cat"], reference), "different networks"),
        (lambda: sfid(np.zeros((0, 2)), reference), "at least one picture"),
        (lambda: fid(np.zeros((1, 2)), np.zeros((3, 2))), "at least two"),
        (lambda: fid(np.zeros((3, 3)), np.zeros((3, 2))), "one network"),
        (lambda: fid(np.full((3, 3), np.nan), np.zeros((3, 3))), "finite"),
    )
    for call, said in calls:
        with pytest.raises(InputError, match=said):
            call()
    with pytest.raises(InputError, match="do not fit"):
        ClassMeans(("cat",), np.zeros((2, 2)), np.zeros(2))


def test_class_means_are_saved_and_read(tmp_path: Path) -> None:
    means = ClassMeans(("kätzchen", "dog"), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2.0, 3.0]))
    means.save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "m.npz", labels=np.array(means.labels), means=means.means, overall=means.overall)
    for name in ("m.safetensors", "m.npz"):
        found = ClassMeans.load(tmp_path / name)
        assert found.labels == means.labels
        assert np.array_equal(found.means, means.means)
        assert np.array_equal(found.overall, means.overall)


def test_class_means_of_another_layout_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", labels=np.array([{"a": 1}], dtype=object), means=np.zeros((1, 2)))
    np.savez(tmp_path / "lacking.npz", labels=np.array(["a"]), means=np.zeros((1, 2)))
    np.savez(tmp_path / "shapes.npz", labels=np.array(["a"]), means=np.zeros((3, 2)), overall=np.zeros(2))
    from safetensors.numpy import save_file

    save_file({"means": np.zeros((1, 2))}, tmp_path / "bare.safetensors")
    for name in ("objects.npz", "lacking.npz", "shapes.npz", "bare.safetensors", "none.npz", "none.safetensors"):
        with pytest.raises(ModelError, match=name.split(".")[0]):
            ClassMeans.load(tmp_path / name)
