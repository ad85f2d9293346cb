"""The critic's training data: clean and spoiled pictures with labels of patches, drawn anew for every batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from wordbrush.evaluation.critic import STRIDE
from wordbrush.evaluation.items import Bytes

from .check_judge import reconstructions
from .critic_cases import Case, Cases
from .spoil_places import blob, soft
from .spoils import FAULTS, Spoiled

if TYPE_CHECKING:
    from wordbrush.models.codec import Codec

CLEAN, FAULTY, UNKNOWN = 0, 1, -1
TURNS: Final = (*FAULTS, "ghost", "rim", "clip", "melt", "clip", "melt")
"""Faults in the order in which they are learnt; those that are hard to see come more often."""
_FEWEST: Final = 4
"""A patch with at least so many plainly faulty pixels is faulty, with fewer it is unknown."""


def worn_case(cases: Cases, number: int, rng: np.random.Generator) -> Case:
    """Return a case as drawn (half of them), as the autoencoder returns it (a third), or returned in a region only.

    Where the autoencoder has not returned the case, one that it has returned takes its place.
    """
    draw = rng.uniform()
    if draw < 0.5:
        return cases.case(number, returned=False)
    number %= len(cases.returned)
    drawn, returned = cases.case(number, returned=False), cases.case(number, returned=True)
    if draw < 0.83:
        return returned
    where = [drawn.region, ~drawn.region, blob(rng, rng.uniform(0.2, 0.8))][rng.integers(3)]
    weight = soft(ndimage.binary_dilation(where, iterations=int(rng.integers(1, 5))), rng.choice([0.0, 1.0, 3.0]))
    parts = [
        (a + weight[..., None] * (b.astype(np.float32) - a)).round().astype(np.uint8)
        for a, b in ((drawn.before, returned.before), (drawn.after, returned.after), (drawn.empty, returned.empty))
    ]
    return Case(parts[0], parts[1], parts[2], drawn.region, drawn.old, drawn.new, drawn.kind)


def clean(cases: Cases, number: int, rng: np.random.Generator) -> Bytes:
    """Return a clean picture of a case: before, after, or the empty backdrop now and then."""
    case, draw = worn_case(cases, number, rng), rng.uniform()
    return case.before if draw < 0.42 else case.after if draw < 0.92 else case.empty


def spoil(name: str, cases: Cases, number: int, rng: np.random.Generator) -> Spoiled:
    """Return a case spoiled by the fault of that name."""
    other = cases.pictures[rng.integers(len(cases)), rng.integers(3)]
    return FAULTS[name](worn_case(cases, number, rng), other, rng)


def patch_labels(spoiled: Spoiled) -> NDArray[np.int64]:
    """Return the label of each patch (row, column): clean, faulty or unknown."""
    rows, columns = (side // STRIDE for side in spoiled.fault.shape)
    faulty, unsure = (
        mask.reshape(rows, STRIDE, columns, STRIDE).sum(axis=(1, 3)) for mask in (spoiled.fault, spoiled.unsure)
    )
    unknown = (faulty + unsure > 0) & (faulty < _FEWEST)
    return np.where(faulty >= _FEWEST, FAULTY, np.where(unknown, UNKNOWN, CLEAN)).astype(np.int64)


@dataclass(frozen=True)
class Pool:
    """Pictures (picture, height, width, RGB) with labels of patches (picture, row, column) and of pictures."""

    pictures: NDArray[np.uint8]
    patches: NDArray[np.int64]
    labels: NDArray[np.int64]


def gather(rows: list[tuple[Bytes, NDArray[np.int64], int]]) -> Pool:
    """Return the rows of (picture, labels of patches, label of the picture) as a pool."""
    pictures, patches, labels = zip(*rows, strict=True)
    return Pool(np.stack(pictures), np.stack(patches), np.array(labels, np.int64))


def clean_row(picture: Bytes) -> tuple[Bytes, NDArray[np.int64], int]:
    """Return a clean picture as a row of a pool."""
    side = picture.shape[0] // STRIDE
    return picture, np.full((side, side), CLEAN, np.int64), CLEAN


def spoiled_row(spoiled: Spoiled) -> tuple[Bytes, NDArray[np.int64], int]:
    """Return a spoiled picture as a row of a pool; one whose fault is faint has no label."""
    return spoiled.picture, patch_labels(spoiled), FAULTY if spoiled.plain else UNKNOWN


def early_pool(pictures: NDArray[np.uint8]) -> Pool:
    """Return early drawings of a model as faulty pictures; where the fault lies is unknown."""
    side = pictures.shape[1] // STRIDE
    patches = np.full((len(pictures), side, side), UNKNOWN, np.int64)
    return Pool(pictures, patches, np.full(len(pictures), FAULTY, np.int64))


def returned_spoils(cases: Cases, count: int, codec: Codec, seed: int) -> Pool:
    """Return spoiled renders after a round trip through the autoencoder, faults in turn."""
    rng, names = np.random.default_rng(seed), list(FAULTS)
    rows = [spoiled_row(spoil(names[k % len(names)], cases, int(rng.integers(len(cases))), rng)) for k in range(count)]
    pool = gather(rows)
    return Pool(reconstructions(codec, pool.pictures), pool.patches, pool.labels)


@dataclass(frozen=True)
class Lessons:
    """All that the critic learns from.

    Attributes:
        cases: edits of the training stream.
        renders: (picture, height, width, RGB) more clean renders.
        pools: spoiled pictures that were made beforehand, each with how many of a batch come from it.
    """

    cases: Cases
    renders: NDArray[np.uint8]
    pools: tuple[tuple[Pool, int], ...]


def batches(lessons: Lessons, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield pictures (batch, RGB, height, width) in [-1, 1], labels of patches (batch, row, column) and of pictures.

    Four in ten are clean. Of the spoiled ones that no pool gives, a third are spoiled anew and the others were in an
    earlier batch. Half of all pictures are mirrored.
    """
    rng, turn = np.random.default_rng(seed), 0
    earlier: list[tuple[Bytes, NDArray[np.int64], int]] = []
    while True:
        rows = []
        for k in range(round(0.4 * size)):
            plain = k % 4 == 0
            number = int(rng.integers(len(lessons.renders if plain else lessons.cases)))
            rows.append(clean_row(np.asarray(lessons.renders[number]) if plain else clean(lessons.cases, number, rng)))
        for pool, share in lessons.pools:
            chosen = rng.integers(len(pool.pictures), size=share)
            rows += [(pool.pictures[k], pool.patches[k], int(pool.labels[k])) for k in chosen]
        missing = size - len(rows)
        fresh = []
        for _ in range(missing if len(earlier) < 20 * missing else missing // 3):
            number = int(rng.integers(len(lessons.cases)))
            fresh.append(spoiled_row(spoil(TURNS[turn % len(TURNS)], lessons.cases, number, rng)))
            turn += 1
        rows += fresh + [earlier[k] for k in rng.integers(max(1, len(earlier)), size=missing - len(fresh))]
        earlier += fresh
        yield _tensors(gather(rows), rng.permutation(size), rng)


def _tensors(pool: Pool, order: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    pictures = torch.from_numpy(pool.pictures[order]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    patches, labels = torch.from_numpy(pool.patches[order]), torch.from_numpy(pool.labels[order])
    half = len(order) // 2
    pictures = torch.cat([pictures[:half].flip(3), pictures[half:]])
    patches = torch.cat([patches[:half].flip(2), patches[half:]])
    return pictures, patches, labels
