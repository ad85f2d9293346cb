"""Resumable training state: weights, their moving average, optimizer tensors; safetensors and JSON only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .store import save_json, save_tensors, save_weights


class Ema:
    """The exponential moving average of a module's parameters, its horizon growing with the step at first."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start from the current parameters."""
        self.decay = decay
        self.names = [name for name, _ in module.named_parameters()]
        self.values = [weight.detach().clone() for weight in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the current parameters."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [weight.detach() for weight in module.parameters()], 1.0 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Put the average into the module for the duration."""
        kept = [weight.detach().clone() for weight in module.parameters()]
        self._fill(module, self.values)
        module.eval()
        try:
            yield
        finally:
            self._fill(module, kept)
            module.train()

    @staticmethod
    @torch.no_grad()
    def _fill(module: nn.Module, values: list[Tensor]) -> None:
        for weight, value in zip(module.parameters(), values, strict=True):
            weight.copy_(value)


def _optimizer_tensors(made: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index, optimizer in enumerate(made):
        for number, entries in optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"{index}.{number}.{key}"] = torch.as_tensor(value)
    return tensors


def average_file(run: Path, decay: float) -> Path:
    """Return where the moving average of this decay is kept: its parameters by name, as safetensors."""
    return run / f"ema-{decay:g}.safetensors"


def save_state(
    run: Path,
    model: nn.Module,
    averages: list[Ema],
    made: list[torch.optim.Optimizer],
    step: int,
    minutes: float,
    rank: int = 0,
) -> None:
    """Write everything a resumed run needs into `run`; the JSON that marks a whole state comes last.

    The first process writes all but the optimizer states, which each keeps for itself.
    """
    save_tensors(_optimizer_tensors(made), run / f"optimizer-{rank}.safetensors")
    if rank:
        return
    save_weights(model, run / "model.safetensors")
    for ema in averages:
        save_tensors(dict(zip(ema.names, ema.values, strict=True)), average_file(run, ema.decay))
    save_json({"step": step, "minutes": minutes}, run / "state.json")


def load_state(
    run: Path, model: nn.Module, averages: list[Ema], made: list[torch.optim.Optimizer], rank: int = 0
) -> tuple[int, float]:
    """Read what `save_state` wrote; return the step and the minutes trained so far.

    Averages are told apart by their decay. A process without an optimizer file of its own, because the team has grown,
    begins with fresh momenta.
    """
    model.load_state_dict(load_file(str(run / "model.safetensors")))
    for ema in averages:
        averaged = load_file(str(average_file(run, ema.decay)))
        ema.values = [averaged[name].to(old.device) for name, old in zip(ema.names, ema.values, strict=True)]
    file = run / f"optimizer-{rank}.safetensors"
    tensors = load_file(str(file)) if file.is_file() else {}
    for index, optimizer in enumerate(made if tensors else []):
        whole = optimizer.state_dict()
        whole["state"] = {}
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for name, value in tensors.items():
            owner, number, key = name.split(".", 2)
            if int(owner) == index:
                whole["state"].setdefault(int(number), {})[key] = _laid_out(value, weights[int(number)])
        optimizer.load_state_dict(whole)
    state = json.loads((run / "state.json").read_text())
    return int(state["step"]), float(state["minutes"])


def _laid_out(value: Tensor, weight: Tensor) -> Tensor:
    """Return the value in the memory order of its weight: fused optimizers go through both as they lie."""
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
