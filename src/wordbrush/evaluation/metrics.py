"""Metrics on arrays: pictures against pictures, masks and maps against the true region.

Pictures are (height, width) or (height, width, channel), values 0 to 255, of any real dtype. `where` selects pixels,
(height, width), True = counts; without it all count. A metric without any pixel to look at is None, never a guess.
Masks are (height, width): bool, or float where more than 0.5 counts as edited.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError

__all__ = [
    "PSNR_CAP",
    "band",
    "best_iou",
    "changed_share",
    "iou",
    "on_picture",
    "precision",
    "psnr",
    "recall",
    "rms",
    "rms_distance",
    "roc_auc",
    "ssim",
]

Array = NDArray[Any]
Bool = NDArray[np.bool_]

PSNR_CAP = 100.0
"""The PSNR of identical pixels in dB; finite, so that means over pictures stay finite."""

_RANGE = 255.0
_WINDOW = 11


def _difference(a: Array, b: Array) -> NDArray[np.float64]:
    """Return a - b in float64; uint8 would wrap around."""
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise InputError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared: give two of one size")
    return a.astype(np.float64) - b.astype(np.float64)


def _chosen(values: NDArray[np.float64], where: Bool | None) -> NDArray[np.float64]:
    """Return the values at the selected pixels, (pixel,) or (pixel, channel)."""
    if where is None:
        return values.reshape(-1, *values.shape[2:])
    if where.shape != values.shape[:2] or where.dtype != np.bool_:
        raise InputError(
            f"`where` is {where.dtype} of shape {where.shape}; it must be bool of the picture's {values.shape[:2]}"
        )
    chosen: NDArray[np.float64] = values[where]
    return chosen


def psnr(a: Array, b: Array, where: Bool | None = None, cap: float = PSNR_CAP) -> float | None:
    """Return the peak signal-to-noise ratio, 10·log10(255² / mean squared error), in dB.

    The mean runs over the selected pixels and all channels. At most `cap`, which is also the value of equal pixels.

    Raises:
        InputError: the shapes do not fit.
    """
    chosen = _chosen(_difference(a, b), where)
    if not chosen.size:
        return None
    error = float(np.mean(chosen**2))
    return cap if error == 0 else min(cap, float(10 * np.log10(_RANGE**2 / error)))


def ssim(a: Array, b: Array, where: Bool | None = None) -> float | None:
    """Return the mean of the structural similarity map over the selected pixels and all channels, -1 to 1.

    Wang et al. 2004 with a Gaussian window of 11 and sigma 1.5, K1 = 0.01, K2 = 0.03, range 255, borders reflected,
    by torchmetrics in float64. A pixel's value depends on its window of 11 x 11, so pixels outside `where` that are
    near its border have a say.

    Raises:
        InputError: the shapes do not fit, or a side is shorter than 6 pixels.
    """
    _difference(a, b)
    if min(a.shape[:2]) <= _WINDOW // 2:
        raise InputError(f"a picture of {a.shape[:2]} is too small for SSIM: each side needs {_WINDOW // 2 + 1} pixels")
    if where is not None and where.any():
        # A value depends on its window alone, so what is further away need not be looked at.
        place = _around(where, _WINDOW // 2)
        a, b, where = a[place], b[place], where[place]
    import torch
    from torchmetrics.functional.image.ssim import structural_similarity_index_measure as similarity

    def planes(picture: Array) -> torch.Tensor:
        whole = picture.astype(np.float64).reshape(*picture.shape[:2], -1)
        return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)))[None]

    _, full = similarity(planes(a), planes(b), sigma=1.5, kernel_size=_WINDOW, data_range=255.0, return_full_image=True)
    chosen = _chosen(full[0].permute(1, 2, 0).numpy(), where)
    return float(chosen.mean()) if chosen.size else None


def _around(where: Bool, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns around all selected pixels, with `margin` more on each side inside the picture."""
    slices = []
    for axis, length in enumerate(where.shape):
        inside = np.flatnonzero(where.any(axis=1 - axis))
        slices.append(slice(max(0, int(inside[0]) - margin), min(length, int(inside[-1]) + 1 + margin)))
    return slices[0], slices[1]


def changed_share(a: Array, b: Array, where: Bool | None = None) -> float | None:
    """Return the share of selected pixels that differ in any channel, 0 to 1.

    Raises:
        InputError: the shapes do not fit.
    """
    chosen = _chosen(_difference(a, b), where)
    return float((chosen != 0).reshape(len(chosen), -1).any(axis=1).mean()) if chosen.size else None


def rms(a: Array, b: Array, where: Bool | None = None) -> float | None:
    """Return the root of the mean squared difference over the selected pixels and all channels, 0 to 255.

    Raises:
        InputError: the shapes do not fit.
    """
    chosen = _chosen(_difference(a, b), where)
    return float(np.sqrt(np.mean(chosen**2))) if chosen.size else None


def band(region: Bool, width: float) -> Bool:
    """Return the pixels along the outline of a region: at most `width` from the other side.

    Distances are between pixel centres, so a straight outline has `width` whole pixels on either side. The border of
    the picture is no outline.

    Args:
        region: (height, width).
        width: in pixels, of each side.
    """
    from scipy.ndimage import distance_transform_edt

    if region.all() or not region.any():
        return np.zeros_like(region)
    near: Bool = (distance_transform_edt(region) + distance_transform_edt(~region)) <= width
    return near


