"""LoRAs: small changes to a model's layers, kept beside them by peft, or added to them where peft has no exact form."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.addons.account import LoraFile, read_lora
from wordbrush.models.addons.layers import Layer, factors, weight_change
from wordbrush.models.addons.tensors import AddOnFile
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.parts import translated
from wordbrush.models.checkpoint.quiet import losses, quiet
from wordbrush.models.family import Family, Parts
from wordbrush.models.model import LoraIdentity

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LoraSource", "apply_loras", "present_loras"]

LoraSource = str | Path | tuple[str | Path, float]
"""A safetensors file, or (file, scale); scale 1 is full strength, 0 none."""


@dataclass(frozen=True)
class _Lora:
    """A LoRA that fits, at a scale, with the name of its adapters."""

    read: LoraFile
    scale: float
    adapter: str

    @property
    def where(self) -> str:
        return self.read.file.where


def apply_loras(
    parts: Parts, family: Family, loras: Sequence[LoraSource]
) -> tuple[tuple[LoraIdentity, ...], tuple[str, ...]]:
    """Apply LoRAs to those parts that the family allows and that a file has layers for.

    At scale c a layer's weight W becomes W + c (W' - W), where W' is what the file means at full strength; the changes
    of several files, each told from the model's own W, add up.

    Args:
        parts: loaded parts; they are changed in place, and only after every file was checked.
        family: whose parts they are.
        loras: in the order they are to be recorded.

    Returns:
        Who they are, in the same order, and what a user should know about how they were applied.

    Raises:
        UnsafeWeightsError: a file is a pickle.
        ModelError: a file is missing, damaged, of an algorithm that is not supported, or made for another model; the
            family takes none; or peft is not installed.
        SettingsError: a scale is not a finite number.
    """
    if not loras:
        return (), ()
    if family.lora is None:
        raise ModelError(f"{family.card.title} take no LoRAs here: leave them out")
    try:
        import peft  # noqa: F401 - told of before a file is read
    except ImportError as error:
        raise ModelError("LoRAs need the package peft: install wordbrush[lora]") from error
    given = [_given(lora) for lora in loras]
    read = [
        _Lora(read_lora(path, parts, family.lora, family.lora_names), scale, f"lora_{index}")
        for index, (_, path, scale) in enumerate(given)
    ]
    notes: list[str] = [note for lora in read for note in lora.read.notes]
    _add(read)
    with quiet() as heard:
        for part in family.lora:
            _attach(parts[part], part, read)
            parts[part].eval().requires_grad_(False)
    notes += [f"LoRA: {line}" for line in losses(heard)]
    identities = [LoraIdentity(str(source), file_digest(path), scale) for source, path, scale in given]
    return tuple(identities), tuple(dict.fromkeys(notes))


def _given(lora: LoraSource) -> tuple[str | Path, Path, float]:
    source, scale = lora if isinstance(lora, tuple) else (lora, 1.0)
    if not math.isfinite(scale):
        raise SettingsError(f"LoRA scale {scale} of {source} is not a finite number")
    return source, Path(source).expanduser(), float(scale)


def _add(loras: Sequence[_Lora]) -> None:
    """Add to weights and biases what is no plain product: each change is told from the model's own weight."""
    import torch

    changed: dict[tuple[str, str], list[tuple[_Lora, Layer]]] = {}
    for lora in loras:
        for layer in lora.read.layers:
            changed.setdefault((layer.part, layer.path), []).append((lora, layer))
    with torch.no_grad():
        for places in changed.values():
            weights = [(lora, layer, weight_change(lora.read.file, layer)) for lora, layer in places]
            biases = [
                (lora, layer, lora.read.file.get(layer.tensors["diff_b"]))
                for lora, layer in places
                if "diff_b" in layer.tensors
            ]
            for lora, layer, change in weights:
                if change is not None:
                    _move(layer.module.weight, lora.scale * change, lora, layer)
            for lora, layer, change in biases:
                _move(layer.module.bias, lora.scale * change, lora, layer)


def _move(parameter: Any, change: Tensor, lora: _Lora, layer: Layer) -> None:
    moved = (parameter.float() + change.to(parameter.device)).to(parameter.dtype)
    if not bool(moved.isfinite().all()):
        dtype = str(parameter.dtype).removeprefix("torch.")
        raise ModelError(f"{lora.where}: at scale {lora.scale:g} layer {layer.name} leaves the range of {dtype}")
    parameter.data = moved


def _attach(module: nn.Module, part: str, loras: Sequence[_Lora]) -> None:
    """Let peft put the products of a part beside its layers, and switch all of them on at their scales."""
    from diffusers.utils import set_weights_and_activate_adapters
    from peft import inject_adapter_in_model, set_peft_model_state_dict

    used: list[_Lora] = []
    for lora in loras:
        layers = [layer for layer in lora.read.layers if layer.part == part and layer.has_factors and not layer.is_dora]
        if not layers:
            continue
        with translated(f"{lora.where} does not fit this model"):
            inject_adapter_in_model(_config(layers), module, lora.adapter, low_cpu_mem_usage=True)
            state = _state(lora.read.file, layers)
            outcome = set_peft_model_state_dict(module, state, lora.adapter, low_cpu_mem_usage=True)
        lost = [*outcome.unexpected_keys, *(name for name, value in module.named_parameters() if value.is_meta)]
        if lost:
            raise ModelError(f"{lora.where}: peft takes {len(lost)} of its tensors not (first: {lost[0]!r})")
        used.append(lora)
    if used:
        set_weights_and_activate_adapters(module, [lora.adapter for lora in used], [lora.scale for lora in used])


def _config(layers: Sequence[Layer]) -> Any:
    """Return peft's configuration for exactly these layers, each with its own rank and alpha."""
    from peft import LoraConfig

    rank = Counter(layer.rank for layer in layers).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers).most_common(1)[0][0]
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        rank_pattern={f"^{re.escape(layer.path)}": layer.rank for layer in layers if layer.rank != rank},
        alpha_pattern={f"^{re.escape(layer.path)}": layer.alpha for layer in layers if layer.alpha != alpha},
        target_modules="|".join(re.escape(layer.path) for layer in layers),
        lora_bias=any("bias" in layer.tensors for layer in layers),
    )


def _state(file: AddOnFile, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Return the factors under peft's names; where one layer has a bias of its own, all have, of zeros."""
    state: dict[str, Tensor] = {}
    biased = any("bias" in layer.tensors for layer in layers)
    for layer in layers:
        down, up = factors(file, layer)
        state[f"{layer.path}.lora_A.weight"], state[f"{layer.path}.lora_B.weight"] = down, up
        if biased:
            name = layer.tensors.get("bias")
            state[f"{layer.path}.lora_B.bias"] = down.new_zeros(up.shape[0]) if name is None else file.get(name)
    return state


def present_loras(parts: Parts, family: Family) -> tuple[LoraIdentity, ...]:
    """Return the adapters that are active in a pipeline already; their files are not known, so they have no digest."""
    scales: dict[str, float] = {}
    for module in (layer for name in family.lora or () for layer in parts[name].modules()):
        scaling, active = getattr(module, "scaling", None), getattr(module, "active_adapters", None)
        if isinstance(scaling, dict) and isinstance(active, list) and not getattr(module, "disable_adapters", False):
            for name in active:
                if name in scaling:
                    scales.setdefault(name, float(scaling[name]))
    return tuple(LoraIdentity(f"adapter {name}", "", scale) for name, scale in scales.items())
