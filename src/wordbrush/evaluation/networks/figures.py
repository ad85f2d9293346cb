"""Figures of metric networks: a value with the network and preparation that gave it, or why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wordbrush.evaluation.intervals import Interval

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.preparing import Preparation

__all__ = ["Card", "Described", "FeatureNetwork", "Figure", "Pictures", "Skipped"]

Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Pictures of (height, width, RGB), 0 to 255, of any sizes."""


@dataclass(frozen=True)
class Skipped:
    """A network that cannot be loaded here, and why; reports show the reason in place of the figure.

    Attributes:
        kind: which network, such as `lpips`.
        reason: what is missing and what to do about it.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Card:
    """The identity of a metric network.

    Attributes:
        backbone: architecture and size.
        source: folder, file or hub id as the user named it.
        revision: hub commit, or "".
        weights_sha256: digest of the weight files (`wordbrush.models.checkpoint.digests.digest_files`).
        implementation: whose code computed it, with version where it is not this package's.
    """

    backbone: str
    source: str
    revision: str
    weights_sha256: str
    implementation: str


class Described(Protocol):
    """A network that can tell a figure its identity and its picture preparation."""

    @property
    def card(self) -> Card:
        """The network's identity."""

    @property
    def preparation(self) -> Preparation:
        """The preparation of pictures for the network, unless a call names another."""


class FeatureNetwork(Described, Protocol):
    """A network that maps a picture to one feature vector: for FID and CSFID."""

    def features(self, pictures: Pictures) -> NDArray[np.float64]:
        """Return one feature vector per picture, (picture, feature)."""


@dataclass(frozen=True)
class Figure:
    """One number of a report, with everything that is needed to compare it with another report's.

    Attributes:
        metric: name, such as `lpips` or `fid`.
        value: the number, or None where the metric was skipped.
        n: number of items behind it.
        interval: confidence interval over the items, where items have values of their own.
        backbone: of the metric network, or "" for a metric without one.
        weights_sha256: of the metric network.
        resize: how pictures were brought to the network's size.
        preprocessing: everything that was done to the pictures, resizing included.
        implementation: whose code computed it.
        skipped: why there is no value, or "".
    """

    metric: str
    value: float | None
    n: int = 0
    interval: Interval | None = None
    backbone: str = ""
    weights_sha256: str = ""
    resize: str = ""
    preprocessing: str = ""
    implementation: str = "wordbrush"
    skipped: str = ""

    @classmethod
    def mean(
        cls,
        metric: str,
        found: Interval | None,
        network: Described | None = None,
        preparation: Preparation | None = None,
    ) -> Figure:
        """Return the figure of a mean over items.

        Args:
            metric: its name.
            found: the mean with its interval; None where no item has a value, and then the figure says so.
            network: which computed the values.
            preparation: if another than the network's own was used.
        """
        if found is None:
            return cls(metric, None, skipped="no item has a value for this metric")
        return cls(metric, found.mean, found.n, found, **_origin(network, preparation))

    @classmethod
    def whole(
        cls, metric: str, value: float, n: int, network: Described | None = None, preparation: Preparation | None = None
    ) -> Figure:
        """Return a figure of a whole set, such as FID, where single items have no value."""
        return cls(metric, value, n, **_origin(network, preparation))

    @classmethod
    def missing(cls, metric: str, why: Skipped | str) -> Figure:
        """Return the figure that stands where a metric could not be computed."""
        return cls(metric, None, implementation="", skipped=why if isinstance(why, str) else why.reason)

    def to_json(self) -> dict[str, Any]:
        """Return the figure as plain values for a JSON report."""
        return asdict(self)


def _origin(network: Described | None, preparation: Preparation | None) -> dict[str, Any]:
    if network is None:
        return {}
    used = preparation or network.preparation
    card = network.card
    return {
        "backbone": card.backbone,
        "weights_sha256": card.weights_sha256,
        "implementation": card.implementation,
        "resize": used.resize_text,
        "preprocessing": used.text,
    }
