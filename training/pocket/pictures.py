"""Rendered pictures of the autoencoder's training with the silhouettes of their objects, and crops that prefer them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .artwork import Artwork
from .render import SIZE, render
from .scenes import Stream, sample_scene
from .store import tensor_of

Bytes = NDArray[np.uint8]


def draw(folder: Path, name: str, stream: Stream, count: int, artwork: Artwork) -> None:
    """Render scenes 0 to `count` of a stream unless they are there.

    Writes ``NAME-silhouettes.npy``, one bit a pixel of any object (picture, row, column / 8), and then ``NAME.npy``,
    bytes (picture, row, column, RGB).
    """
    path, masks = folder / f"{name}.npy", folder / f"{name}-silhouettes.npy"
    if path.is_file() and masks.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    out = np.lib.format.open_memmap(part, "w+", np.uint8, (count, SIZE, SIZE, 3))
    inside = np.zeros((count, SIZE, SIZE // 8), np.uint8)
    for index in range(count):
        drawn = render(sample_scene(index, stream), artwork)
        out[index] = drawn.picture
        if drawn.silhouettes:
            inside[index] = np.packbits(np.logical_or.reduce(drawn.silhouettes), axis=1)
    out.flush()
    np.save(masks, inside)
    part.replace(path)


def open_pictures(path: Path) -> tuple[Bytes, Bytes]:
    """Return the memory-mapped pictures that `draw` wrote and their packed silhouettes."""
    return np.load(path, mmap_mode="r"), np.load(path.with_name(f"{path.stem}-silhouettes.npy"))


def crops(
    pictures: Bytes, silhouettes: Bytes, batch: int, side: int, prefer: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return random square crops, (batch, channel, row, column) in [-1, 1], and their silhouettes, 0 or 1.

    A share `prefer` of the crops is laid round a random pixel of an object, if the picture has one.
    """
    room = pictures.shape[1] - side
    cut, masks = [], []
    for index in rng.integers(len(pictures), size=batch):
        mask = np.unpackbits(silhouettes[index], axis=1)
        y, x = rng.integers(room + 1, size=2)
        if room and rng.uniform() < prefer and mask.any():
            rows, columns = np.nonzero(mask)
            pixel = int(rng.integers(len(rows)))
            shift = rng.integers(side // 4, side - side // 4 + 1, size=2)
            y, x = (np.array([rows[pixel], columns[pixel]]) - shift).clip(0, room)
        cut.append(pictures[index, y : y + side, x : x + side])
        masks.append(mask[None, y : y + side, x : x + side])
    return tensor_of(np.stack(cut)), torch.from_numpy(np.stack(masks)).float()
