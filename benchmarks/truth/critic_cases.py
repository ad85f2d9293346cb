"""The critic's raw material: edits of the training stream as renders, as the autoencoder returns them, and as masks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from training.pocket.artwork import Artwork
from training.pocket.edits import Edit, EditKind, sample_edit
from training.pocket.render import SIZE, Rendering, render, true_region
from training.pocket.scenes import Scene, Stream
from wordbrush.evaluation.items import Bool, Bytes

from .check_judge import reconstructions

if TYPE_CHECKING:
    from wordbrush.models.codec import Codec

FIRST: Final = 800_000
"""Number of the first edit of each kind: beyond those of the truth bench, of the judge and of the tests."""
_ROUND: Final[tuple[EditKind, ...]] = (
    *("object", "ground", "time", "removal", "object", "colour", "pair", "addition", "ground"),
    *("time", "removal", "object", "pair", "colour", "removal", "object", "time", "ground"),
)
_CHUNK: Final = 64


@dataclass(frozen=True)
class Case:
    """One edit with its truth; pictures are (height, width, RGB) bytes, masks (height, width).

    Attributes:
        before, after: the input and its counterfactual.
        empty: the counterfactual's backdrop without things.
        region: the true region of the edit.
        old, new: silhouettes of what changes, before and after; of all things where ground or time changes.
        kind: the kind of edit.
    """

    before: Bytes
    after: Bytes
    empty: Bytes
    region: Bool
    old: Bool
    new: Bool
    kind: EditKind


@dataclass(frozen=True)
class Cases:
    """Many cases.

    Attributes:
        pictures: (case, before or after or empty, height, width, RGB) renders.
        returned: the same of the first cases, before and after as the autoencoder returns them.
        masks: (case, region or old or new, height, width).
    """

    pictures: NDArray[np.uint8]
    returned: NDArray[np.uint8]
    masks: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.pictures)

    def case(self, number: int, *, returned: bool) -> Case:
        """Return a case with its renders, or with what the autoencoder returns of them."""
        before, after, empty = (self.returned if returned else self.pictures)[number]
        region, old, new = self.masks[number]
        return Case(before, after, empty, region, old, new, kind_of(number))


def kind_of(number: int) -> EditKind:
    """Return the kind of case number `number`."""
    return _ROUND[number % len(_ROUND)]


def edit_of(number: int, stream: Stream) -> Edit:
    """Return the edit of case number `number` of a stream."""
    return sample_edit(kind_of(number), FIRST + number, stream)


def draw_cases(
    count: int, returned: int, stream: Stream, artwork: Artwork, codec: Codec, cache: Path | None = None
) -> Cases:
    """Draw the first `count` cases of a stream, or read them from the folder `cache`; the autoencoder returns some."""
    archive = None if cache is None else cache / f"critic-{stream}-{count}-{returned}.npz"
    if archive is not None and archive.is_file():
        with np.load(archive) as file:
            return Cases(file["pictures"], file["returned"], np.unpackbits(file["masks"], axis=-1).astype(np.bool_))
    pictures = np.empty((count, 3, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((count, 3, SIZE, SIZE), np.bool_)
    for number in range(count):
        pictures[number], masks[number] = _drawn(edit_of(number, stream), artwork)
    back = pictures[:returned].copy()
    for start in range(0, returned, _CHUNK):
        part = back[start : start + _CHUNK, :2]
        part[:] = reconstructions(codec, part.reshape(-1, SIZE, SIZE, 3)).reshape(part.shape)
        print(f"{stream}: {min(returned, start + _CHUNK)} of {returned} returned", file=sys.stderr, flush=True)
    if archive is not None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        np.savez(archive, pictures=pictures, returned=back, masks=np.packbits(masks, axis=-1))
    return Cases(pictures, back, masks)


def _drawn(edit: Edit, artwork: Artwork) -> tuple[Bytes, Bool]:
    before, after = render(edit.scene, artwork), render(edit.other, artwork)
    empty = render(replace(edit.other, things=()), artwork).picture
    region = true_region(edit.scene, edit.other, artwork)
    old = _silhouette(edit.scene, edit.other, before)
    new = _silhouette(edit.other, edit.scene, after)
    return np.stack([before.picture, after.picture, empty]), np.stack([region, old, new])


def _silhouette(scene: Scene, other: Scene, drawn: Rendering) -> Bool:
    """Return the union of the silhouettes of the things that the other scene lacks; of all where it lacks none."""
    changed = [mask for thing, mask in zip(scene.things, drawn.silhouettes, strict=True) if thing not in other.things]
    return union(changed or (drawn.silhouettes if len(scene.things) == len(other.things) else ()))


def union(masks: Sequence[Bool]) -> Bool:
    """Return the union of masks, empty where there are none."""
    whole: Bool = np.zeros((SIZE, SIZE), np.bool_)
    for mask in masks:
        whole = whole | mask
    return whole
