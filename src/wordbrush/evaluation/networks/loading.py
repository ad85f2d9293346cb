"""One door to all metric networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wordbrush.errors import InputError
from wordbrush.evaluation.networks.backbones import BackboneName
from wordbrush.evaluation.networks.clip import Clip, load_clip
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.networks.inception import Inception, load_inception
from wordbrush.evaluation.networks.lpips import Lpips, load_lpips
from wordbrush.evaluation.networks.vision import (
    Classifier,
    Features,
    Structure,
    load_classifier,
    load_features,
    load_structure,
)

__all__ = ["Network", "NetworkKind", "NetworkSpec", "load_network"]

NetworkKind = Literal["lpips", "clip", "inception", "features", "classifier", "structure"]
Network = Lpips | Clip | Inception | Features | Classifier | Structure


@dataclass(frozen=True)
class NetworkSpec:
    """Which metric network from where.

    Attributes:
        kind: `lpips`; `clip` for CLIPScore and directional similarity; `inception` or `features` for FID, KID and
            CSFID; `classifier` for accuracy; `structure` for the structure distance.
        source: a folder, a safetensors file or a hub id; None if the user named none.
        revision: of a hub repository.
        net: LPIPS' backbone.
        implementation: of LPIPS: this package's or the lpips package's.
    """

    kind: NetworkKind
    source: str | Path | None = None
    revision: str | None = None
    net: BackboneName = "alex"
    implementation: Literal["wordbrush", "lpips"] = "wordbrush"


def load_network(spec: NetworkSpec) -> Network | Skipped:
    """Load a metric network, or say why it cannot be had.

    The functions it calls (`load_lpips`, `load_clip`, ...) do the same with a narrower type.

    Raises:
        InputError: the kind or backbone is unknown.
        ModelError: weights are there but are damaged, or not those of the network.
    """
    if spec.kind == "lpips":
        return load_lpips(spec.source, spec.net, spec.revision, spec.implementation)
    loaders = {
        "clip": load_clip,
        "inception": load_inception,
        "features": load_features,
        "classifier": load_classifier,
        "structure": load_structure,
    }
    if spec.kind not in loaders:
        raise InputError(f"there is no metric network {spec.kind!r}: choose one of lpips, {', '.join(loaders)}")
    return loaders[spec.kind](spec.source, spec.revision)
