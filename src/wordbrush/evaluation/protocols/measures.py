"""The metrics of the protocols, defined as those who published them did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError
from wordbrush.evaluation import metrics
from wordbrush.evaluation.items import Scores
from wordbrush.evaluation.networks.preparing import FLEXIT_CLASSIFIER
from wordbrush.evaluation.protocols.measuring import Measure, Pair
from wordbrush.evaluation.protocols.pie import framed
from wordbrush.picture.picture import Picture

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.clip import Clip
    from wordbrush.evaluation.networks.lpips import Lpips
    from wordbrush.evaluation.networks.preparing import Preparation
    from wordbrush.evaluation.networks.vision import Classifier, Structure

__all__ = [
    "Files",
    "classifier_measure",
    "classifier_preparation",
    "clip_measure",
    "distance_measure",
    "lpips_measure",
    "mask_measure",
    "outside",
    "pie_background",
    "pie_clip",
    "pie_lpips",
    "structure_measure",
]

Bytes = NDArray[np.uint8]


class Files(Sequence[Bytes]):
    """Pictures (height, width, RGB) read from their files at each access, so that large sets need no memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Files: ...

    def __getitem__(self, index: int | slice) -> Bytes | Files:
        if isinstance(index, slice):
            return Files(self.paths[index])
        return Picture.open(self.paths[index]).srgb

    def __iter__(self) -> Iterator[Bytes]:
        return (self[index] for index in range(len(self)))


def distance_measure() -> Measure:
    """Return the distance of result and input: RMS over the whole picture, 0 to 1, and the share of changed pixels."""

    def compute(pair: Pair) -> Scores:
        _same_size(pair)
        return {
            "distance_to_input": metrics.rms_distance(pair.source, pair.edited),
            "changed_pixels": metrics.changed_share(pair.source, pair.edited),
        }

    return Measure("distance", ("distance_to_input", "changed_pixels"), compute)


def lpips_measure(network: Lpips, preparation: Preparation, column: str, times: float = 1.0) -> Measure:
    """Return LPIPS between input and result, times a factor that the column's name should tell."""

    def compute(pair: Pair) -> Scores:
        return {column: times * float(network.distances([pair.source], [pair.edited], preparation)[0])}

    return Measure(column, (column,), compute, network, preparation, {"times": times})


def clip_measure(network: Clip) -> Measure:
    """Return CLIPScore: 100 times the cosine of result and query, not below 0; and the same of the input."""

    def compute(pair: Pair) -> Scores:
        after, before = network.scores([pair.edited, pair.source], [pair.entry.query] * 2)
        return {"clip_score": float(after), "clip_score_input": float(before)}

    return Measure("clip", ("clip_score", "clip_score_input"), compute, network)


def classifier_measure(network: Classifier, classes: Sequence[int]) -> Measure:
    """Return FlexIT's three shares: results classified as the target, as the source, or as another class.

    Only classes that are a target somewhere in the query list are possible answers.
    """
    preparation = classifier_preparation(network.preparation)

    def compute(pair: Pair) -> Scores:
        seen = int(network.predict([pair.edited], classes, preparation)[0])
        right, same = seen == pair.entry.target, seen == pair.entry.source
        return {"accuracy": right, "unedited": same, "wrongly_edited": not right and not same}

    columns = ("accuracy", "unedited", "wrongly_edited")
    return Measure("classifier", columns, compute, network, preparation, {"classes": list(classes)})


def classifier_preparation(own: Preparation) -> Preparation:
    """Return the preparation for a classifier: FlexIT's square if it takes 384 pixels, else its own."""
    side = own.crop or (own.resize if isinstance(own.resize, tuple) else None)
    return FLEXIT_CLASSIFIER if side == FLEXIT_CLASSIFIER.crop else own


def structure_measure(network: Structure) -> Measure:
    """Return the structure distance between input and result; PIE-Bench's tables show 1000 times that."""

    def compute(pair: Pair) -> Scores:
        return {"structure_distance": float(network.distances([pair.source], [pair.edited])[0])}

    return Measure("structure", ("structure_distance",), compute, network)


