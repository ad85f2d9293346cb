"""LoRAs: small changes to a model's attention, kept beside it, through diffusers and peft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.parts import translated
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.family import Family, LoraParts, Parts
from wordbrush.models.model import LoraIdentity

__all__ = ["LoraSource", "apply_loras", "present_loras"]

LoraSource = str | Path | tuple[str | Path, float]
"""A safetensors file, or (file, scale); scale 1 is full strength, 0 none."""


def apply_loras(
    parts: Parts, family: Family, loras: Sequence[LoraSource]
) -> tuple[tuple[LoraIdentity, ...], tuple[str, ...]]:
    """Attach LoRAs to those parts that the family allows and that a file has layers for.

    Args:
        parts: loaded parts; they are changed in place.
        family: whose parts they are.
        loras: in the order they are to be recorded.

    Returns:
        Who they are, in the same order, and what a user should know about how they were applied.

    Raises:
        UnsafeWeightsError: a file is a pickle.
        ModelError: a file is missing, damaged or made for another model, the family takes none, or peft is not
            installed.
        SettingsError: a scale is not a finite number.
    """
    if not loras:
        return (), ()
    if family.lora is None:
        raise ModelError(f"{family.card.title} take no LoRAs here: leave them out")
    checked = [_checked(lora) for lora in loras]
    try:
        import peft  # noqa: F401 - diffusers finds it by itself
    except ImportError as error:
        raise ModelError("LoRAs need the package peft: install wordbrush[lora]") from error
    with quiet():
        _attach(parts, family.lora, checked)
    return tuple(LoraIdentity(str(source), file_digest(path), scale) for source, path, scale in checked), ()


def _checked(lora: LoraSource) -> tuple[str | Path, Path, float]:
    source, scale = lora if isinstance(lora, tuple) else (lora, 1.0)
    if not math.isfinite(scale):
        raise SettingsError(f"LoRA scale {scale} of {source} is not a finite number")
    path = Path(source).expanduser()
    read_header(path)
    return source, path, float(scale)


def _attach(parts: Parts, touched: LoraParts, loras: Sequence[tuple[str | Path, Path, float]]) -> None:
    pipeline = touched.pipeline(parts)
    names = [f"lora_{index}" for index in range(len(loras))]
    for name, (_, path, _) in zip(names, loras, strict=True):
        with translated(f"LoRA {path.name} does not fit this model"):
            pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name, use_safetensors=True, local_files_only=True
            )
        if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
            raise ModelError(f"LoRA {path.name} has no layers for this model: it was made for another family")
    pipeline.set_adapters(names, [scale for _, _, scale in loras])
    for name in touched.names:
        parts[name].eval().requires_grad_(False)


def present_loras(parts: Parts, family: Family) -> tuple[LoraIdentity, ...]:
    """Return the adapters that are active in a pipeline already; their files are not known, so they have no digest."""
    scales: dict[str, float] = {}
    touched = () if family.lora is None else family.lora.names
    for module in (layer for name in touched for layer in parts[name].modules()):
        scaling, active = getattr(module, "scaling", None), getattr(module, "active_adapters", None)
        if isinstance(scaling, dict) and isinstance(active, list) and not getattr(module, "disable_adapters", False):
            for name in active:
                if name in scaling:
                    scales.setdefault(name, float(scaling[name]))
    return tuple(LoraIdentity(f"adapter {name}", "", scale) for name, scale in scales.items())
