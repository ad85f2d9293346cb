"""How strongly a LoRA was trained to act: alpha over rank, from the file, its metadata or the file beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wordbrush.errors import ModelError
from wordbrush.models.addons.tensors import AddOnFile
from wordbrush.models.checkpoint.layout import read_json

__all__ = ["Declared", "checked_alpha"]

_METADATA = "lora_adapter_metadata"
_BESIDE = "adapter_config.json"
_PEFT = "base_model.model."


@dataclass(frozen=True)
class Declared:
    """What a file, or peft's configuration beside it, says of its strength in words instead of tensors.

    Attributes:
        file: the file.
        by_part: the settings of a peft LoraConfig for each part; "" = for all.
    """

    file: AddOnFile
    by_part: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, file: AddOnFile, parts: tuple[str, ...]) -> Declared:
        """Read the metadata that diffusers writes, else the configuration that peft puts beside its weights.

        Raises:
            ModelError: they cannot be read.
        """
        if text := file.header.metadata.get(_METADATA):
            try:
                table = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{file.where}: the metadata {_METADATA} is not valid JSON") from error
            if not isinstance(table, dict):
                raise ModelError(f"{file.where}: the metadata {_METADATA} is not a table")
            return cls(file, {part: _within(table, part) for part in parts})
        beside = file.path.with_name(_BESIDE)
        if file.path.stem == "adapter_model" and beside.is_file():
            return cls(file, {"": read_json(beside, file.where)})
        return cls(file, {})

    def alpha(self, part: str, path: str, rank: int) -> float:
        """Return the strength of a layer in ranks, where it has no alpha of its own; the rank where nothing is said.

        Raises:
            ModelError: alpha is no number, not finite or zero.
        """
        config = self._config(part)
        patterns = config.get("alpha_pattern")
        alpha = config.get("lora_alpha")
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            if path == str(pattern).removeprefix("^") or path.endswith(f".{pattern}"):
                alpha = value
        if alpha is None:
            return float(rank)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise ModelError(f"{self.file.where}: lora_alpha of {path} is {alpha!r}, not a number")
        return checked_alpha(self.file, float(alpha), path) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)

    def is_dora(self, part: str) -> bool:
        """Say whether the LoRA of a part is said to be a DoRA."""
        return bool(self._config(part).get("use_dora"))

    def _config(self, part: str) -> Mapping[str, Any]:
        return self.by_part.get(part) or self.by_part.get("", {})

    def notes(self) -> tuple[str, ...]:
        """Return what is to be told: the strength of peft's own files is in another file, which may not be there."""
        names = self.file.header.tensors
        if self.by_part or not any(name.startswith(_PEFT) for name in names):
            return ()
        return (f"{self.file.where}: {_BESIDE} is not beside it, so the strength it was trained with is taken as 1",)


def checked_alpha(file: AddOnFile, alpha: float, layer: str) -> float:
    """Return an alpha that has an effect.

    Raises:
        ModelError: it is zero or not finite.
    """
    if alpha == 0 or not math.isfinite(alpha):
        raise ModelError(f"{file.where}: alpha of {layer} is {alpha:g}, with which it cannot be applied")
    return alpha


def _within(table: Mapping[str, Any], part: str) -> dict[str, Any]:
    start = f"{part}."
    return {name.removeprefix(start): value for name, value in table.items() if name.startswith(start)}
