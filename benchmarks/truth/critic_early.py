"""Drawings of a model's earlier checkpoints in few steps: spoiled pictures of a kind that no code draws."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.pocket.scenes import Stream, caption, sample_scene

from .critic_cases import FIRST
from .generation import draw

GUIDANCE: Final = 4.0
_STEPS: Final = (3, 4, 6)
_BATCH: Final = 16


def draw_early(folders: Sequence[Path], count: int, stream: Stream, cache: Path | None = None) -> NDArray[np.uint8]:
    """Draw captions of scenes with things, `count` for each checkpoint, in 3, 4 and 6 steps of DDIM in turn.

    Args:
        folders: of checkpoints in diffusers layout, with the autoencoder that the critic shall be used to.
        count: pictures from each.
        stream: of the scenes whose captions are drawn.
        cache: folder to keep the pictures in.

    Returns:
        (picture, height, width, RGB) bytes.
    """
    from wordbrush import Editor

    archive = None if cache is None else cache / f"early-{stream}-{len(folders)}x{count}.npy"
    if archive is not None and archive.is_file():
        return np.asarray(np.load(archive))
    pictures = []
    for place, folder in enumerate(folders):
        editor = Editor.from_pretrained(str(folder), batch_limit=2 * _BATCH)
        first = FIRST + place * count
        texts = [caption(sample_scene(first + k, stream, 1 + (k % 3 == 0))) for k in range(count)]
        for turn, steps in enumerate(_STEPS):
            pictures += list(draw(editor, texts[turn :: len(_STEPS)], GUIDANCE, steps, first + turn, _BATCH))
            print(f"{folder.name}, {steps} steps: {len(pictures)} pictures", file=sys.stderr, flush=True)
    drawn = np.stack(pictures)
    if archive is not None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        np.save(archive, drawn)
    return drawn
