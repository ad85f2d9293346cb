"""Where, how precisely and how long to compute: bfloat16 where the hardware multiplies it, else single precision."""

from __future__ import annotations

import time

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


def clock(device: torch.device) -> float:
    """Return minutes of a clock: computing time of this process on a CPU, which other work may share, else time."""
    return (time.process_time() if device.type == "cpu" else time.monotonic()) / 60


def hurry(device: torch.device) -> None:
    """Let a GPU multiply single precision in TF32 and choose its convolutions by trying them: both of this process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
