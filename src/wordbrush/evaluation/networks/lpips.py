"""LPIPS, the learned perceptual distance of Zhang et al. 2018, version 0.1.

d(a, b) = sum over layers l of the mean over positions of w_l · (f_l(a) - f_l(b))², where f_l is the layer's output
scaled to unit length over its channels, and w_l >= 0 one learned weight per channel.

Weights are one safetensors file `lpips_alex.safetensors`, `lpips_vgg.safetensors` or `lpips_squeeze.safetensors` that
holds the backbone under torchvision's names and the learned weights under those of lpips; `convert` makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordbrush.errors import InputError
from wordbrush.evaluation.networks.backbones import BACKBONES, BackboneName
from wordbrush.evaluation.networks.figures import Card, Pictures, Skipped
from wordbrush.evaluation.networks.preparing import Preparation
from wordbrush.evaluation.networks.sources import find, load_state

__all__ = ["Lpips", "LpipsModule", "load_lpips"]

SMALLEST: Final = 32
"""Smallest side in pixels; below it the deepest layers have no cell left."""

# What brings [-1, 1] to the ImageNet mean and deviation that the backbones were trained with.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class LpipsModule(nn.Module):
    """The network: a backbone, and one learned weight per channel of each tap (`linN.model.1.weight`)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: BackboneName) -> None:
        super().__init__()
        architecture = BACKBONES[net]
        self.features = nn.Sequential(*architecture.layers())
        self.taps = architecture.taps
        for index, width in enumerate(architecture.widths):
            # lpips has a dropout first, hence "model.1"; it does nothing in evaluation.
            learned = nn.ModuleDict({"1": nn.Conv2d(width, 1, 1, bias=False)})
            self.add_module(f"lin{index}", nn.ModuleDict({"model": learned}))
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances, (picture,), of pictures (picture, RGB, height, width) in [-1, 1]."""
        total = a.new_zeros(len(a))
        x = (torch.cat([a, b]) - self.shift) / self.scale
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                unit = x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
                first, second = unit.chunk(2)
                learned = self.get_submodule(f"lin{self.taps.index(index)}.model.1")
                total = total + learned((first - second) ** 2).mean(dim=(1, 2, 3))
        return total


class Lpips:
    """LPIPS with its weights.

    Attributes:
        card: which network.
        preparation: pictures go in at their own size, in [-1, 1].
    """

    def __init__(self, module: nn.Module, card: Card) -> None:
        self._module, self.card = module, card
        self.preparation = Preparation()

    def distances(
        self, first: Pictures, second: Pictures, preparation: Preparation | None = None, batch: int = 8
    ) -> NDArray[np.float64]:
        """Return the distance of each pair.

        Args:
            first: (height, width, RGB) each.
            second: as many, each of the size of its partner unless the preparation makes sizes equal.
            preparation: such as `FLEXIT_SQUARE`; default: as they are. Must bring pixels to [-1, 1].
            batch: pairs at a time.

        Returns:
            (pair,), 0 for equal pictures; FlexIT's tables show 100 times that.

        Raises:
            InputError: numbers or sizes of pictures do not fit, or a side is under 32 pixels.
        """
        if len(first) != len(second):
            raise InputError(f"{len(first)} pictures cannot be compared with {len(second)}: give one partner each")
        distances = [np.zeros(0)]
        with torch.inference_mode():
            for a, b in _stacks(first, second, preparation or self.preparation, batch):
                distances.append(self._module(a, b).reshape(-1).double().numpy())
        return np.concatenate(distances)


def _stacks(first: Pictures, second: Pictures, prepare: Preparation, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield prepared pairs in order, several at a time where they agree in size."""
    for start in range(0, len(first), limit):
        pairs = [
            (prepare(a), prepare(b))
            for a, b in zip(first[start : start + limit], second[start : start + limit], strict=True)
        ]
        for a, b in pairs:
            if a.shape != b.shape or min(a.shape[1:]) < SMALLEST:
                raise InputError(
                    f"pictures of {tuple(a.shape[1:])} and {tuple(b.shape[1:])} (height, width): LPIPS needs equal "
                    f"sizes of at least {SMALLEST}"
                )
        if len({a.shape for a, _ in pairs}) == 1:
            yield torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])
        else:
            yield from ((a[None], b[None]) for a, b in pairs)


def load_lpips(
    source: str | Path | None, net: BackboneName = "alex", revision: str | None = None
) -> Lpips | Skipped:
    """Load LPIPS.

    Args:
        source: a folder with `lpips_{net}.safetensors`, such a file, or a hub id.
        net: `alex` (FlexIT), `vgg`, or `squeeze` (PIE-Bench); their distances must never be mixed.
        revision: of a hub repository.

    Raises:
        InputError: there is no such backbone.
        ModelError: the weights are there but are not those of this network.
    """
    if net not in BACKBONES:
        raise InputError(f"there is no LPIPS backbone {net!r}: choose one of {', '.join(BACKBONES)}")
    place = find(source, "lpips", revision)
    if isinstance(place, Skipped):
        return place
    path = place.path if place.path.is_file() else place.path / f"lpips_{net}.safetensors"
    if not path.is_file():
        return Skipped("lpips", f"{place.source}: there is no {path.name}")
    module = LpipsModule(net)
    load_state(module, path)
    return Lpips(module, place.card([path], BACKBONES[net].name, "wordbrush"))
