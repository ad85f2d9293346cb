"""Lower estimates of the Lipschitz constant of a noise estimate: how fast it can change with x.

Distances are root mean squares per element; a ratio of two of them is the same as with Euclidean norms.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["along_directions", "between", "largest_singular_value", "rms"]

Estimate = Callable[[Tensor], Tensor]
"""From x (row, channel, height, width) to eps, same shape."""


def rms(x: Tensor) -> Tensor:
    """Return the root mean square of each row, (row,)."""
    return x.flatten(1).square().mean(dim=1).sqrt()


def between(x: Tensor, y: Tensor, eps_x: Tensor, eps_y: Tensor) -> Tensor:
    """Return |eps(x) - eps(y)| / |x - y| of each row, (row,)."""
    return rms(eps_x - eps_y) / rms(x - y)


def along_directions(estimate: Estimate, x: Tensor, directions: Tensor, *, length: float = 1e-2) -> Tensor:
    """Return |eps(x + d) - eps(x - d)| / |2 d| of each row, by central differences.

    Args:
        estimate: the noise estimate at one level.
        x: (row, channel, height, width).
        directions: same shape, not zero.
        length: root mean square of d; the latents' own spread is about 1.
    """
    d = directions * (length / rms(directions))[:, None, None, None]
    return between(x + d, x - d, estimate(x + d), estimate(x - d))


def largest_singular_value(estimate: Estimate, x: Tensor, start: Tensor, *, iterations: int = 8) -> float:
    """Return the largest singular value of the Jacobian at x: the local Lipschitz constant, from below.

    Power iteration on J^T J. The products J v come from differentiating `w -> J^T w`, which is linear, once more; the
    graph is built once. Attention runs as plain matrix products, as fused kernels have no second derivative.

    Args:
        estimate: differentiable in x.
        x: one row.
        start: direction to begin with, same shape, not zero.
        iterations: products with J and with its transpose.
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        at = x.detach().requires_grad_(True)
        out = estimate(at)
        if not out.requires_grad:  # it does not depend on x
            return 0.0
        probe = torch.zeros_like(out, requires_grad=True)
        (back,) = torch.autograd.grad(out, at, probe, create_graph=True)
        v, size = start / start.norm(), 0.0
        for _ in range(iterations):
            (forward,) = torch.autograd.grad(back, probe, v, retain_graph=True)
            size = float(forward.norm())
            (v,) = torch.autograd.grad(out, at, forward, retain_graph=True)
            if not float(v.norm()) > 0.0:
                return 0.0
            v = v / v.norm()
    return size
