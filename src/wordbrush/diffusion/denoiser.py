"""Denoisers: from a noised latent to an estimate of the clean one and of the noise.

One formula serves every model family and both directions, `x_s = alpha_s * x0 + sigma_s * eps`, so a network is
converted to (x0, eps) at the edge, and nothing behind the edge knows how it was parametrised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from wordbrush.diffusion.schedule import Level, sent
from wordbrush.errors import ModelError

__all__ = [
    "MASK",
    "Conditioning",
    "Denoiser",
    "Network",
    "NetworkDenoiser",
    "Parametrisation",
    "Prediction",
    "convert",
    "reanchored",
]

MASK = "mask"
"""The name of the tensor that says which tokens of a text are meant, (row, token), boolean."""

Parametrisation = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A denoiser's estimates of the clean latent and of the noise in x.

    Attributes:
        x0: estimate of the clean latent, (batch, channel, height, width).
        eps: estimate of the noise, same shape; x = alpha * x0 + sigma * eps at the level of x.
    """

    x0: Tensor
    eps: Tensor


class Conditioning(Mapping[str, Tensor]):
    """The inputs of a network besides x and the level: named tensors with one row an item, never changed.

    It is opaque: the algorithm only selects and joins rows. Texts of unlike lengths may stand in one batch where a
    boolean tensor named `MASK`, (row, token), says which tokens are meant: shorter rows are then padded with zeros.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        rows = {t.shape[0] for t in tensors.values()}
        if len(rows) > 1:
            raise ModelError(f"conditioning tensors have different numbers of rows: {sorted(rows)}")
        self._tensors = dict(tensors)
        self.rows = rows.pop() if rows else 0

    def __getitem__(self, key: str) -> Tensor:
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def select(self, index: Tensor | slice | Sequence[int]) -> Conditioning:
        """Return the rows `index`, in that order."""
        if isinstance(index, slice):
            return Conditioning({k: v[index] for k, v in self._tensors.items()})
        picked = torch.as_tensor(index)
        return Conditioning({k: v[sent(picked, v.device)] for k, v in self._tensors.items()})

    def equals(self, other: Conditioning) -> bool:
        """Say whether both give the network exactly the same inputs."""
        return self.keys() == other.keys() and all(
            self[k].shape == other[k].shape and torch.equal(self[k], other[k]) for k in self
        )

    @staticmethod
    def concat(parts: Sequence[Conditioning]) -> Conditioning:
        """Join the rows of several conditionings of one network; shorter texts are padded where they may be."""
        if MASK not in parts[0]:
            return Conditioning({k: torch.cat([p[k] for p in parts]) for k in parts[0]})
        longest = max(p[MASK].shape[1] for p in parts)
        with_tokens = {k for k, v in parts[0].items() if k == MASK or v.ndim > 2}
        padded = {k: [_padded(p[k], longest) if k in with_tokens else p[k] for p in parts] for k in parts[0]}
        return Conditioning({k: torch.cat(rows) for k, rows in padded.items()})

    def told(self, **values: float) -> Conditioning:
        """Return the same with a number for every row, such as the guidance that a network is told."""
        rows = {name: torch.full((self.rows,), value) for name, value in values.items()}
        return Conditioning({**self._tensors, **rows})

    def texts(self, name: str) -> list[Tensor]:
        """Return the rows of a tensor (row, token, ...) without their padding."""
        kept = [sent(row.nonzero().flatten(), self[name].device) for row in self[MASK]]
        return [row[meant] for row, meant in zip(self[name], kept, strict=True)]


def _padded(tensor: Tensor, longest: int) -> Tensor:
    """Pad the token axis, the second, with zeros at its end."""
    missing = longest - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1) if missing else tensor


class Denoiser(Protocol):
    """Maps (x, level, conditioning) to a Prediction."""

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """Estimate x0 and eps.

        Args:
            x: noised latents (batch, channel, height, width), float32 or float64.
            level: where x is; one level for all rows or one a row.
            conditioning: `batch` rows.
            label: the level the network is told, where it differs from `level` (an inversion may tell the target's).
        """
        ...


def convert(output: Tensor, x: Tensor, level: Level, kind: Parametrisation, label: Level | None = None) -> Prediction:
    """Turn a network output into (x0, eps).

    With x = alpha x0 + sigma eps: `epsilon` is eps; `sample` is x0; `v_prediction` is alpha eps - sigma x0 on
    alpha**2 + sigma**2 = 1 (Salimans and Ho 2022); `flow` is the velocity eps - x0 on alpha + sigma = 1.

    At the clean level x is x0 and says nothing of eps, so a network that answers x0 says nothing either: eps is then
    its mean, zero. Told another level than that of x, a network answers for that level, and the answer is read there:
    eps is kept and x0 recomputed from x. So all parametrisations walk alike, but for `flow`, whose velocity is kept,
    as in the Euler step. The clean level is the exception: no network knows it, so the label of the least noisy one is
    told, and the answer is read at alpha 1.

    Args:
        output: the network's output, shape of x.
        x: the latents it was given.
        level: where x is.
        kind: the parametrisation.
        label: the level the network was told, where that is not the level of x.
    """
    if label is not None and kind in {"v_prediction", "sample"}:
        return reanchored(convert(output, x, label, kind), x, level)
    alpha, sigma = level.scales(x)
    if kind == "epsilon":
        return Prediction((x - sigma * output) / alpha, output)
    if kind == "v_prediction":
        return Prediction(alpha * x - sigma * output, alpha * output + sigma * x)
    if kind == "flow":
        return Prediction(x - sigma * output, x + alpha * output)
    if kind == "sample":
        clean = sigma == 0
        eps = (x - alpha * output) / torch.where(clean, 1.0, sigma)
        return Prediction(torch.where(clean, x, output), torch.where(clean, 0.0, eps))
    raise ModelError(f"unknown prediction type {kind!r}: known are {', '.join(get_args(Parametrisation))}")


def reanchored(prediction: Prediction, x: Tensor, level: Level) -> Prediction:
    """Keep the noise estimate and recompute x0 so that `x = alpha * x0 + sigma * eps` holds at `level`."""
    alpha, sigma = level.scales(x)
    return Prediction((x - sigma * prediction.eps) / alpha, prediction.eps)


Network = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""(x (batch, channel, height, width), labels (batch,), conditioning) -> output of the shape of x."""


class NetworkDenoiser:
    """A denoiser made of a network, whose output is converted to x0 and eps.

    Args:
        network: the forward pass; it takes care of its own dtype and device and answers in the dtype of x.
        parametrisation: what its output means.
    """

    def __init__(self, network: Network, parametrisation: Parametrisation) -> None:
        if parametrisation not in get_args(Parametrisation):
            known = ", ".join(get_args(Parametrisation))
            raise ModelError(f"unknown prediction type {parametrisation!r}: known are {known}")
        self.network, self.parametrisation = network, parametrisation

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        """See `Denoiser`."""
        labels = (label or level).labels(x.shape[0], x.device)
        output = self.network(x, labels, conditioning)
        return convert(output, x, level, self.parametrisation, label)
