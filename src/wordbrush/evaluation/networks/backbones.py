"""The convolution stacks that LPIPS compares, in plain torch.

Layers are numbered as in torchvision (`features.N.weight`), so that its published weights fit after conversion.
Architectures: Krizhevsky 2014 (AlexNet, one tower), Simonyan and Zisserman 2015 (VGG16, D), Iandola et al. 2016
(SqueezeNet 1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

__all__ = ["BACKBONES", "Architecture", "BackboneName"]

BackboneName = Literal["alex", "vgg", "squeeze"]


@dataclass(frozen=True)
class Architecture:
    """A stack of layers; LPIPS compares the outputs of some of them.

    Attributes:
        name: for people.
        layers: builds the stack, up to the last tap.
        taps: numbers of the layers whose output is compared.
        widths: channels at each tap.
    """

    name: str
    layers: Callable[[], list[nn.Module]]
    taps: tuple[int, ...]
    widths: tuple[int, ...]


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 squeeze, then 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (picture, 2·expand, rows, columns) for x of (picture, channel, rows, columns)."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def _alexnet() -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return layers


def _vgg16() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers[:-1]


def _squeezenet() -> list[nn.Module]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()]
    layers += [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
    return [*layers, Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]


BACKBONES: Final[Mapping[BackboneName, Architecture]] = {
    "alex": Architecture("AlexNet", _alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)),
    "vgg": Architecture("VGG16", _vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512)),
    "squeeze": Architecture(
        "SqueezeNet 1.1", _squeezenet, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)
    ),
}
