"""Files of the training: weights, picture batches and contact sheets. Files appear whole, by an atomic rename."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors."""
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(part))
    part.replace(path)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the module's state."""
    save_tensors({name: tensor.detach().clone() for name, tensor in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read the module's state; raises when names or shapes differ."""
    module.load_state_dict(load_file(str(path)))


def save_json(data: Any, path: Path) -> None:
    """Write JSON."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.replace(path)


def tensor_of(pictures: np.ndarray) -> Tensor:
    """Turn bytes (batch, row, column, channel) into floats (batch, channel, row, column) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def write_sheet(rows: list[Tensor], path: Path) -> None:
    """Write rows of pictures, each (column, channel, row, column) in [-1, 1], as one PNG."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    sheet = torch.cat(lines, dim=1).clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0)
    part = path.with_suffix(".part")
    Image.fromarray(sheet.numpy()).save(part, format="PNG")
    part.replace(path)