def mask_measure() -> Measure:
    """Return IoU, precision and recall of the automatic mask against the protocol's, without PIE-Bench's frame.

    A picture that may change everywhere says nothing about where a mask should be: `local_mask_iou` leaves those out,
    `mask_iou` does not.
    """
    columns = ("mask_iou", "mask_precision", "mask_recall", "local_mask_iou")

    def compute(pair: Pair) -> Scores:
        if pair.mask is None or pair.region is None:
            return dict.fromkeys(columns)
        iou = metrics.iou(pair.mask, pair.region)
        shares = metrics.precision(pair.mask, pair.region), metrics.recall(pair.mask, pair.region)
        local = None if framed(pair.region).all() else iou
        return dict(zip(columns, (iou, *shares, local), strict=True))

    return Measure("mask", columns, compute)


def outside(pair: Pair) -> NDArray[np.bool_] | None:
    """Return PIE-Bench's background: all but the mask and the outermost pixels; None where nothing is left."""
    if pair.region is None:
        return None
    rest = ~framed(pair.region)
    return rest if rest.any() else None


def _blacked(picture: Bytes, keep: NDArray[np.bool_]) -> Bytes:
    """Return the picture with everything else black, as PIE-Bench hands it to its metrics."""
    return picture * keep[..., None].astype(np.uint8)


def pie_background() -> Measure:
    """Return PIE-Bench's PSNR, MSE and SSIM of the background, and the PSNR over the background's own pixels.

    PIE-Bench blackens the mask in both pictures and takes the mean over all pixels, black ones too; so the larger the
    mask, the better a background looks. `background_psnr` is free of that. All are undefined, not infinite, where the
    mask leaves nothing; equal backgrounds have a PSNR of 100.
    """
    columns = ("pie_psnr", "pie_mse", "pie_ssim", "background_psnr")

    def compute(pair: Pair) -> Scores:
        rest = outside(pair)
        _same_size(pair)
        if rest is None:
            return dict.fromkeys(columns)
        a, b = (_blacked(picture, rest) for picture in (pair.source, pair.edited))
        error = float(np.mean((a.astype(np.float64) - b) ** 2)) / 255**2
        values = (metrics.psnr(a, b), error, _plain_ssim(a, b), metrics.psnr(pair.source, pair.edited, rest))
        return dict(zip(columns, values, strict=True))

    return Measure("pie-background", columns, compute)


def _plain_ssim(a: Bytes, b: Bytes) -> float:
    """Return torchmetrics' SSIM with its defaults, values in [0, 1]: its mean leaves out a border of 5 pixels."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure as similarity

    planes = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None].float() / 255 for x in (a, b)]
    return float(similarity(*planes, data_range=1.0))


def pie_lpips(network: Lpips) -> Measure:
    """Return PIE-Bench's LPIPS (SqueezeNet) between the pictures with their masks blackened, at their own size."""

    def compute(pair: Pair) -> Scores:
        rest = outside(pair)
        if rest is None:
            return {"pie_lpips_squeeze": None}
        a, b = (_blacked(picture, rest) for picture in (pair.source, pair.edited))
        return {"pie_lpips_squeeze": float(network.distances([a], [b])[0])}

    return Measure("pie-lpips", ("pie_lpips_squeeze",), compute, network)


def pie_clip(network: Clip) -> Measure:
    """Return PIE-Bench's CLIPScores: input with its own prompt, result with the query, whole and blackened outside."""
    columns = ("clip_score_source", "clip_score", "clip_score_masked")

    def compute(pair: Pair) -> Scores:
        prompt, query = pair.entry.facts["original_prompt"], pair.entry.query
        pictures, texts = [pair.source, pair.edited], [prompt, query]
        if pair.region is not None:
            pictures.append(_blacked(pair.edited, framed(pair.region)))
            texts.append(query)
        scores: list[float | None] = [float(value) for value in network.scores(pictures, texts)]
        return dict(zip(columns, [*scores, None][: len(columns)], strict=True))

    return Measure("pie-clip", columns, compute, network)


def _same_size(pair: Pair) -> None:
    if pair.source.shape != pair.edited.shape:
        raise InputError(f"the result has shape {pair.edited.shape}, the picture {pair.source.shape}")