def rms_distance(a: Array, b: Array) -> float:
    """Return the root of the mean squared difference over all pixels and channels, divided by 255: 0 to 1.

    Raises:
        InputError: the shapes do not fit.
    """
    return float(np.sqrt(np.mean(_difference(a, b) ** 2)) / _RANGE)


def _masks(mask: Array, truth: Array) -> tuple[Bool, Bool]:
    if mask.shape != truth.shape:
        raise InputError(f"a mask of {mask.shape} cannot be compared with a region of {truth.shape}: give one size")
    return _binary(mask), _binary(truth)


def _binary(mask: Array) -> Bool:
    if mask.dtype == np.bool_:
        return mask
    if not np.issubdtype(mask.dtype, np.floating):
        raise InputError(f"a mask of {mask.dtype} is ambiguous: give bool, or float from 0 to 1")
    cut: Bool = mask > 0.5
    return cut


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def iou(mask: Array, truth: Array) -> float:
    """Return |mask and truth| / |mask or truth|, 0 to 1; 1 where both are empty.

    Raises:
        InputError: the shapes differ, or a dtype is neither bool nor float.
    """
    mask, truth = _masks(mask, truth)
    return _ratio(int((mask & truth).sum()), int((mask | truth).sum()))


def precision(mask: Array, truth: Array) -> float:
    """Return |mask and truth| / |mask|, 0 to 1; where the mask is empty, 1 if the truth is too, else 0.

    Raises:
        InputError: the shapes differ, or a dtype is neither bool nor float.
    """
    mask, truth = _masks(mask, truth)
    return _ratio(int((mask & truth).sum()), int(mask.sum())) if mask.any() else float(not truth.any())


def recall(mask: Array, truth: Array) -> float:
    """Return |mask and truth| / |truth|, 0 to 1; where the truth is empty, 1 if the mask is too, else 0.

    Raises:
        InputError: the shapes differ, or a dtype is neither bool nor float.
    """
    return precision(truth, mask)


def _scored(scores: Array, truth: Array) -> tuple[NDArray[np.float64], Bool]:
    if scores.shape != truth.shape or truth.dtype != np.bool_:
        raise InputError(
            f"scores of {scores.shape} and a truth of {truth.dtype} and {truth.shape}: the truth must be bool of the "
            "scores' shape"
        )
    flat = scores.astype(np.float64).ravel()
    if not len(flat) or np.isnan(flat).any():
        raise InputError("scores must be numbers, and at least one: there is none, or NaN among them")
    return flat, truth.ravel()


def roc_auc(scores: Array, truth: Array) -> float | None:
    """Return the area under the receiver operating characteristic, exactly: 0 to 1, chance is 0.5.

    It is the probability that a cell inside the truth scores higher than one outside, a tie counting half
    (Mann-Whitney): U / (p·q) for p cells inside and q outside.

    Args:
        scores: any shape, higher = more likely inside.
        truth: bool of the same shape.

    Returns:
        The area, or None where all cells are inside or all outside.

    Raises:
        InputError: the shapes differ, a score is NaN, or there is none.
    """
    from scipy.stats import mannwhitneyu

    flat, inside = _scored(scores, truth)
    if inside.all() or not inside.any():
        return None
    won = mannwhitneyu(flat[inside], flat[~inside], method="asymptotic").statistic
    return float(won) / (int(inside.sum()) * int((~inside).sum()))


def best_iou(scores: Array, truth: Array) -> tuple[float, float]:
    """Return the best IoU of {scores > cut} with the truth over all cuts, and a cut that reaches it.

    Exact: one sort, then the overlap of every distinct cut by cumulative sums. Every score is tried as a cut, and one
    below the lowest, which selects everything.

    Args:
        scores: any shape.
        truth: bool of the same shape.

    Returns:
        (iou, cut): of equally good selections the smallest, and the lowest cut that makes it. Where the truth is
        empty, the empty selection is right: (1, highest score).

    Raises:
        InputError: the shapes differ, a score is NaN, or there is none.
    """
    flat, inside = _scored(scores, truth)
    order = np.argsort(-flat, kind="stable")
    ordered = flat[order]
    if not inside.any():
        return 1.0, float(ordered[0])
    hits = np.cumsum(inside[order])
    taken = np.arange(1, len(flat) + 1)
    values = hits / (taken + int(inside.sum()) - hits)
    last_of_tie = np.flatnonzero(np.append(ordered[:-1] != ordered[1:], True))
    best = int(last_of_tie[np.argmax(values[last_of_tie])])
    cut = ordered[best + 1] if best + 1 < len(flat) else np.nextafter(ordered[best], -np.inf)
    return float(values[best]), float(cut)


def on_picture(cells: Array, size: tuple[int, int]) -> Array:
    """Lay latent cells on a picture by repeating each: nearest neighbour, cell centres.

    Args:
        cells: (rows, columns), any dtype.
        size: (height, width) of the picture in pixels. Where it is a multiple of the cells, this is
            `np.kron(cells, np.ones((height / rows, width / columns)))`.

    Returns:
        (height, width) of the same dtype.

    Raises:
        InputError: `cells` is not two-dimensional or is empty.
    """
    if cells.ndim != 2 or not cells.size:
        raise InputError(f"cells of shape {cells.shape} cannot be laid on a picture: give (rows, columns)")
    # (2y + 1)·rows // (2·height) is floor((y + 1/2)·rows/height) in whole numbers.
    rows, columns = (
        (2 * np.arange(side) + 1) * cell // (2 * side) for side, cell in zip(size, cells.shape, strict=True)
    )
    laid: Array = cells[np.ix_(rows, columns)]
    return laid
