"""Raw contrast maps to test with."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wordbrush.region.threshold import Contrast, Rescale, rescale

Map = NDArray[np.float32]

maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(0, 8, width=32).map(lambda v: round(v * 8) / 8),
)
"""Raw maps of any size with many equal values among them."""


def contrast_of(raw: Map, how: Rescale = "percentile") -> Contrast:
    return Contrast(raw, rescale(raw, how))


def bump(height: int = 8, width: int = 8) -> Map:
    """A smooth hill on a floor, all values different."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    hill: Map = (np.exp(-((y - 2.9) ** 2 + (x - 4.3) ** 2) / 6.0) + 0.001 * x + 0.0003 * y + 0.1).astype(np.float32)
    return hill
