"""Single passes in the shape of SD1.5 at 512 pixels: torch as it is, channels last, compiled."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.gpu.probes import Case, milliseconds
from benchmarks.shapes import sd15
from tests.support import tiny
from wordbrush.diffusion.faults import Notes
from wordbrush.speed import compiled

__all__ = ["forwards"]

_ROWS = 2
"""A guided step asks for two rows."""


@torch.no_grad()
def forwards(case: Case, dtype: torch.dtype) -> None:
    """Time single passes of random networks; `compiled` is what `--backend compile` makes of them."""
    torch.manual_seed(0)
    cells = 8 if case.toy else 64
    with torch.device(case.device):
        pipeline = tiny.pipeline("sd1") if case.toy else sd15(side=8 * cells)
        unet, vae = (torch.nn.Module.to(part, dtype) for part in (pipeline.unet, pipeline.vae))
        text = torch.randn(_ROWS, 77, unet.config.cross_attention_dim, dtype=dtype)
        x, label = torch.randn(_ROWS, 4, cells, cells, dtype=dtype), torch.full((_ROWS,), 500.0)

    def step() -> torch.Tensor:
        answer: torch.Tensor = unet(x, label, encoder_hidden_states=text, return_dict=False)[0]
        return answer

    with case.turn():
        expected = step()
    case.tell(eager_ms=milliseconds(case, step), finite=bool(expected.isfinite().all()))
    case.tell(decode_ms=milliseconds(case, lambda: vae.decode(x[:1], return_dict=False)[0]))
    for weight in unet.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    case.tell(channels_last_ms=milliseconds(case, step), channels_last_error=_off(step(), expected))
    compiled.take_over(unet, "denoising network", Notes())
    begin = time.perf_counter()
    answer = step()
    case.wait()
    case.tell(compiled_in_s=round(time.perf_counter() - begin, 2))
    case.tell(compiled_ms=milliseconds(case, step), compiled_error=_off(answer, expected))
    own: Any = unet.forward
    case.tell(kinds=len(own.kinds))


def _off(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference, as a share of the largest number."""
    return float((made - wanted).abs().max().float() / wanted.abs().max().float())
