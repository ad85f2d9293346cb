"""Half precision that is too narrow: rows that overflow are done again in float32, told, and nothing else changes."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support import tiny
from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes, NotFiniteError
from wordbrush.editor import Editor
from wordbrush.models import Model
from wordbrush.models.checkpoint.offload import Offload, hold_back
from wordbrush.models.checkpoint.parts import from_pipeline
from wordbrush.models.family import Origin
from wordbrush.models.precision import answered
from wordbrush.models.registry import family_of_pipeline

NETWORK = "the denoising network overflowed in float16: those rows were done again in float32"
ENCODER = "the text encoder overflowed in float16: those rows were done again in float32"
ENTRIES = {"sdxl": "unet.conv_in", "flux-1-dev": "transformer.x_embedder", "krea-2-raw": "transformer.img_in"}


def narrowed(name: str, way: Offload | None = None, *, dtype: torch.dtype = torch.float16) -> tuple[Model, Any]:
    """Return a family's tiny model whose network passes 65,504 inside, on large latents only; and that network."""
    pipeline = ROWS[name].build()
    part, layer = ENTRIES[name].split(".")
    network = getattr(pipeline, part)
    with torch.no_grad():
        network.get_submodule(layer).weight.mul_(1e5)
        network.get_submodule(layer).bias.zero_()
    kept = tuple(getattr(network, "_keep_in_fp32_modules", None) or ())
    for key, weight in network.named_parameters():
        if not any(piece in kept for piece in key.split(".")):
            weight.data = weight.data.to(dtype)
    nn.Module.to(pipeline.text_encoder, dtype)
    family = family_of_pipeline(pipeline, name)
    parts, device = from_pipeline(pipeline, family, name)
    if way is not None:
        hold_back(parts, device, way)
    return family.build(parts, Origin(name, name, "", device)), network


def asked(model: Model, x: Tensor) -> Tensor:
    """Return what the network says of latents, at one level and under one text."""
    side = SIDE // model.codec.factor
    text = model.policy.told(model.text.encode(["a red fox"], canvas=(side, side))[0].conditioning)
    level = model.schedule.level(0.5)
    return model.denoiser(x, level, Conditioning.concat([text] * len(x))).eps


@pytest.mark.parametrize(
    ("name", "way"),
    [("sdxl", None), ("krea-2-raw", None), *(("flux-1-dev", way) for way in (None, *get_args(Offload)))],
)
def test_rows_that_overflow_are_done_again_and_the_network_is_left_as_it_was(name: str, way: Offload | None) -> None:
    exact, _ = narrowed(name, dtype=torch.float32)
    model, network = narrowed(name, way)
    side = SIDE // model.codec.factor
    x = torch.randn(2, model.codec.channels, side, side, generator=torch.Generator().manual_seed(1))
    x[0] *= 1e-4
    dtypes = {key: value.dtype for key, value in network.state_dict().items()}
    before = {key: value.clone() for key, value in network.state_dict().items() if not value.is_meta}
    found, wanted = asked(model, x), asked(exact, x)
    assert model.fallbacks.take() == (NETWORK,)
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()
    assert {key: value.dtype for key, value in network.state_dict().items()} == dtypes
    assert torch.float16 in dtypes.values()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    # Only the row that overflowed was done again: its mate is what half precision gives, and that is not told.
    assert torch.equal(asked(model, x[[0, 0]])[:1], found[:1])
    assert model.fallbacks.take() == ()


def test_an_edit_tells_of_it_each_time_and_is_the_same_again() -> None:
    editor = Editor(narrowed("flux-1-dev")[0])
    source = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[8:24, 8:24] = True
    settings: dict[str, Any] = {"mask": inside, "steps": 4, "resolution": SIDE}
    results = [editor.edit(source, "a red fox", **settings) for _ in range(2)]
    assert [result.report.warnings.count(NETWORK) for result in results] == [1, 1]
    assert results[0].image.tobytes() == results[1].image.tobytes()


def test_a_text_encoder_that_overflows_is_asked_again_and_the_text_says_so() -> None:
    for name, layer in (("sdxl", "mlp.fc1"), ("z-image", "mlp.gate_proj")):
        pipeline = ROWS[name].build()
        encoder = pipeline.text_encoder
        weight = next(weight for key, weight in encoder.named_parameters() if f"{layer}.weight" in key)
        with torch.no_grad():
            weight.mul_(6e4 / weight.abs().max())
        wanted = family_of_pipeline(pipeline, name)
        parts, device = from_pipeline(pipeline, wanted, name)
        model = wanted.build(parts, Origin(name, name, "", device))
        full = model.text.encode(["a red fox"])[0]
        nn.Module.to(encoder, torch.float16)
        half = model.text.encode(["a red fox"])[0]
        assert (full.notes, half.notes) == ((), (ENCODER,)), name
        for key, value in full.conditioning.items():
            found, wide = half.conditioning[key].float(), value.float()
            assert (found - wide).abs().max() <= 0.02 * wide.abs().max()


class Odd(nn.Module):
    """A network of one float16 weight whose answer is not finite in any dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float("inf")], dtype=torch.float16))
        self.asked: list[torch.dtype] = []

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(self.dtype)
        return x * self.weight


@pytest.mark.parametrize(
    ("quantised", "asked_in"), [(False, [torch.float16, torch.float32]), (True, [torch.float16])]
)
def test_what_stays_not_finite_is_an_error_and_quantised_weights_are_never_recast(
    quantised: bool, asked_in: list[torch.dtype]
) -> None:
    module, notes = Odd(), Notes()
    module.is_quantized = quantised  # type: ignore[assignment]
    with pytest.raises(NotFiniteError, match="the network gave") as caught:
        answered(module, lambda rows: module(torch.ones(3, 2)[rows]), "the network", notes)
    assert caught.value.items == (0, 1, 2)
    assert (module.asked, notes.texts, module.dtype) == (asked_in, (), torch.float16)


def test_bfloat16_reaches_as_far_as_float32_and_is_not_tried_again() -> None:
    module = Odd().to(torch.bfloat16)
    with pytest.raises(NotFiniteError):
        answered(module, lambda rows: module(torch.ones(1, 2)[rows]), "the network", Notes())
    assert module.asked == [torch.bfloat16]


def test_without_memory_for_float32_the_error_is_that_of_the_overflow() -> None:
    unet = nn.Module.to(tiny.unet(), torch.float16)
    with torch.no_grad():
        unet.conv_in.weight.mul_(1e5)

    def before(module: nn.Module, _args: Any) -> None:
        if module.weight.dtype == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")

    unet.conv_in.register_forward_pre_hook(before)

    def call(rows: Any) -> Tensor:
        x, text = torch.full((1, 4, 8, 8), 5e3)[rows], torch.zeros(1, 4, unet.config.cross_attention_dim)
        answer: Tensor = unet(x.to(unet.dtype), 1, text.to(unet.dtype), return_dict=False)[0]
        return answer

    with pytest.raises(NotFiniteError, match="the network gave"):
        answered(unet, call, "the network", Notes())
    assert unet.conv_in.weight.dtype == unet.dtype == torch.float16
