"""Training in several processes of one thread each, in step.

On a shared machine, threads inside an operation wait for the slowest of them thousands of times a step; processes wait
for each other twice. Gradients are averaged every step, and each process orthogonalises its share of the matrices.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, distributed, nn


class Team:
    """The processes that train together; a team of one does nothing."""

    def __init__(self, rank: int, world: int, meeting: Path) -> None:
        """Join `world` processes through the file `meeting`, which must not exist before a run."""
        self.rank, self.world = rank, world
        if world > 1:
            where = f"file://{meeting.resolve()}"
            distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world)

    @torch.no_grad()
    def average(self, weights: list[nn.Parameter], minutes: float) -> float:
        """Average the gradients over the team, in place; return the first process's `minutes`."""
        if self.world == 1:
            return minutes
        grads = [weight.grad for weight in weights if weight.grad is not None]
        clock = torch.tensor([minutes * self.world if self.rank == 0 else 0.0])
        flat = torch.cat([*(grad.flatten() for grad in grads), clock])
        distributed.all_reduce(flat)
        flat /= self.world
        _spread(flat, grads)
        return float(flat[-1])

    def share(self, weights: list[nn.Parameter]) -> list[nn.Parameter]:
        """Return the weights that this process updates: every `world`-th, by falling size."""
        ordered = sorted(range(len(weights)), key=lambda index: (-weights[index].numel(), index))
        return [weights[index] for index in sorted(ordered[self.rank :: self.world])]

    @torch.no_grad()
    def exchange(self, weights: list[nn.Parameter]) -> None:
        """Give every process the weights that the others have updated."""
        for owner in range(self.world if self.world > 1 else 0):
            ordered = sorted(range(len(weights)), key=lambda index: (-weights[index].numel(), index))
            part = [weights[index].data for index in sorted(ordered[owner :: self.world])]
            flat = torch.cat([weight.flatten() for weight in part])
            distributed.broadcast(flat, src=owner)
            if owner != self.rank:
                _spread(flat, part)


def _spread(flat: Tensor, parts: list[Tensor]) -> None:
    """Copy consecutive pieces of `flat` into the parts."""
    start = 0
    for part in parts:
        part.copy_(flat[start : start + part.numel()].view(part.shape))
        start += part.numel()
