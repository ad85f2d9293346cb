"""Small networks kept as a folder, `config.json` beside weights in half precision: the judge and the critic."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from wordbrush.errors import ModelError
from wordbrush.files import write_atomic

__all__ = ["keep_network", "read_network"]

CONFIG_NAME: Final = "config.json"
Network = TypeVar("Network", bound=nn.Module)


def read_network(folder: str | Path, what: str, build: Callable[[Mapping[str, Any]], Network]) -> Network:
    """Read a network from its folder, in single precision.

    Args:
        folder: of `config.json` and the weights, `WHAT.safetensors`.
        what: `judge` or `critic`.
        build: makes the untrained network from the content of `config.json`; raises KeyError, TypeError or ValueError
            where it is not one.

    Raises:
        ModelError: a file is missing or is not what it should be; the message names it.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        network = build(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(f"{path}: no {what} is here ({error.strerror}); give the folder of one") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: this is not the description of a {what} ({error}); fetch it again") from error
    path = Path(folder) / f"{what}.safetensors"
    try:
        network.load_state_dict(load_file(str(path)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: the {what}'s weights cannot be used ({error}); fetch them again") from error
    return network.float()


def keep_network(network: nn.Module, config: Mapping[str, Any], folder: Path, what: str) -> None:
    """Write what `read_network` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    weights = save({name: tensor.contiguous() for name, tensor in half.items()})
    write_atomic(folder / f"{what}.safetensors", weights, force=True)
    write_atomic(folder / CONFIG_NAME, (json.dumps(config, indent=1) + "\n").encode(), force=True)
