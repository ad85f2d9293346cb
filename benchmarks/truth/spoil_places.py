"""Where faults lie: silhouettes, bands along them, random blobs, boxes and half planes, as masks (height, width)."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from training.pocket.render import SIZE
from wordbrush.evaluation.items import Bool, Bytes, Float

from .critic_cases import Case


def signed(mask: Bool) -> Float:
    """Return the distance in pixels to the mask's edge, negative inside, far everywhere if there is none."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, -1e3 if mask.all() else 1e3, np.float32)
    outside, inside = (ndimage.distance_transform_edt(side) for side in (~mask, mask))
    return np.asarray(outside - inside, np.float32) + np.where(mask, 0.5, -0.5).astype(np.float32)


def band(mask: Bool, near: float, far: float) -> Bool:
    """Return the pixels whose signed distance to the mask's edge lies in [near, far]; one pixel if there are none."""
    away = signed(mask)
    where: Bool = (away >= near) & (away <= far)
    if not where.any():
        where[0, 0] = True
    return where


def soft(mask: Bool, sigma: float) -> Float:
    """Return the mask as weights, its edge blurred by `sigma` pixels."""
    weights = mask.astype(np.float32)
    return weights if sigma == 0 else np.asarray(ndimage.gaussian_filter(weights, sigma), np.float32)


def waves(rng: np.random.Generator, width: float) -> Float:
    """Return smooth noise whose waves are `width` pixels wide, made small and enlarged, which is quick."""
    small = ndimage.gaussian_filter(rng.standard_normal((SIZE // 4, SIZE // 4)), width / 4).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def blob(rng: np.random.Generator, share: float) -> Bool:
    """Return a random smooth shape, perhaps in pieces, that covers `share` of the picture."""
    noise = waves(rng, rng.uniform(5.0, 16.0))
    where: Bool = noise >= np.quantile(noise, 1.0 - share)
    return where


def box(rng: np.random.Generator, thing: Bool | None) -> Bool:
    """Return a box: one that cuts sides off the thing, or anywhere if there is none."""
    where: Bool = np.zeros((SIZE, SIZE), np.bool_)
    if thing is None or not thing.any():
        high, wide = rng.integers(14, 70, 2)
        top, left = rng.integers(0, SIZE - high), rng.integers(0, SIZE - wide)
        where[top : top + high, left : left + wide] = True
        return where
    rows, columns = np.flatnonzero(thing.any(axis=1)), np.flatnonzero(thing.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cuts = rng.uniform(0.08, 0.4, 4) * (rng.uniform(size=4) < 0.5)
    cuts[rng.integers(4)] = rng.uniform(0.12, 0.4)
    high, wide = bottom - top, right - left
    where[
        max(0, top - 4) + round(cuts[0] * high) : bottom - round(cuts[1] * high),
        max(0, left - 4) + round(cuts[2] * wide) : right - round(cuts[3] * wide),
    ] = True
    return where


def plane(rng: np.random.Generator, thing: Bool | None) -> Bool:
    """Return one side of a line: most of the thing, or 20 to 80 % of the picture if there is none."""
    angle = rng.uniform(0.0, 2 * np.pi)
    y, x = np.mgrid[:SIZE, :SIZE]
    across = np.asarray(y * np.sin(angle) + x * np.cos(angle), np.float32)
    if thing is None or not thing.any():
        return across <= np.quantile(across, rng.uniform(0.2, 0.8))
    return across <= np.quantile(across[thing], rng.uniform(0.5, 0.88))


def thing_of(case: Case, rng: np.random.Generator) -> Bool:
    """Return the silhouette of the new thing, else of the old one, else a blob."""
    if case.new.any():
        return case.new
    return case.old if case.old.any() else blob(rng, 0.2)


def drifted(mask: Bool, rng: np.random.Generator) -> Bool:
    """Return the mask moved, mirrored, and grown or shrunk."""
    if rng.uniform() < 0.5:
        mask = mask[:, ::-1]
    mask = np.roll(mask, tuple(rng.integers(-12, 13, 2)), (0, 1))
    return signed(mask) <= rng.uniform(-5.0, 7.0)


def backdrop(case: Case) -> Bytes:
    """Return the counterfactual without the new thing, what else stands there still in place."""
    return np.where(case.new[..., None], case.empty, case.after)
