"""The critic: a small patch network that tells clean pictures of the pocket world from spoiled ones.

The judge says what a picture shows; the critic says whether it is well made: no ghost outlines, rims, cut-off or melted
things, flat fills, seams. It learnt from renders spoiled by code (`benchmarks/truth/train_critic.py`), never from an
edit, and its weights lie with the truth bench.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordbrush.evaluation.items import Bytes
from wordbrush.evaluation.judge import Block, convolution, shrink
from wordbrush.evaluation.kept import read_network

__all__ = ["Critic", "CriticConfig", "CriticNetwork", "Critique"]

FORMAT: Final = 1
STRIDE: Final = 8
"""Pixels from one patch to the next."""


@dataclass(frozen=True)
class CriticConfig:
    """A critic's sizes and its threshold.

    Attributes:
        threshold: pictures with a lower score are clean.
        size: height and width in pixels that pictures are brought to.
        widths: channels at a quarter and at an eighth of the size.
        depth: residual blocks at an eighth of the size.
    """

    threshold: float = 0.5
    size: int = 128
    widths: tuple[int, int] = (32, 64)
    depth: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CriticConfig:
        """Read the content of `config.json`; raises `KeyError` or `ValueError` where it is not one."""
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}, known is {FORMAT}")
        near, far = (int(width) for width in data["widths"])
        return cls(float(data["threshold"]), int(data["size"]), (near, far), int(data["depth"]))


class CriticNetwork(nn.Module):
    """Convolutions to one score per 8 x 8 pixels; a picture's score is a soft maximum of its patches' scores."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        near, far = config.widths
        self.config = config
        self.stem = convolution(3, near, 7, 4)
        self.near = Block(near)
        self.down = convolution(near, far, 3, 2)
        self.far = nn.Sequential(*(Block(far) for _ in range(config.depth)))
        self.conv_out = nn.Conv2d(far, 1, 1)
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Read pictures (batch, RGB, height, width) in [-1, 1].

        Returns:
            Scores before a sigmoid: of patches (batch, row, column) and of pictures (batch). The latter is
            scale * log(mean(exp(patches))) + shift, a soft maximum.
        """
        x = self.near(torch.relu(self.stem(pictures)))
        patches = self.conv_out(self.far(torch.relu(self.down(x))))[:, 0].float()
        count = patches.shape[1] * patches.shape[2]
        highest = patches.flatten(1).logsumexp(dim=1) - float(np.log(count))
        return patches, self.scale * highest + self.shift


@dataclass(frozen=True)
class Critique:
    """What the critic finds in a picture.

    Attributes:
        faults: (row, column) of patches, the probability that the patch is faulty.
        score: the picture's fault score in [0, 1].
        clean: whether the score is below the critic's threshold.
    """

    faults: NDArray[np.float32]
    score: float
    clean: bool


class Critic:
    """A patch network that finds faults in pictures.

    Args:
        network: a trained network; it is used in place, in evaluation mode.
        batch: most pictures in one pass.
    """

    def __init__(self, network: CriticNetwork, *, batch: int = 64) -> None:
        self.network, self.config, self.batch = network.eval(), network.config, batch

    @classmethod
    def load(cls, folder: str | Path) -> Critic:
        """Read a critic's folder, such as `benchmarks/truth/critic`.

        Raises:
            ModelError: a file is missing or is not what it should be; the message names it.
        """
        return cls(read_network(folder, "critic", lambda data: CriticNetwork(CriticConfig.from_json(data))))

    @torch.no_grad()
    def look(self, pictures: NDArray[np.uint8] | Sequence[Bytes]) -> list[Critique]:
        """Return what the critic finds in each picture.

        Args:
            pictures: (picture, height, width, RGB) bytes, or a sequence of (height, width, RGB) of various sizes; those
                of another size than the critic's are resized.
        """
        found = []
        for start in range(0, len(pictures), self.batch):
            chunk = pictures[start : start + self.batch]
            ready = torch.cat([shrink(np.asarray(picture)[None], self.config.size) for picture in chunk])
            patches, whole = (scores.sigmoid().numpy() for scores in self.network(ready))
            found += [self._critique(*row) for row in zip(patches, whole.tolist(), strict=True)]
        return found

    def _critique(self, faults: NDArray[np.float32], score: float) -> Critique:
        return Critique(faults, score, score < self.config.threshold)
