"""Where a model runs and in what precision: what a user may say, and what is taken where nothing is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wordbrush.errors import SettingsError
from wordbrush.models.model import HalfName

if TYPE_CHECKING:
    import torch

__all__ = ["resolve_device", "resolve_dtype"]

_DTYPES = {
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float32": "float32",
    "fp32": "float32",
    "float": "float32",
}


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for; by default the first present of CUDA, MPS and the CPU.

    Raises:
        SettingsError: torch does not know it, or this machine does not have it.
    """
    import torch

    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise SettingsError(f"device {str(device)!r} is unknown: use 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    if not _is_here(chosen):
        raise SettingsError(f"device {str(device)!r} is not available here: use 'cpu', or leave the device out")
    return chosen


def _is_here(device: torch.device) -> bool:
    """Say whether this machine has a device that computes; `meta`, which only counts shapes, is none."""
    import torch

    if device.type == "cpu":
        return True
    if device.type == "mps":
        return torch.backends.mps.is_available()
    module: Any = getattr(torch, device.type, None)
    if not hasattr(module, "is_available") or not module.is_available():
        return False
    return device.index is None or device.index < int(module.device_count())


def resolve_dtype(
    dtype: str | torch.dtype | None, device: torch.device, half: HalfName = "float16"
) -> torch.dtype:
    """Return the dtype asked for; by default `half` on CUDA, else float32.

    Raises:
        SettingsError: it is none of float32, float16 and bfloat16.
    """
    import torch

    if dtype is None or dtype == "auto":
        return getattr(torch, half) if device.type == "cuda" else torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise SettingsError(f"dtype {name!r} is unknown: use 'float32', 'float16' or 'bfloat16'")
    chosen: torch.dtype = getattr(torch, _DTYPES[name])
    return chosen
