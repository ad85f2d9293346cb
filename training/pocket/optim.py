"""Optimizers: Muon for hidden matrices and convolution kernels, AdamW for everything else.

``torch.optim.Muon`` takes matrices only; here a kernel (out, in, high, wide) is orthogonalised as (out, in*high*wide).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .parallel import Team

_NS = (3.4445, -4.7750, 2.0315)
_OUTER = (
    *("embedding", "conv_in", "conv_out", "quant_conv"),
    *("embedder", "embed_tokens", "pad_token", "final_layer", "adaLN"),  # of transformers
)


def orthogonalised(updates: list[Tensor], steps: int = 5) -> list[Tensor]:
    """Return the updates, each (out, ...), with singular values brought near 1 by Newton-Schulz iterations.

    The iteration X <- p(X X^T) X runs on the small square X X^T alone, and X is multiplied once, at the end: less than
    half the work, in single precision because processors without half-precision units are several times slower in it.
    Matrices of one shape go through together: a small network has dozens of each, too small to fill the machine alone.
    """
    a, b, c = _NS
    wide = [_wide(update) for update in updates]
    made: list[Tensor] = [*updates]
    for shape in {matrix.shape for matrix in wide}:
        chosen = [index for index, matrix in enumerate(wide) if matrix.shape == shape]
        x = torch.stack([wide[index] for index in chosen])
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        one = torch.eye(shape[0], device=x.device)
        gram = x @ x.mT
        whole = a * one + b * gram + c * gram @ gram
        factor = whole
        for _ in range(steps - 1):
            gram = factor @ gram @ factor
            factor = a * one + b * gram + c * gram @ gram
            whole = factor @ whole
        for index, matrix in zip(chosen, whole @ x, strict=True):
            update = updates[index]
            tall = update.shape[0] > update.numel() // update.shape[0]
            made[index] = (matrix.T if tall else matrix).reshape(update.shape)
    return made


def _wide(update: Tensor) -> Tensor:
    """Return the update as a matrix that is no higher than wide."""
    matrix = update.reshape(update.shape[0], -1)
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024), step scaled by 0.2 sqrt(max side) to match AdamW's size."""

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.95, weight_decay: float = 0.0, iterations: int = 5
    ) -> None:
        """Take parameters of two or more axes, and the iterations of Newton and Schulz in each step."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.iterations = iterations

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if "momentum" not in self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            held = [self.state[weight]["momentum"] for weight in weights]
            gradients = [weight.grad for weight in weights]
            torch._foreach_lerp_(held, gradients, 1.0 - group["momentum"])
            updates = list(torch._foreach_lerp(gradients, held, group["momentum"]))  # Nesterov's blend of both
            for weight, update in zip(weights, orthogonalised(updates, self.iterations), strict=True):
                size = max(weight.shape[0], weight.numel() // weight.shape[0])
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * size**0.5)
        return loss


def split(modules: list[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return (hidden matrices and kernels, everything else) of the trainable parameters.

    Embeddings, first and last layers, norms and biases belong to the second list.
    """
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in modules:
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            outer = any(key in name for key in _OUTER)
            (rest if weight.ndim < 2 or outer else hidden).append(weight)
    return hidden, rest


def optimizers(
    modules: list[nn.Module],
    kind: str,
    lr: float,
    decay: float = 0.01,
    team: Team | None = None,
    iterations: int = 5,
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of `kind`, "adamw" or "muon"; every group carries its own "peak" rate for schedules.

    Muon takes this process's share of the hidden matrices only, if there is a team.
    """
    hidden, rest = split(modules)
    if kind == "adamw":
        made: list[torch.optim.Optimizer] = [_adamw([*hidden, *rest], lr, decay)]
    elif kind == "muon":
        muon = Muon(team.share(hidden) if team else hidden, lr=lr, weight_decay=decay, iterations=iterations)
        made = [muon, _adamw(rest, lr, 0.0)]
    else:
        raise ValueError(f"unknown optimizer {kind!r}: adamw or muon")
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made


def _adamw(params: list[nn.Parameter], lr: float, decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.98), weight_decay=decay, fused=True)


def set_rate(made: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` times its peak."""
    for optimizer in made:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
