"""Text encoders make room when memory is short: once, told, and come back for new texts; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import tiny
from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from wordbrush.editor import Editor
from wordbrush.errors import ResourceError
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.offload import encoders_of
from wordbrush.models.checkpoint.parts import from_pipeline
from wordbrush.models.family import Origin, Parts
from wordbrush.models.registry import family_of_pipeline

CPU = torch.device("cpu")
LEFT = "out of memory: the text encoders left the device, and come back for new texts alone"
SETTINGS: dict[str, Any] = {"steps": 4, "maps": 1, "strength": 0.5, "resolution": SIDE, "threshold": 0.2}
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def loaded(name: str = "flux-1-dev") -> tuple[Model, Parts]:
    """Return a family's tiny model whose encoders may leave, as on a device of its own; and its parts."""
    pipeline = ROWS[name].build()
    family = family_of_pipeline(pipeline, name)
    parts, device = from_pipeline(pipeline, family, name)
    model = family.build(parts, Origin(name, name, "", device))
    return replace(model, encoders=encoders_of(parts, family, device)), parts


def short(module: nn.Module, parts: Parts, rows: int = 0) -> list[str]:
    """Let a network run out of memory on more than `rows` rows while the encoders are there; a journal of all calls."""
    journal: list[str] = []
    away: set[str] = set()

    def named(name: str, encoder: nn.Module) -> None:
        move = encoder.to

        def to(device: Any) -> nn.Module:
            journal.append(f"{name} to {device}")
            (away.add if str(device) == "cpu" and journal else away.discard)(name)
            return move(device)

        encoder.to = to  # type: ignore[method-assign, assignment]

    for name in ("text_encoder", "text_encoder_2"):
        named(name, parts[name])

    def before(_module: nn.Module, args: Any, given: dict[str, Any]) -> None:
        x = args[0] if args else given["hidden_states"]
        journal.append(f"network {len(x)}")
        if len(x) > rows and len(away) < 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    module.register_forward_pre_hook(before, with_kwargs=True)
    return journal
