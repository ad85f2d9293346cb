"""Distances between sets of pictures, from features: FID, and FlexIT's SFID and CSFID.

Features are (picture, feature) arrays of any network; the numbers of two networks must never be compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError, ModelError
from wordbrush.files import write_atomic
from wordbrush.models.checkpoint.weights import read_header

__all__ = ["ClassMeans", "Moments", "csfid", "fid", "moments", "sfid"]

Float = NDArray[np.float64]

_LABELS = "labels"


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (feature,) and covariance (feature, feature; divided by n - 1) of the features of n pictures."""

    mean: Float
    covariance: Float
    n: int


def moments(features: NDArray[Any]) -> Moments:
    """Return mean and covariance of (picture, feature).

    Raises:
        InputError: there are fewer than two pictures, or a value is not finite.
    """
    values = _features(features)
    if len(values) < 2:
        raise InputError(f"{len(values)} picture has no covariance: FID needs at least two, and thousands to mean much")
    return Moments(values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False)), len(values))


def fid(first: NDArray[Any] | Moments, second: NDArray[Any] | Moments) -> float:
    """Return the Fréchet distance of two Gaussians with the sets' moments (Heusel et al. 2017), 0 or more.

    |m1 - m2|² + tr(C1) + tr(C2) - 2 tr((C1 C2)^1/2). The last trace is that of (C1^1/2 C2 C1^1/2)^1/2, which is
    symmetric: two eigendecompositions in float64, real and stable also where a covariance is singular.
    With n pictures the expectation is too high by a term of order 1/n: only compare FIDs over equal numbers.

    Raises:
        InputError: the features' lengths differ, or as `moments`.
    """
    one, other = (value if isinstance(value, Moments) else moments(value) for value in (first, second))
    if one.mean.shape != other.mean.shape:
        raise InputError(f"features of {len(one.mean)} and of {len(other.mean)} values: take one network for both sets")
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ other.covariance @ root).clip(min=0)).sum()
    apart = float(((one.mean - other.mean) ** 2).sum())
    return max(0.0, apart + float(np.trace(one.covariance) + np.trace(other.covariance) - 2 * overlap))


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean features of a reference set, such as ImageNet's training pictures.

    Attributes:
        labels: the classes.
        means: mean feature of each, (class, feature).
        overall: mean feature of all pictures, (feature,).
    """

    labels: tuple[str, ...]
    means: Float
    overall: Float

    def __post_init__(self) -> None:
        """Refuse labels and means that do not fit together."""
        if self.means.shape != (len(self.labels), *self.overall.shape) or self.overall.ndim != 1:
            raise InputError(
                f"{len(self.labels)} labels, class means of {self.means.shape} and an overall mean of "
                f"{self.overall.shape} do not fit: (class, feature) and (feature,) are needed"
            )

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write as safetensors: `means`, `overall`, and the labels as JSON in the metadata.

        Raises:
            OutputError: the file exists and `force` is false, or it cannot be written.
        """
        from safetensors.numpy import save

        tensors = {"means": np.ascontiguousarray(self.means), "overall": np.ascontiguousarray(self.overall)}
        write_atomic(path, save(tensors, {_LABELS: json.dumps(self.labels)}), force=force)

    @classmethod
    def load(cls, path: Path) -> ClassMeans:
        """Read a file that `save` wrote, or an .npz with `labels`, `means` and `overall` (no objects in it).

        Raises:
            ModelError: the file is missing, damaged, or of another layout.
        """
        if path.suffix.lower() == ".npz":
            tensors, labels = _from_npz(path)
        else:
            tensors, labels = _from_safetensors(path)
        try:
            means, overall = (np.asarray(tensors[name], np.float64) for name in ("means", "overall"))
            return cls(labels, means, overall)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: no class means: {error}") from error

def csfid(features: NDArray[Any], labels: Sequence[str], reference: ClassMeans) -> float:
    """Return FlexIT's class-conditional simplified FID, 0 or more.

    The mean over target classes of |m_c - r_c|², with m_c the mean feature of the edits whose target is c and r_c
    the reference's mean of that class. No covariance enters, so it is no Fréchet distance.

    Args:
        features: of the edited pictures, (picture, feature).
        labels: target class of each.
        reference: must know every target class.

    Raises:
        InputError: numbers do not fit, or a class is unknown.
    """
    values = _features(features)
    if len(labels) != len(values) or not len(values):
        raise InputError(f"{len(values)} features and {len(labels)} labels: give one label per picture")
    place: Mapping[str, int] = {label: index for index, label in enumerate(reference.labels)}
    if unknown := sorted(set(labels) - set(place)):
        raise InputError(f"the reference has no class {', '.join(unknown[:5])}: use statistics of the same classes")
    _same_length(values, reference)
    targets = np.array([place[label] for label in labels])
    return float(
        np.mean([((values[targets == c].mean(axis=0) - reference.means[c]) ** 2).sum() for c in np.unique(targets)])
    )


def sfid(features: NDArray[Any], reference: ClassMeans) -> float:
    """Return FlexIT's simplified FID: |mean feature - the reference's overall mean|², 0 or more.

    Raises:
        InputError: there is no picture, or the features' lengths differ.
    """
    values = _features(features)
    if not len(values):
        raise InputError("SFID needs at least one picture")
    _same_length(values, reference)
    return float(((values.mean(axis=0) - reference.overall) ** 2).sum())


def _same_length(values: Float, reference: ClassMeans) -> None:
    if values.shape[1] != len(reference.overall):
        raise InputError(
            f"features of {values.shape[1]} values and a reference of {len(reference.overall)}: they come from "
            "different networks"
        )


def _features(features: NDArray[Any]) -> Float:
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(f"features of shape {values.shape}: finite numbers of (picture, feature) are needed")
    return values


def _from_npz(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file), tuple(str(label) for label in file[_LABELS])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read as class means: {error}") from error


def _from_safetensors(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    from safetensors.numpy import load_file

    try:
        labels: Iterable[Any] = json.loads(read_header(path).metadata[_LABELS])
        return load_file(path), tuple(str(label) for label in labels)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: no labels in the metadata: {error}") from error
