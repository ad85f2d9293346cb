"""Scenes as columns of numbers, captions and all, so that a GPU can draw any of them without asking the host."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .atlas import NUMBERS
from .backdrop import backdrop
from .captions import CAPTIONS_PER_SCENE, captions
from .render import SIZE
from .scenes import Scene, Stream, sample_scene
from .text import MAX_LENGTH, build_tokenizer
from .words import GROUNDS, TIMES

PAIRS = 5
_Part = TypeVar("_Part")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class SceneTable:
    """Columns over the scenes. The second axis of the first three is the object, left to right, at most two."""

    sprites: NDArray[np.int64]
    """Row of the atlas, -1 where there is no object."""
    places: NDArray[np.float32]
    """x, y, size and tilt (scene, object, 4), as in `Thing`."""
    flips: NDArray[np.bool_]
    light: NDArray[np.float32]
    backdrops: NDArray[np.int64]
    """Row of the bank of backdrops."""
    tokens: NDArray[np.int16]
    """Token numbers (scene, caption, position)."""

    def __len__(self) -> int:
        return len(self.light)


def table_scene(index: int, stream: Stream) -> Scene:
    """Return scene `index` of a table: one in `PAIRS` holds two objects, whatever chance says, the others as sampled.

    Objects of a pair are small, so they are harder to draw, and edits beside something else are the harder ones.
    """
    return sample_scene(index, stream, 2 if index % PAIRS == 0 else None)


def backdrop_row(scene: Scene, variants: int) -> int:
    """Return the row of the bank that a scene takes: its ground and time, and one of the variants by its seed."""
    return (GROUNDS.index(scene.ground) * len(TIMES) + TIMES.index(scene.time)) * variants + scene.seed % variants


def bank_setting(row: int, variants: int) -> tuple[str, str, float, int]:
    """Return ground, time, horizon and seed of a row of the bank; seeds are of the train stream."""
    kind, variant = divmod(row, variants)
    like = sample_scene(variant, "train")
    return GROUNDS[kind // len(TIMES)], TIMES[kind % len(TIMES)], like.horizon, like.seed


def _bank_rows(task: tuple[int, int, int]) -> NDArray[np.uint8]:
    first, last, variants = task
    made = [backdrop(*bank_setting(row, variants), SIZE) for row in range(first, last)]
    return (np.stack(made).clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def _scene_rows(task: tuple[Path, Stream, int, int, int]) -> SceneTable:
    """Describe scenes `first` to `last`; the tokenizer of captions is looked up word by word: each is one token."""
    folder, stream, first, last, variants = task
    tokenizer = build_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    count = last - first
    table = SceneTable(
        sprites=np.full((count, 2), -1, np.int64),
        places=np.zeros((count, 2, 4), np.float32),
        flips=np.zeros((count, 2), np.bool_),
        light=np.zeros(count, np.float32),
        backdrops=np.zeros(count, np.int64),
        tokens=np.full((count, CAPTIONS_PER_SCENE, MAX_LENGTH), end, np.int16),
    )
    for row, scene in enumerate(table_scene(index, stream) for index in range(first, last)):
        for slot, thing in enumerate(scene.things):
            table.sprites[row, slot] = NUMBERS[thing.noun, thing.colour]
            table.places[row, slot] = thing.x, thing.y, thing.size, thing.tilt
            table.flips[row, slot] = thing.flip
        table.light[row] = scene.light
        table.backdrops[row] = backdrop_row(scene, variants)
        for number, text in enumerate(captions(scene)):
            ids = [start, *(vocabulary[f"{word}</w>"] for word in text.split())]
            table.tokens[row, number, : len(ids)] = ids
    return table


def build_table(folder: Path, stream: Stream, count: int, variants: int, processes: int) -> SceneTable:
    """Describe `count` scenes of a stream; the tokenizer's files are written under `folder`."""
    step = -(-count // processes)
    parts = [(folder / str(i), stream, i, min(i + step, count), variants) for i in range(0, count, step)]
    made = _spread(_scene_rows, parts, processes)
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in made]) for field in fields(SceneTable)}
    return SceneTable(**columns)


def build_bank(variants: int, processes: int) -> NDArray[np.uint8]:
    """Draw the empty scenes of every ground and time, (row, row, column, RGB) bytes; rows as `backdrop_row` says."""
    count = len(GROUNDS) * len(TIMES) * variants
    step = -(-count // processes)
    parts = [(i, min(i + step, count), variants) for i in range(0, count, step)]
    return np.concatenate(_spread(_bank_rows, parts, processes))


def _spread(work: Callable[[_Part], _Made], parts: Sequence[_Part], processes: int) -> list[_Made]:
    if processes == 1:
        return [work(part) for part in parts]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(work, parts)
