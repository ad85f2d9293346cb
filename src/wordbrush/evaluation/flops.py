"""Count the floating-point operations of one pass through each part of a model.

A multiplication and an addition are two operations. Counted are matrix products, convolutions and attention, which is
where a diffusion model spends its time; normalisations, activations and copies are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wordbrush.picture.picture import plan_fit

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["Costs", "count_tflop", "tflop", "total"]


@dataclass(frozen=True)
class Costs:
    """TFLOP (10**12 operations) of one pass, for one item.

    Attributes:
        evaluation: of the denoising network.
        encode: of the autoencoder's encoder.
        decode: of its decoder.
        text: of the text encoder, one text.
    """

    evaluation: float
    encode: float
    decode: float
    text: float


def count_tflop(call: Callable[[], Any]) -> float:
    """Run a call without gradients and return its TFLOP.

    Attention runs as plain matrix products meanwhile: the fused kernels of some devices are unknown to the counter and
    would count as nothing.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.get_total_flops() / 1e12


def tflop(editor: Editor, size: tuple[int, int], *, resolution: int | None = None) -> Costs:
    """Count the operations of each part of a model on a picture of a size.

    Args:
        editor: the model.
        size: of the picture, (width, height).
        resolution: working size, side of the square of equal area; by default the model's own.
    """
    model = editor.model
    fit = plan_fit(size, grid=model.codec.factor, resolution=resolution or model.resolution)
    width, height = fit.canvas
    factor, device = model.codec.factor, model.device
    pixels = torch.zeros(1, 3, height, width, device=device)
    latent = torch.zeros(1, model.codec.channels, height // factor, width // factor, device=device)
    level, text = model.schedule.level(0.5), model.text.encode([""])[0].conditioning
    return Costs(
        evaluation=count_tflop(lambda: model.denoiser(latent, level, text)),
        encode=count_tflop(lambda: model.codec.encode(pixels)),
        decode=count_tflop(lambda: model.codec.decode(latent)),
        text=count_tflop(lambda: model.text.encode([""])),
    )


def total(costs: Costs, evaluations: int, encodes: int = 1, decodes: int = 1, texts: int = 0) -> float:
    """Return the TFLOP of a piece of work.

    Args:
        costs: of the model, at the picture's size.
        evaluations: of the network, one row of one call each.
        encodes: pictures encoded.
        decodes: pictures decoded.
        texts: texts encoded; a session encodes each once, so that they hardly count.
    """
    return costs.evaluation * evaluations + costs.encode * encodes + costs.decode * decodes + costs.text * texts
