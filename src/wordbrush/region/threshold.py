"""The contrast as a map: rescaled to [0, 1] for one picture, and cut to a mask.

The raw map, its rescaled form and the threshold are three separate steps, so that a new threshold runs no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import SettingsError
from wordbrush.picture.fit import FitPlan
from wordbrush.region.mask import Mask
from wordbrush.settings import RULES, Rescale, Rule, check_threshold

__all__ = ["Contrast", "Rescale", "Rule", "otsu", "rescale"]

FLAT = 1e-6
"""A raw map whose spread is below this share of its largest value holds no place: nothing is found on it."""

TIE = 1e-4
"""Cells this near to the cut may fall on the other side on other hardware."""


def rescale(
    raw: NDArray[np.float32], how: Rescale = "percentile", *, clip: float = 1.0, ratio: float = 3.0
) -> NDArray[np.float32]:
    """Bring a raw map to [0, 1], for this picture alone. A flat map becomes all zeros.

    Args:
        raw: (height, width), not negative.
        how: `percentile` clips `clip` percent at both ends, then maps smallest to largest onto [0, 1]; `iqr` clips
            above the third quartile plus 1.5 interquartile ranges; `minmax` clips nothing; `ratio` divides by `ratio`
            times the mean and clips at 1, so that the threshold 0.5 means `ratio / 2` times the mean, the rule of
            diffusers.
        clip: percent in [0, 50).
        ratio: above 0.
    """
    peak = float(raw.max(initial=0.0))
    if peak - float(raw.min(initial=peak)) <= FLAT * peak:
        return np.zeros_like(raw)
    if how == "ratio":
        return _unit(raw / (ratio * raw.mean()))
    if how == "percentile":
        low, high = np.percentile(raw, [clip, 100.0 - clip])
    elif how == "iqr":
        first, third = np.percentile(raw, [25.0, 75.0])
        low, high = float(raw.min()), min(third + 1.5 * (third - first), peak)
    else:
        low, high = float(raw.min()), peak
    if high <= low:  # the clip took all that stood out
        low, high = float(raw.min()), peak
    return _unit((raw - low) / (high - low))


def _unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(np.clip(values, 0.0, 1.0), np.float32)


def otsu(values: NDArray[np.float32]) -> float:
    """Return the cut that separates two classes best: largest variance between them (Otsu 1979), on exact values.

    Cells above the cut form the upper class. All-equal values give that value, so that nothing lies above.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    if ordered.size < 2:
        return float(ordered[0]) if ordered.size else 1.0
    count = np.arange(1, ordered.size)
    total = np.cumsum(ordered)
    lower, upper = total[:-1] / count, (total[-1] - total[:-1]) / (ordered.size - count)
    between = count * (ordered.size - count) * (upper - lower) ** 2
    if not between.max() > 0.0:
        return float(ordered[-1])
    best = int(between.argmax())
    return float((ordered[best] + ordered[best + 1]) / 2)


@dataclass(frozen=True, eq=False)
class Contrast:
    """How much two texts disagree at each latent cell of one picture.

    Attributes:
        raw: (height, width) latent cells, float32, not negative.
        soft: the same rescaled to [0, 1]; all zeros where the raw map is flat.
    """

    raw: NDArray[np.float32]
    soft: NDArray[np.float32]

    @property
    def is_flat(self) -> bool:
        """Whether the texts disagree nowhere in particular: every threshold then gives an empty mask."""
        return not bool(self.soft.any())

    def on_picture(self, fit: FitPlan) -> NDArray[np.float32]:
        """Stretch the soft map to the picture, where the mask lies, too.

        Args:
            fit: how the picture lies on the model's canvas.

        Returns:
            (height, width) of the picture, float32 in [0, 1].
        """
        canvas = Mask.from_array(self.soft).resize(fit.canvas, "linear")
        return np.clip(fit.inverse(canvas.values, "linear"), 0.0, 1.0).astype(np.float32)

    def cut(self, value: float | None = None, rule: Rule = "fixed") -> tuple[NDArray[np.float32], float]:
        """Return the map a rule looks at and its cut; the mask is what lies above it.

        Args:
            value: the rule's number, see `settings.RULES`; by default the rule's own.
            rule: one of those. `ratio` looks at the raw map, the others at the soft one.

        Raises:
            SettingsError: unknown rule, or value out of range.
        """
        if rule not in RULES:
            raise SettingsError(f"unknown threshold rule {rule!r}: known are {', '.join(RULES)}")
        number = RULES[rule].default if value is None else float(value)
        check_threshold(rule, number)
        if rule == "ratio":
            return self.raw, number * float(self.raw.mean())
        if rule == "fixed":
            return self.soft, number
        if rule == "otsu":
            return self.soft, otsu(self.soft) + number
        return self.soft, float(np.quantile(self.soft, number if rule == "quantile" else 1.0 - number))

    def threshold(self, value: float | None = None, rule: Rule = "fixed") -> Mask:
        """Return the binary mask of the latent cells above the cut; see `cut`. A higher cut gives a subset."""
        values, cut = self.cut(value, rule)
        if self.is_flat:
            return Mask.empty(cast("tuple[int, int]", self.soft.shape[::-1]))
        return Mask.from_array(values > cut)

    def ties(self, value: float | None = None, rule: Rule = "fixed") -> int:
        """Count the cells within 1e-4 of the cut: on other hardware they may fall on its other side."""
        values, cut = self.cut(value, rule)
        return int((np.abs(values - cut) < TIE).sum())
