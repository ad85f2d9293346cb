"""The judge: a small classifier that names the things in a picture, their colours, the ground and the time.

It shares nothing with what it judges: no network, no weights and no training picture. It was trained on rendered
scenes alone (`benchmarks/truth/train_judge.py`), and its weights lie with the truth bench, not in the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wordbrush.evaluation.items import SLOTS, Facts, Thing, TruthItem
from wordbrush.evaluation.kept import read_network

__all__ = ["Block", "Judge", "JudgeConfig", "JudgeNetwork", "Verdict", "convolution", "shrink", "verdict"]

FORMAT: Final = 1
_CENTRES: Final = (0.27, 0.5, 0.73)
"""Centres of the slots as fractions of the width; the network starts from them and learns its own."""


@dataclass(frozen=True)
class JudgeConfig:
    """The words that a judge can name, and its network's sizes. `coloured` are the nouns that have a colour."""

    nouns: tuple[str, ...]
    coloured: tuple[str, ...]
    colours: tuple[str, ...]
    grounds: tuple[str, ...]
    size: int = 64
    widths: tuple[int, int] = (64, 112)
    hidden: int = 160

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JudgeConfig:
        """Read the content of `config.json`; raises `KeyError` or `ValueError` where it is not one."""
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}, known is {FORMAT}")
        names = {key: tuple(str(word) for word in data[key]) for key in ("nouns", "coloured", "colours", "grounds")}
        first, second = (int(width) for width in data["widths"])
        return cls(**names, size=int(data["size"]), widths=(first, second), hidden=int(data["hidden"]))


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolution(width, width, 3, 1), convolution(width, width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, width, height, width) to the same shape; the second axis is the block's width."""
        y: Tensor = torch.relu(x + self.second(torch.relu(self.first(x))))
        return y


def convolution(into: int, out: int, side: int, stride: int) -> nn.Sequential:
    """Return a convolution with batch norm that makes each side `stride` times smaller."""
    padding = (side - stride + 1) // 2
    return nn.Sequential(nn.Conv2d(into, out, side, stride, padding, bias=False), nn.BatchNorm2d(out))


class JudgeNetwork(nn.Module):
    """Convolutions to an eighth of the size; each slot then looks where it has learnt to, and all share one reader."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        near, far = config.widths
        self.config = config
        self.stem = convolution(3, near, 7, 4)
        self.near = Block(near)
        self.down = convolution(near, far, 3, 2)
        self.far = nn.Sequential(Block(far), Block(far))
        self.places = nn.Parameter(self._places(config.size // 8))
        self.hidden = nn.Linear(2 * far, config.hidden)
        self.nouns = nn.Linear(config.hidden, len(config.nouns) + 1)
        self.colours = nn.Linear(config.hidden, len(config.colours) + 1)
        self.grounds = nn.Linear(far, len(config.grounds))
        self.times = nn.Linear(far, 2)

    @staticmethod
    def _places(cells: int) -> Tensor:
        """Return the initial attention of each slot over the cells, (slot, row * column), before a softmax."""
        across = (torch.arange(cells) + 0.5) / cells
        near = -((across - torch.tensor(_CENTRES)[:, None]) ** 2) / 0.04
        return near[:, None, :].expand(-1, cells, -1).reshape(len(_CENTRES), -1).clone()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read pictures (batch, RGB, size, size) in [-1, 1].

        Returns:
            Scores before a softmax: nouns (batch, slot, noun or none), colours (batch, slot, colour or none), grounds
            (batch, ground), times (batch, day or night). "None" comes last.
        """
        x = self.near(torch.relu(self.stem(pictures)))
        x = self.far(torch.relu(self.down(x))).flatten(2)
        whole = x.mean(dim=2)
        slots = torch.einsum("sp,bcp->bsc", self.places.softmax(dim=1).to(x.dtype), x)
        both = torch.cat([slots, whole[:, None].expand_as(slots)], dim=2)
        read = torch.relu(self.hidden(both))
        return self.nouns(read), self.colours(read), self.grounds(whole), self.times(whole)


