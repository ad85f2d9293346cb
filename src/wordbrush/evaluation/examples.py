"""Example pictures for the report: result, contrast and mask of a variant on an item, in one PNG."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wordbrush.evaluation.items import Bytes, Float, Outcome
from wordbrush.evaluation.metrics import on_picture
from wordbrush.files import make_folder, write_atomic
from wordbrush.pages.report import png_of

if TYPE_CHECKING:
    from wordbrush.evaluation.plan import Row

__all__ = ["Example", "choose", "example_path", "keep_example", "read_example"]

FOLDER = "pictures"


@dataclass(frozen=True, eq=False)
class Example:
    """The pictures of one outcome.

    Attributes:
        result: (height, width, RGB).
        contrast: (height, width) in [0, 1], scaled by its own largest value; all 0 where there was none.
        mask: (height, width) in [0, 1]; all 0 where there was none.
    """

    result: Bytes
    contrast: Float
    mask: Float


def example_path(out: Path, variant: str, item: str) -> Path:
    """Return the file of the example of a variant on an item; any names give a valid path."""
    plain = re.sub(r"[^a-z0-9.=]+", "-", variant.lower()).strip("-.")[:60]
    mark = hashlib.sha256(variant.encode()).hexdigest()[:8]
    return out / FOLDER / f"{plain}-{mark}" / (re.sub(r"[^a-z0-9]+", "-", item.lower()) + ".png")


def keep_example(out: Path, variant: str, item: str, outcome: Outcome) -> None:
    """Write result | contrast | mask side by side as one PNG.

    Raises:
        OutputError: it cannot be written.
    """
    size = outcome.image.shape[:2]
    none = np.zeros(size, np.float32)
    contrast = none if outcome.contrast is None else on_picture(outcome.contrast, size)
    contrast = contrast / max(float(contrast.max()), float(np.finfo(np.float32).tiny))
    grey = [np.rint(np.clip(m, 0, 1) * 255) for m in (contrast, none if outcome.mask is None else outcome.mask)]
    tiles = [outcome.image, *(np.repeat(g.astype(np.uint8)[..., None], 3, axis=2) for g in grey)]
    target = example_path(out, variant, item)
    make_folder(target.parent)
    write_atomic(target, png_of(np.concatenate(tiles, axis=1)), force=True)


def read_example(out: Path, variant: str, item: str) -> Example | None:
    """Read the example that `keep_example` wrote; None where there is none."""
    path = example_path(out, variant, item)
    if not path.is_file():
        return None
    with Image.open(path) as image:
        whole: Any = np.asarray(image.convert("RGB"))
    result, contrast, mask = np.split(whole, 3, axis=1)
    return Example(
        np.ascontiguousarray(result),
        contrast[..., 0].astype(np.float32) / np.float32(255),
        mask[..., 0].astype(np.float32) / np.float32(255),
    )


def choose(rows: Sequence[Row], metric: str) -> list[tuple[str, Row]]:
    """Choose the best, the median and the worst of a variant's rows by a metric of which more is better.

    Returns:
        ("best", row), ("median", row), ("worst", row); fewer where there are fewer rows with the metric.
    """
    valued = [(float(value), row) for row in rows if (value := row.metrics.get(metric)) is not None]
    ranked = [row for _, row in sorted(valued, key=lambda pair: (-pair[0], pair[1].item))]
    if len(ranked) < 3:
        return list(zip(("best", "worst"), ranked, strict=False))
    return [("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])]
