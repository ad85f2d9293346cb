"""LoRAs that distil a model to few steps (LCM-LoRA, Lightning, Hyper, Turbo, DMD2), told by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wordbrush.models.model import LoraIdentity, Model

__all__ = ["distilled_by_loras"]

_NAMES = re.compile(
    r"(?<![a-z])((lcm|turbo|dmd2?)(?![a-z])|hyper[-_ ]?(sd|flux)|flash[-_ ](sd|pixart))"
    r"|(?<!\d)\d{1,2}[-_ ]?steps?(?![a-z])",
    re.IGNORECASE,
)
"""What the publishers of such LoRAs write into the names of their files or folders: a few steps, or the method."""


def distilled_by_loras(model: Model, loras: Sequence[LoraIdentity]) -> Model:
    """Return a model as it is used with its LoRAs: one that distils it to few steps changes what is usual for it.

    Guidance is then 1 unless an edit says otherwise, but where the network is told it; and a picture is noised, not
    inverted, since an inversion does not come back on long steps.
    """
    called = next((name for lora in loras if lora.scale and (name := _called(lora.source))), "")
    if not called or model.encoding == "noise":
        return model
    unguided = model.policy.kind == "cfg"
    note = (
        f"taken for distilled to few steps, by the name of its LoRA {called!r}: "
        f"{'guidance is 1, and ' if unguided else ''}the picture is noised, unless you say (guidance, encoding)"
    )
    return replace(
        model,
        policy=replace(model.policy, scale=1.0) if unguided else model.policy,
        encoding="noise",
        sibling=f"{model.identity.name} without that LoRA",
        notes=(*model.notes, note),
    )


def _called(source: str) -> str:
    """Return the file, or the folder that it lies in, by whose name it distils, or ""."""
    path = Path(source.replace("\\", "/"))
    return next((name for name in (path.name, path.parent.name) if _NAMES.search(name)), "")
