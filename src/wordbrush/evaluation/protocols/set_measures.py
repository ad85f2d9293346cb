"""Metrics of all results together: FID against real pictures, FlexIT's CSFID and SFID."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from wordbrush.errors import InputError
from wordbrush.evaluation.networks.figures import Figure
from wordbrush.evaluation.networks.preparing import FLEXIT_SQUARE
from wordbrush.evaluation.protocols.measures import Files
from wordbrush.evaluation.protocols.measuring import Pair, SetMeasure
from wordbrush.evaluation.sets import ClassMeans, Moments, csfid, fid, sfid

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.figures import FeatureNetwork

__all__ = ["PICTURES", "Real", "csfid_measure", "fid_measure", "moments_of"]

PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_CHUNK: Final = 64


@dataclass(frozen=True)
class Real:
    """Real pictures that FID compares with."""

    paths: tuple[Path, ...]

    def facts(self) -> dict[str, Any]:
        """Return the number of files and a digest of their names and sizes, to tell this set from another."""
        total = hashlib.sha256()
        for path in self.paths:
            total.update(f"{path.name} {path.stat().st_size}\n".encode())
        return {"real_pictures": len(self.paths), "real_files": total.hexdigest()}


def _parts(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[Sequence[NDArray[np.uint8]]]:
    for start in range(0, len(pictures), _CHUNK):
        yield pictures[start : start + _CHUNK]


def moments_of(network: FeatureNetwork, pictures: Sequence[NDArray[np.uint8]]) -> Moments:
    """Return mean and covariance of the features of pictures, computed in chunks.

    Raises:
        InputError: there are fewer than two pictures.
        PictureError: a picture cannot be read.
    """
    if len(pictures) < 2:
        raise InputError(
            f"FID needs at least two pictures on each side, and thousands to mean much; here {len(pictures)}"
        )
    total: Any = 0.0
    products: Any = 0.0
    for part in _parts(pictures):
        features = network.features(part)
        total, products = total + features.sum(axis=0), products + features.T @ features
    count = len(pictures)
    mean = total / count
    return Moments(mean, (products - count * np.outer(mean, mean)) / (count - 1), count)


def fid_measure(network: FeatureNetwork, column: str, real: Real | None) -> SetMeasure:
    """Return FID between the results and real pictures, or the inputs where there are none.

    Against the inputs, FID falls as less is changed and is 0 for a copy: it is a distance, not a measure of realism.
    """

    def compute(pairs: Sequence[Pair]) -> list[Figure]:
        results = moments_of(network, Files([pair.folder / pair.row["output"] for pair in pairs]))
        others = real.paths if real is not None else tuple(dict.fromkeys(pair.entry.picture for pair in pairs))
        value = fid(results, moments_of(network, Files(others)))
        return [Figure.whole(column, value, len(pairs), network)]

    return SetMeasure(column, (column,), compute, network, facts=real.facts() if real is not None else {})


def csfid_measure(network: FeatureNetwork, reference: ClassMeans) -> SetMeasure:
    """Return FlexIT's CSFID and SFID: squared distances between mean features, without any covariance.

    Pictures are cropped to FlexIT's square of 256 first; the network resizes that once more, as in FlexIT.
    """

    def compute(pairs: Sequence[Pair]) -> list[Figure]:
        files = Files([pair.folder / pair.row["output"] for pair in pairs])
        squares = ([FLEXIT_SQUARE.pixels(picture) for picture in part] for part in _parts(files))
        features = np.concatenate([network.features(part) for part in squares])
        labels = [str(pair.entry.target) for pair in pairs]
        values = {"csfid": csfid(features, labels, reference), "sfid": sfid(features, reference)}
        return [_cropped(Figure.whole(name, value, len(pairs), network)) for name, value in values.items()]

    facts = {
        "classes": len(reference.labels),
        "overall_sha256": hashlib.sha256(reference.means.tobytes() + reference.overall.tobytes()).hexdigest(),
        "first": FLEXIT_SQUARE.text,
    }
    return SetMeasure("csfid", ("csfid", "sfid"), compute, network, facts=facts)


def _cropped(figure: Figure) -> Figure:
    """Return the figure with FlexIT's crop written before the network's own resizing."""
    from dataclasses import replace

    first = f"{FLEXIT_SQUARE.resize_text}, centre crop 256x256"
    return replace(figure, resize=f"{first}; {figure.resize}", preprocessing=f"{first}; {figure.preprocessing}")
