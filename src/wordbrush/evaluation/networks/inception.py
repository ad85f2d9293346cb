"""InceptionV3 features as FID uses them: the 2048 values after the last pooling. Needs torchvision (`eval-full`).

The network of FID differs from torchvision's in its pooling: averages leave the border's zeros out, and the last block
takes the maximum. Its published weights (1008 classes) come converted by `convert`. Pictures in [0, 1] are resized to
299 by bilinear interpolation without antialiasing and scaled to [-1, 1].
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wordbrush.evaluation.networks.figures import Card, Pictures, Skipped
from wordbrush.evaluation.networks.preparing import Preparation, batches
from wordbrush.evaluation.networks.sources import find, load_state
from wordbrush.models.checkpoint.quiet import quiet

__all__ = ["FILE", "Inception", "load_inception"]

FILE: Final = "inception_fid.safetensors"
SIDE: Final = 299

# The classifier is not used, and old files lack the counters of the batch normalisation.
_OPTIONAL = r"fc\.|AuxLogits\.|.*\.num_batches_tracked$"

Pool = Callable[[Tensor], Tensor]


class Inception:
    """InceptionV3 in FID's variant.

    Attributes:
        card: which network.
        preparation: pictures are resized to 299 x 299 from their own size. FlexIT crops to a square of 256 before:
            give `features` what `FLEXIT_SQUARE.pixels` returns for its CSFID.
    """

    def __init__(self, module: nn.Module, card: Card) -> None:
        self._module, self.card = module, card
        self.preparation = Preparation((SIDE, SIDE), None, "bilinear", antialias=False)

    def features(self, pictures: Pictures, batch: int = 8) -> NDArray[np.float64]:
        """Return (picture, 2048) of pictures (height, width, RGB)."""
        with torch.inference_mode():
            features = [self._module(stack).double().numpy() for stack in batches(pictures, self.preparation, batch)]
        return np.concatenate(features) if features else np.zeros((0, 2048))


def load_inception(source: str | Path | None, revision: str | None = None) -> Inception | Skipped:
    """Load InceptionV3 for FID.

    Args:
        source: a folder with `inception_fid.safetensors`, such a file, or a hub id.
        revision: of a hub repository.

    Raises:
        ModelError: the weights are there but are not those of this network.
    """
    place = find(source, "inception", revision)
    if isinstance(place, Skipped):
        return place
    path = place.path if place.path.is_file() else place.path / FILE
    if not path.is_file():
        return Skipped("inception", f"{place.source}: there is no {FILE}")
    if importlib.util.find_spec("torchvision") is None:
        return Skipped("inception", "torchvision is not installed: pip install 'wordbrush[eval-full]'")
    module = _build()
    load_state(module, path, _OPTIONAL)
    implementation = f"torchvision {version('torchvision')}, pooling as in FID"
    return Inception(module, place.card([path], "InceptionV3 pool3 2048", implementation))


def _build() -> nn.Module:
    with quiet():
        models: Any = importlib.import_module("torchvision.models")
        net: nn.Module = models.inception_v3(weights=None, aux_logits=False, init_weights=False, num_classes=1008)
    net.fc = nn.Identity()
    average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        _change_pool(net.get_submodule(f"Mixed_{name}"), average)
    _change_pool(net.get_submodule("Mixed_7c"), partial(F.max_pool2d, kernel_size=3, stride=1, padding=1))
    return net


def _change_pool(block: nn.Module, pool: Pool) -> None:
    """Replace the pooling of the block's pooling branch by `pool`."""
    held: list[Tensor] = []
    block.register_forward_pre_hook(lambda _block, inputs: held.append(inputs[0]))
    branch = block.get_submodule("branch_pool")
    branch.register_forward_pre_hook(lambda _branch, _inputs: (pool(held.pop()),))
