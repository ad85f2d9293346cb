"""The truth head: which object is in which latent cell, and 1x1 convolutions that predict it from inner features.

The scenes know the answer, so the denoiser can be told in training what each cell shows; the head is not exported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .render import SIZE, Rendering
from .scenes import Scene
from .words import NOUNS

CELL = 8
"""Pixels along the side of a latent cell."""
CLASSES = 1 + len(NOUNS)
"""The backdrop and every noun."""


def class_map(scene: Scene, drawn: Rendering) -> NDArray[np.uint8]:
    """Return the class that covers most of each cell, (row, column) of cells: 0 the backdrop, else 1 + noun."""
    side = SIZE // CELL
    shares = np.zeros((1 + len(scene.things), side, side))
    for index, silhouette in enumerate(drawn.silhouettes):
        shares[1 + index] = silhouette.reshape(side, CELL, side, CELL).mean((1, 3))
    shares[0] = 1.0 - shares[1:].sum(0)
    classes = np.array([0, *(1 + NOUNS.index(thing.noun) for thing in scene.things)], np.uint8)
    made: NDArray[np.uint8] = classes[shares.argmax(0)]
    return made


class TruthHead(nn.Module):
    """Predicts the class map from the output of the denoiser's first upward block, which is as fine as the latents."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Listen to `unet`, while `listening` is set, for the features of its latest call."""
        super().__init__()
        width = unet.config.block_out_channels[-1]
        self.layers = nn.Sequential(nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, CLASSES, 1))
        self.listening = False
        self._features: list[Tensor] = []
        unet.up_blocks[0].register_forward_hook(self._listen)

    def _listen(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if self.listening:
            self._features = [output]

    def forward(self) -> Tensor:
        """Return logits (batch, class, row, column)."""
        logits: Tensor = self.layers(self._features.pop())
        return logits


def truth_loss(logits: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    """Return the mean cross-entropy over the cells of the `counted` (batch,) examples; 0 if none is."""
    error = functional.cross_entropy(logits.float(), classes.long(), reduction="none").mean((1, 2))
    return (error * counted).sum() / counted.sum().clamp(min=1)
