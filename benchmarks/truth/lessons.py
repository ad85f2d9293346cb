"""The judge's training data: scenes of the training stream, drawn, shrunk, labelled and augmented."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.pocket.artwork import Artwork
from training.pocket.edits import KINDS, sample_edit
from training.pocket.render import render
from training.pocket.scenes import Change, Scene, Stream, counterfactual, sample_scene
from wordbrush.evaluation.items import SLOTS, Facts
from wordbrush.evaluation.judge import JudgeConfig, shrink

from .facts import facts_of

FIRST: Final = 50_000_000
"""Number of the judge's first scene: far from those that the pocket model is trained on."""
_ROUND: Final = ("pair",) * 9 + ("one",) * 6 + ("none",) + ("half",) * 2 + ("edit",) * 4
LABELS: Final = 2 * len(SLOTS) + 2


def lesson(index: int, stream: Stream) -> Scene:
    """Return scene number `index`: pairs, single things, none, one side empty, and what edits lead to."""
    number, kind = FIRST + index, _ROUND[index % len(_ROUND)]
    if kind == "edit":
        # Far beyond the edits of the truth bench and of the tests, in either stream.
        return sample_edit(KINDS[index // len(_ROUND) % len(KINDS)], 600_000 + index, stream).other
    if kind == "half":
        return counterfactual(sample_scene(number, stream, 2), Change("removal", index=index // len(_ROUND) % 2))
    return sample_scene(number, stream, {"pair": 2, "one": 1, "none": 0}[kind])


def label(facts: Facts, config: JudgeConfig) -> list[int]:
    """Return class numbers: a noun a slot, a colour a slot, ground, time; "none" is the last class."""
    row = []
    for words, name in ((config.nouns, "noun"), (config.colours, "colour")):
        for slot in SLOTS:
            word = getattr(facts.things.get(slot), name, None)
            row.append(len(words) if word is None else words.index(word))
    return [*row, config.grounds.index(facts.ground), int(facts.time == "night")]


@dataclass(frozen=True)
class Lessons:
    """Pictures (picture, row, column, RGB) of the judge's size, and class numbers (picture, `LABELS`)."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]


def draw(count: int, stream: Stream, config: JudgeConfig, artwork: Artwork, cache: Path | None = None) -> Lessons:
    """Draw the first `count` lessons of a stream, or read them from the folder `cache`."""
    archive = None if cache is None else cache / f"judge-{stream}-{count}-{config.size}.npz"
    if archive is not None and archive.is_file():
        with np.load(archive) as file:
            return Lessons(file["pictures"], file["labels"])
    pictures = np.empty((count, config.size, config.size, 3), np.uint8)
    labels = np.empty((count, LABELS), np.int64)
    for index in range(count):
        scene = lesson(index, stream)
        small = shrink(render(scene, artwork).picture[None], config.size)[0]
        pictures[index] = small.add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        labels[index] = label(facts_of(scene), config)
        if index % 1000 == 999:
            print(f"{stream}: {index + 1} of {count} drawn", file=sys.stderr, flush=True)
    if archive is not None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        np.savez(archive, pictures=pictures, labels=labels)
    return Lessons(pictures, labels)


def batches(lessons: Lessons, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield worn pictures (batch, RGB, row, column) in [-1, 1] with class numbers (batch, `LABELS`), for ever."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = rng.permutation(len(lessons.pictures))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            labels = torch.from_numpy(lessons.labels[chosen])
            yield worn(shrink(lessons.pictures[chosen], lessons.pictures.shape[1]), labels, generator)


def worn(pictures: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment pictures as autoencoders, resampling and editing wear them: mirror, shift, blur, noise, tone.

    Mirroring changes left and right in the labels too. Nothing here comes from any network of an editor.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    half = len(pictures) // 2
    pictures = torch.cat([pictures[:half].flip(3), pictures[half:]])
    labels = torch.cat([labels[:half][:, [2, 1, 0, 5, 4, 3, 6, 7]], labels[half:]])
    pictures = _moved(pictures, 0.94 + 0.12 * uniform(len(pictures)), 0.06 * uniform(len(pictures), 2) - 0.03)
    mixed = torch.randperm(len(pictures), generator=generator)
    pictures, labels = pictures[mixed], labels[mixed]
    quarter = len(pictures) // 4
    parts = list(torch.split(pictures, quarter))
    parts[0] = _blurred(parts[0], 0.3 + 0.9 * float(uniform(1)))
    parts[1] = _resampled(parts[1], 0.5 + 0.4 * float(uniform(1)))
    parts[2] = parts[2] + 0.10 * float(uniform(1)) * torch.randn(parts[2].shape, generator=generator)
    pictures = torch.cat(parts)
    gain, offset = 0.92 + 0.16 * uniform(len(pictures), 3, 1, 1), 0.10 * uniform(len(pictures), 3, 1, 1) - 0.05
    return (pictures * gain + offset).clamp(-1, 1), labels


def _moved(pictures: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale about the middle and shift by fractions of the frame; edges are repeated."""
    turn = torch.zeros(len(pictures), 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = scale
    turn[:, :, 2] = 2 * shift
    grid = F.affine_grid(turn, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Gaussian blur by `sigma` pixels."""
    across = torch.arange(-3, 4).float()
    weights = torch.exp(-(across**2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).repeat(3, 1, 1, 1)
    pictures = F.conv2d(F.pad(pictures, (3, 3, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(pictures, (0, 0, 3, 3), mode="replicate"), kernel.transpose(2, 3), groups=3)


def _resampled(pictures: Tensor, scale: float) -> Tensor:
    """Shrink by `scale` and bring back to size."""
    side = max(8, round(pictures.shape[2] * scale))
    small = F.interpolate(pictures, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, pictures.shape[2:], mode="bicubic", align_corners=False)
