"""Where and how precisely to compute: bfloat16 where the hardware multiplies it, single precision elsewhere."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """Return the first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than single precision: a CPU without such units emulates it, several times slower."""
    if device.type != "cpu":
        return True
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """Return a context that multiplies in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
