"""One pass through each network by several engines: torch as it is, channels last, compiled; OpenVINO; ONNX Runtime.

Each engine takes turns with torch as it is, one at a time, since two copies of a network may be all that memory holds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.measure import Budget, Clock, Side, ratios, take_turns
from wordbrush import Editor
from wordbrush.evaluation.flops import count_tflop
from wordbrush.evaluation.memory_probe import memory_probe
from wordbrush.evaluation.peers.pipelines import pipelines_of
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.text import EMBEDDING

__all__ = ["ENGINES", "Part", "engine_rows", "parts_of"]

Run = Callable[[], Any]
_HALFWAY = 500
"""The timestep that the network is told."""


class _Unet(nn.Module):
    """A UNet that answers with a tensor."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, label: Tensor, text: Tensor) -> Tensor:
        answer: Tensor = self.unet(x, label, encoder_hidden_states=text, return_dict=False)[0]
        return answer


class _Encode(nn.Module):
    """An autoencoder's way to the posterior's mean and logarithm of variance."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder, self.last = vae.encoder, vae.quant_conv or nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        moments: Tensor = self.last(self.encoder(pixels))
        return moments


class _Decode(nn.Module):
    """An autoencoder's way back."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.first, self.decoder = vae.post_quant_conv or nn.Identity(), vae.decoder

    def forward(self, latent: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(self.first(latent))
        return pixels


@dataclass(frozen=True)
class Part:
    """A network with inputs of batch 1.

    Attributes:
        name: of it.
        module: the network.
        inputs: of one pass.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]


def parts_of(editor: Editor) -> list[Part]:
    """Return the three networks that an edit spends its time in, for pictures of the model's own size."""
    pipelines, draws = pipelines_of(editor), torch.Generator().manual_seed(0)
    unet, vae, side = pipelines.unet, pipelines.vae, editor.model.resolution
    cells = side // editor.model.codec.factor
    latent = torch.randn(1, vae.config.latent_channels, cells, cells, generator=draws)
    text = editor.model.text.encode([""])[0].conditioning[EMBEDDING]
    return [
        Part("UNet", _Unet(unet), (latent, torch.tensor([_HALFWAY]), text)),
        Part("encoder", _Encode(vae), (torch.rand(1, 3, side, side, generator=draws) * 2 - 1,)),
        Part("decoder", _Decode(vae), (latent,)),
    ]


def _eager(part: Part, _folder: Path) -> Run:
    return lambda: part.module(*part.inputs)


def _channels_last(part: Part, _folder: Path) -> Run:
    module = copy.deepcopy(part.module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in part.inputs]
    return lambda: module(*inputs)


def _compiled(part: Part, _folder: Path) -> Run:
    torch.compiler.reset()
    module = torch.compile(part.module, dynamic=False)
    return lambda: module(*part.inputs)


def _openvino(part: Part, _folder: Path) -> Run:
    openvino: Any = import_module("openvino")
    converted = openvino.convert_model(part.module, example_input=part.inputs)
    for port, value in zip(converted.inputs, part.inputs, strict=True):
        port.get_node().set_partial_shape(openvino.PartialShape(list(value.shape)))
    converted.validate_nodes_and_infer_types()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled, arrays = openvino.Core().compile_model(converted, "CPU", settings), [x.numpy() for x in part.inputs]
    return lambda: compiled(arrays)[0]


def _onnxruntime(part: Part, folder: Path) -> Run:
    onnxruntime: Any = import_module("onnxruntime")
    names = [f"input{index}" for index in range(len(part.inputs))]
    torch.onnx.export(
        part.module, part.inputs, folder / "model.onnx", input_names=names, dynamo=True, external_data=True
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    given = {name: value.numpy() for name, value in zip(names, part.inputs, strict=True)}
    return lambda: session.run(None, given)[0]


ENGINES: Final[dict[str, tuple[Callable[[Part, Path], Run], tuple[str, ...]]]] = {
    "torch": (_eager, ()),
    "torch, channels last": (_channels_last, ()),
    "torch, compiled": (_compiled, ()),
    "OpenVINO": (_openvino, ("openvino",)),
    "ONNX Runtime": (_onnxruntime, ("onnxruntime", "onnx", "onnxscript")),
}
"""What makes a run of a part, and the packages that it wants."""


def engine_rows(
    part: Part, engines: Iterable[str], rounds: int, clock: Clock, budget: Budget
) -> list[dict[str, Any]]:
    """Time one part by each engine in turn with torch as it is, which comes first and is the yardstick of each."""
    run = _quietly(_eager(part, Path()))
    with memory_probe() as probe:
        expected = np.asarray(run())
    tflop = count_tflop(run)
    rows, own = [], Side("torch", lambda: run)
    for name in engines:
        if name == "torch":
            take_turns([own], 1, clock, budget)
            continue
        rows.append({"part": part.name, "engine": name, **_against(own, name, part, expected, rounds, clock, budget)})
    first = {"seconds": _median(own.rounds), "ratio": (1.0, 1.0, 1.0), "memory": probe.growth, "tflop": tflop}
    return [{"part": part.name, "engine": "torch", **first}, *rows]


def _against(
    own: Side, name: str, part: Part, expected: Any, rounds: int, clock: Clock, budget: Budget
) -> dict[str, Any]:
    """Return the figures of one engine; whatever hinders it is told in place of them."""
    make, packages = ENGINES[name]
    if absent := [package for package in packages if find_spec(package) is None]:
        return {"status": f"not installed ({', '.join(absent)})"}
    if not budget.allows():
        return {"status": "no time left"}
    with TemporaryDirectory(prefix="wordbrush-") as scratch:
        try:
            begin = time.perf_counter()
            with quiet():
                run = _quietly(make(part, Path(scratch)))
            first = np.asarray(run())
            made = time.perf_counter() - begin
            with memory_probe() as probe:
                run()
            side, turn = Side(name, lambda: run), Side("torch", own.prepare)
            take_turns([turn, side], rounds, clock, budget)
        except Exception as error:  # of five libraries: one row, not the run
            return {"status": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    own.rounds += turn.rounds
    off = float(np.abs(first - expected).max() / np.abs(expected).max())
    return {
        "seconds": _median(side.rounds),
        "ratio": ratios(side, turn),
        "memory": probe.growth,
        "made_in": made,
        "error": off,
    }


def _quietly(run: Run) -> Run:
    def call() -> Any:
        with torch.no_grad():
            return run()

    return call


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
