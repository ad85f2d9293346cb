"""Proposition 1 of the DiffEdit paper: bounds on the distance of an edit from its input, by the decode's start.

With tau = sigma / alpha at the encoding ratio r, E_r the inversion under the empty text, D_r(., Q) the decode under a
query, and G_r(x0) = alpha x0 + sigma eps, the paper bounds how far an edit goes, in latent space and on schedules with
alpha^2 + sigma^2 = 1:

* start from noise (SDEdit): E|x0 - D_r(G_r(x0), Q)| <= (C + 1) tau
* start from the inversion: E|x0 - D_r(E_r(x0), Q)| <= K2 tau / sqrt(tau^2 + 1) (tau + sqrt(tau^2 + 1))^K1

C bounds |eps|, K1 is the Lipschitz constant of eps(., empty, t) in x, K2 the mean over pictures and queries of the
largest |eps(x, Q, t) - eps(x, empty, t)| over t. Norms are root mean squares per element, in which standard normal
noise has norm 1; so the first bound has its `+ 1`, and C is about 1 for a network that predicts noise.

The same assumptions, by Gronwall's inequality on du/dtau = eps (u = x / alpha), give for the second error

    K2 * integral of (s + sqrt(s^2 + 1))^K1 ds from 0 to tau,

which is reported beside the paper's as `gronwall`. The two differ: at K1 = 0 it is K2 tau, which a constant difference
of the two estimates attains, and the paper's form lies below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wordbrush.diffusion.schedule import Level
from wordbrush.errors import ModelError

__all__ = ["crossing", "encode_bound", "gronwall_bound", "noise_bound", "tau_of"]


def tau_of(level: Level) -> float:
    """Return sigma / alpha of a level, infinite where there is no signal.

    Raises:
        ModelError: the level is not of a variance-preserving schedule.
    """
    alpha, sigma = float(level.alpha), float(level.sigma)
    if abs(alpha**2 + sigma**2 - 1) > 1e-6:
        raise ModelError(
            "Proposition 1 is about variance-preserving schedules and this checkpoint's is none (a flow, say): choose "
            "an eps-, v- or x0-predicting one"
        )
    return sigma / alpha if alpha > 0 else math.inf


def noise_bound(tau: float, c: float) -> float:
    """Return the paper's bound for a start from noise, (C + 1) tau."""
    return (c + 1) * tau


def encode_bound(tau: float, k1: float, k2: float) -> float:
    """Return the paper's bound for a start from the inversion, K2 tau / sqrt(tau^2 + 1) e^(K1 asinh tau)."""
    with np.errstate(over="ignore"):
        return float(k2 * tau / math.hypot(tau, 1) * np.exp(np.float64(k1 * math.asinh(tau))))


def gronwall_bound(tau: float, k1: float, k2: float) -> float:
    """Return K2 times the integral of (s + sqrt(s^2 + 1))^K1 from 0 to tau; with s = sinh y, of e^(K1 y) cosh y."""
    y = math.asinh(tau)
    with np.errstate(over="ignore"):
        up = np.expm1(np.float64((k1 + 1) * y)) / (k1 + 1)
        down = y if k1 == 1 else np.expm1(np.float64((k1 - 1) * y)) / (k1 - 1)
        return float(k2 * (up + down) / 2)


def crossing(x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> float | None:
    """Return where `low` first rises above `high`, linear in between; the first x if it lies above from the start."""
    gaps = [a - b for a, b in zip(low, high, strict=True)]
    for i, gap in enumerate(gaps):
        if gap > 0:
            if i == 0 or not math.isfinite(gap):
                return x[i]
            return x[i - 1] + (x[i] - x[i - 1]) * -gaps[i - 1] / (gap - gaps[i - 1])
    return None
