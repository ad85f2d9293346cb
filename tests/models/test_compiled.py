"""torch's compiler as backend: torch's answers, one compilation for each shape, and plain refusals.

What torch traces is run as it is (`eager`), which shows what the wrapper does; one slow test compiles for real.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import tiny
from wordbrush.cli import loading as cli_loading
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.terminal import Terminal
from wordbrush.diffusion.faults import Notes
from wordbrush.editor import Editor
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models import load_model
from wordbrush.models.precision import widened
from wordbrush.speed import compiled
from wordbrush.speed.backend import on_backend
from wordbrush.speed.compiled import Compiled
from wordbrush.speed.unet import refusal

EDIT: dict[str, Any] = {"steps": 2, "ratio": 1.0, "maps": 1, "strength": 0.6, "edges": "cells"}
TEXTS = ("a red car", "a dog on grass")
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
SMALL: dict[str, Any] = {
    "layers_per_block": 1,
    "block_out_channels": (32,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "mid_block_type": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reading: dict[str, Any] = {"down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",)}
    small = {"unet": tiny.unet(**SMALL | reading), "vae": tiny.vae(layers_per_block=1)}
    return tiny.write_folder(tmp_path_factory.mktemp("tiny"), "sd1", **small)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch trace networks without making machine code of them."""
    monkeypatch.setattr(Compiled.__init__, "__defaults__", ("eager",))


def inputs(rows: int = 1, side: int = 8) -> tuple[torch.Tensor, ...]:
    """Latents, a level and a text for `tiny.unet`."""
    draws = torch.Generator().manual_seed(rows * 100 + side)
    latents = torch.randn(rows, tiny.CHANNELS, side, side, generator=draws)
    return latents, torch.full((rows,), 500.0), torch.randn(rows, 5, 32, generator=draws)


def call(module: Any, x: torch.Tensor, level: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(x, level, encoder_hidden_states=text, return_dict=False)[0]
    return answer


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@torch.no_grad()
def test_each_kind_of_call_is_compiled_once_and_from_a_bound_on_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "SHAPES", 2)
    graphs = list[Any]()

    def counted(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    module, plain = tiny.unet(**SMALL), tiny.unet(**SMALL)
    notes = Notes()
    module.forward = answers = Compiled(module, "denoising network", notes, counted)  # type: ignore[arg-type]
    for rows, side in ((1, 8), (2, 8), (1, 8), (2, 8)):
        assert far(call(module, *inputs(rows, side)), call(plain, *inputs(rows, side))) < 1e-5
    assert len(graphs) == len(answers.kinds) == 2
    assert notes.take() == ()
    for _ in range(2):
        assert torch.equal(call(module, *inputs(3)), call(plain, *inputs(3)))
    assert len(graphs) == 2
    assert notes.take() == (
        "the denoising network is compiled for 2 shapes of input; others are computed without the compiler",
    )


def test_gradients_and_another_precision_are_left_to_the_module() -> None:
    module = tiny.unet(**SMALL).bfloat16()
    module.forward = answers = Compiled(module, "denoising network", Notes(), "never asked")
    x, level, text = inputs()
    with widened(module), torch.no_grad():
        assert call(module, x, level, text).dtype == torch.float32
    x = x.bfloat16().requires_grad_()
    call(module, x, level, text.bfloat16()).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert answers.kinds == set()


@pytest.mark.usefixtures("traced")
def test_an_edit_is_that_of_torch_and_its_record_says_what_computed_it(folder: Path) -> None:
    editor, plain = (Editor.from_pretrained(folder, backend=name, device="cpu") for name in ("compile", "torch"))
    made, wanted = (one.edit(PICTURE, *TEXTS, **EDIT) for one in (editor, plain))
    assert np.array_equal(made.mask.values, wanted.mask.values)
    assert np.abs(np.asarray(made.image, int) - np.asarray(wanted.image, int)).max() <= 1
    assert made.provenance.model["backend"] == "compile"
    assert made.provenance.packages == wanted.provenance.packages
    assert "backend" not in wanted.provenance.model
    model: Any = editor.model
    unet, decoder = model.denoiser.network.module, model.codec.autoencoder.decoder
    assert unet.forward.kinds
    assert len(decoder.forward.kinds) == 1
    # What works on parts of the network, as the sparse decode does, would not be seen by compiled code.
    assert refusal(unet) == "the backend compile computes the UNet as a whole"


@torch.no_grad()
def test_a_network_that_cannot_be_compiled_is_named() -> None:
    def broken(_graph: Any, _inputs: Any) -> Any:
        raise RuntimeError("no compiler\nat all")

    module = tiny.unet(**SMALL)
    module.forward = Compiled(module, "denoising network", Notes(), broken)  # type: ignore[arg-type]
    told = "the denoising network (UNet2DConditionModel) cannot be compiled by torch: no compiler; leave --backend"
    with pytest.raises(ModelError, match=re.escape(told)):
        call(module, *inputs())


def test_what_the_compiler_cannot_take_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="--offload model"):
        Editor.from_pretrained(folder, backend="compile", offload="model")
    with pytest.raises(SettingsError, match="a loaded pipeline is used as it is: give its folder"):
        Editor.from_pretrained(tiny.pipeline("sd1"), backend="compile")
    model: Any = load_model(folder, device="cpu")
    elsewhere: Any = SimpleNamespace(device=torch.device("mps"), dtype=torch.float32)
    with pytest.raises(SettingsError, match="runs on CUDA and the CPU, not on mps"):
        on_backend(elsewhere, "compile")
    model.denoiser.network.module.is_quantized = True
    with pytest.raises(ModelError, match="those of the denoising network are"):
        on_backend(model, "compile")


def test_diffusers_is_imported_in_full_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = list[str]()
    monkeypatch.setattr(cli_loading, "is_alone", lambda: True)
    for backend in ("torch", "compile"):
        monkeypatch.setattr(cli_loading, "allow", lambda name=backend: lean.append(name))
        choice = ModelChoice(name=str(folder), device="cpu", backend=backend)
        cli_loading.load_editor(choice, Terminal(quiet=True), lean=True)
    assert lean == ["torch"]


@torch.no_grad()
def test_an_older_torch_counts_the_compilations_of_each_network_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_ISOLATES", False)
    graphs = list[Any]()

    def counted(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    shapes = [torch.randn(rows, 3) for rows in range(2, 7)]
    for _ in range(3):
        module = torch.nn.Linear(3, 2)
        answers = Compiled(module, "denoising network", Notes(), counted)  # type: ignore[arg-type]
        for x in shapes:
            assert torch.equal(answers(x), module(x))
    assert len(graphs) == 3 * len(shapes) > compiled.SHAPES


@pytest.mark.slow
@torch.no_grad()
def test_machine_code_answers_as_torch_does() -> None:
    module, plain = tiny.unet(**SMALL), tiny.unet(**SMALL)
    module.forward = answers = Compiled(module, "denoising network", Notes())
    for _ in range(2):
        assert far(call(module, *inputs()), call(plain, *inputs())) < 1e-5
    assert len(answers.kinds) == 1
