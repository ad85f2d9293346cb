"""Backdrops: a sky or wall and one of eight grounds, by day or night, from gradients and a few wide soft shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Colour = tuple[float, float, float]

_GROUND: dict[str, tuple[Colour, Colour]] = {
    "grass": ((0.45, 0.72, 0.28), (0.24, 0.55, 0.16)),
    "sand": ((0.93, 0.82, 0.58), (0.83, 0.67, 0.40)),
    "snow": ((0.93, 0.96, 1.00), (0.80, 0.87, 0.95)),
    "water": ((0.24, 0.62, 0.80), (0.05, 0.33, 0.60)),
    "road": ((0.45, 0.45, 0.48), (0.29, 0.29, 0.32)),
    "floor": ((0.70, 0.46, 0.27), (0.52, 0.31, 0.17)),
    "moon": ((0.66, 0.66, 0.68), (0.47, 0.47, 0.51)),
    "table": ((1.00, 0.70, 0.80), (0.93, 0.52, 0.68)),
}
_SKY: dict[str, tuple[Colour, Colour]] = {
    "grass": ((0.38, 0.66, 0.97), (0.80, 0.92, 1.00)),
    "sand": ((0.45, 0.72, 0.98), (0.96, 0.90, 0.78)),
    "snow": ((0.62, 0.75, 0.90), (0.88, 0.93, 0.98)),
    "water": ((0.98, 0.66, 0.42), (1.00, 0.86, 0.66)),
    "road": ((0.60, 0.72, 0.84), (0.84, 0.89, 0.93)),
    "floor": ((0.93, 0.89, 0.78), (0.86, 0.80, 0.67)),
    "moon": ((0.02, 0.02, 0.06), (0.08, 0.08, 0.14)),
    "table": ((0.83, 0.92, 0.88), (0.74, 0.86, 0.81)),
}
_INDOORS = ("floor", "table")
_NIGHT_SKY: tuple[Colour, Colour] = ((0.03, 0.04, 0.14), (0.12, 0.14, 0.32))
_NIGHT_TINT: Colour = (0.30, 0.34, 0.52)


def _blend(first: Colour, second: Colour, share: Float) -> Float:
    mixed: Float = (
        np.asarray(first, np.float32) * (1.0 - share[..., None]) + np.asarray(second, np.float32) * share[..., None]
    )
    return mixed


def _relief(ground: str, x: Float, depth: Float, rng: np.random.Generator) -> Float:
    """Return the ground's light and dark as a factor around 1, shape (row, column); `depth` is 0 at the horizon."""
    phase = float(rng.uniform(0.0, 6.28))
    factor: NDArray[Any] = np.ones_like(x)
    if ground == "water":
        factor = 1.0 + 0.10 * np.sin(26.0 * np.sqrt(depth + 0.02) + 1.2 * np.sin(5.0 * x + phase) + phase)
    elif ground == "floor":
        seam = np.abs((depth * 4.0 + phase) % 1.0 - 0.5)
        factor = 1.0 - 0.22 * np.exp(-((seam / 0.07) ** 2))
    elif ground == "road":
        factor = 1.0 + 1.1 * np.exp(-(((depth - 0.80) / 0.06) ** 2)) * (np.sin(9.0 * x + phase) > 0.0)
    elif ground == "sand":
        factor = 1.0 + 0.06 * np.sin(9.0 * depth + 2.0 * np.sin(3.0 * x + phase))
    elif ground != "table":
        strength = {"grass": 0.13, "snow": -0.07, "moon": -0.30}[ground]
        for _ in range(4):
            cx, cy, r = rng.uniform(0.0, 1.0), rng.uniform(0.1, 0.9), rng.uniform(0.10, 0.22)
            away = ((x - cx) / r) ** 2 + ((depth - cy) / (0.6 * r)) ** 2
            factor = factor + strength * np.exp(-(away**2 if ground == "moon" else away))
    return factor.astype(np.float32)


def _stars(x: Float, y: Float, horizon: float, rng: np.random.Generator) -> Float:
    glow = np.zeros_like(x)
    for _ in range(9):
        cx, cy = rng.uniform(0.03, 0.97), rng.uniform(0.03, max(0.05, horizon - 0.06))
        glow = glow + np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / 0.013**2))
    return glow.astype(np.float32)


def backdrop(ground: str, time: str, horizon: float, seed: int, size: int) -> Float:
    """Return the empty scene as (row, column, RGB) floats in [0, 1]; raises `KeyError` for an unknown ground."""
    rng = np.random.default_rng([seed, 3])
    tint, bend, lean = rng.uniform(0.95, 1.05, 3).astype(np.float32), rng.uniform(0.0, 0.02), rng.uniform(0.0, 6.28)
    y, x = ((g.astype(np.float32) + 0.5) / size for g in np.mgrid[0:size, 0:size])
    flat = ground in (*_INDOORS, "water", "road")
    edge = np.full_like(x, horizon) if flat else (horizon + bend * np.sin(5.0 * x + lean)).astype(np.float32)
    depth = ((y - edge) / (1.0 - horizon)).clip(0.0, 1.0).astype(np.float32)
    land = _blend(*_GROUND[ground], depth) * _relief(ground, x, depth, rng)[..., None] * tint
    dark_sky = time == "night" and ground not in _INDOORS
    above = _blend(*(_NIGHT_SKY if dark_sky else _SKY[ground]), (y / horizon).clip(0.0, 1.0))
    if time == "night":
        land = land * np.asarray(_NIGHT_TINT, np.float32)
        if ground in _INDOORS:
            above = above * np.asarray(_NIGHT_TINT, np.float32)
    if dark_sky or ground == "moon":
        above = above + 0.85 * _stars(x, y, horizon, rng)[..., None]
    share = ((y - edge) * size / 1.5 + 0.5).clip(0.0, 1.0)[..., None]
    picture: Float = (above * (1.0 - share) + land * share).clip(0.0, 1.0).astype(np.float32)
    return picture