def shrink(pictures: NDArray[np.uint8], size: int) -> Tensor:
    """Turn bytes (picture, height, width, RGB) of any size into (picture, RGB, size, size) in [-1, 1].

    Bilinear with a filter as wide as the shrinking asks for, so nothing aliases.
    """
    batch = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    if batch.shape[2:] == (size, size):
        return batch
    return F.interpolate(batch, (size, size), mode="bilinear", antialias=True, align_corners=False)


class Judge:
    """A classifier that reads the facts of pictures.

    Args:
        network: a trained network; it is used in place, in evaluation mode.
        batch: most pictures in one pass.
    """

    def __init__(self, network: JudgeNetwork, *, batch: int = 64) -> None:
        self.network, self.config, self.batch = network.eval(), network.config, batch

    @classmethod
    def load(cls, folder: str | Path) -> Judge:
        """Read a judge's folder, such as `benchmarks/truth/judge`.

        Raises:
            ModelError: a file is missing or is not what it should be; the message names it.
        """
        return cls(read_network(folder, "judge", lambda data: JudgeNetwork(JudgeConfig.from_json(data))))

    def look(self, pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> list[Facts]:
        """Return the facts that each picture shows.

        Args:
            pictures: (picture, height, width, RGB) bytes, or a sequence of (height, width, RGB) of various sizes.
        """
        if not len(pictures):
            return []
        parts = [self._scores(pictures[start : start + self.batch]) for start in range(0, len(pictures), self.batch)]
        nouns, colours, grounds, times = (torch.cat(rows).argmax(dim=-1).tolist() for rows in zip(*parts, strict=True))
        return [self._facts(*row) for row in zip(nouns, colours, grounds, times, strict=True)]

    @torch.no_grad()
    def _scores(self, pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> tuple[Tensor, ...]:
        small = torch.cat([shrink(np.asarray(picture)[None], self.config.size) for picture in pictures])
        return cast("tuple[Tensor, ...]", self.network(small))

    def _facts(self, nouns: list[int], colours: list[int], ground: int, time: int) -> Facts:
        things = {}
        for slot, noun, colour in zip(SLOTS, nouns, colours, strict=True):
            if noun < len(self.config.nouns):
                word = self.config.nouns[noun]
                named = colour < len(self.config.colours) and word in self.config.coloured
                things[slot] = Thing(word, self.config.colours[colour] if named else None)
        when: Literal["day", "night"] = "night" if time else "day"
        return Facts(things, self.config.grounds[ground], when)


@dataclass(frozen=True)
class Verdict:
    """The judge's verdict on an edit.

    Attributes:
        success: every fact that the edit changes is seen as it should be after.
        kept: every fact that the edit does not change is seen as it was; an empty slot is a fact.
        faithful: both.
        object: the nouns of all slots are right, and empty slots are empty.
        colour: everything that has a colour shows it; true where nothing has one.
        ground: ground and time are right.
    """

    success: bool
    kept: bool
    faithful: bool
    object: bool
    colour: bool
    ground: bool


def verdict(seen: Facts, item: TruthItem) -> Verdict:
    """Compare the facts seen in an edited picture with those that the item says it should show."""
    before, after = item.before, item.after
    right = {slot: _matches(seen.things.get(slot), after.things.get(slot)) for slot in SLOTS}
    changed = {slot for slot in SLOTS if before.things.get(slot) != after.things.get(slot)}
    ground, time = seen.ground == after.ground, seen.time == after.time
    facts = [(slot in changed, right[slot]) for slot in SLOTS]
    facts += [(before.ground != after.ground, ground), (before.time != after.time, time)]
    success, kept = (all(held for moved, held in facts if moved is edited) for edited in (True, False))
    nouns = [_noun(seen.things.get(slot)) == _noun(after.things.get(slot)) for slot in SLOTS]
    colours = [_colour(seen.things.get(slot)) == thing.colour for slot, thing in after.things.items() if thing.colour]
    return Verdict(success, kept, success and kept, all(nouns), all(colours), ground and time)


def _noun(thing: Thing | None) -> str | None:
    return thing.noun if thing else None


def _colour(thing: Thing | None) -> str | None:
    return thing.colour if thing else None


def _matches(seen: Thing | None, expected: Thing | None) -> bool:
    """Whether the noun is the expected one, and the colour too where one is expected."""
    if expected is None or seen is None:
        return expected is seen
    return seen.noun == expected.noun and expected.colour in (None, seen.colour)
