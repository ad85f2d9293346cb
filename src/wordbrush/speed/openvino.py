"""OpenVINO: converts networks of torch once, keeps them beside the weights' digest, and runs them in float32.

A network is converted on its first call. A UNet of Stable Diffusion's kind and a convolutional decoder are converted
for any size, every other network for the very shapes of the call, since tracing writes sizes into it. The first size is
compiled as it is, which is fastest; sides that turn out to vary are compiled as free ones. Rows of a batch run one
after the other: on a CPU a larger batch gains nothing, and so a row's answer depends on no other.

Nothing is sent anywhere: the conversion calls the library's reader directly, without its telemetry.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openvino
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.autoencoders.vae import Decoder
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from wordbrush.diffusion.faults import first_cause, is_out_of_memory
from wordbrush.errors import ModelError
from wordbrush.speed.conversions import Conversions

if TYPE_CHECKING:
    from wordbrush.models.model import ModelIdentity

__all__ = ["Converted", "take_over"]

CLOSE = 1e-4
"""Largest difference to torch's answer that a conversion may show, as a share of the largest number in it."""

COMPILED = 4
"""Most shapes that a network which is converted for each of them is held in."""


@dataclass
class _Compiled:
    network: Any
    request: Any
    shapes: list[list[int]]
    threads: int

    def takes(self, tensors: Sequence[Tensor]) -> bool:
        """Say whether tensors are of shapes that this was compiled for, and torch has as many threads as then."""
        fitting = zip(self.shapes, tensors, strict=True)
        return self.threads == torch.get_num_threads() and all(
            side in {-1, there} for shape, tensor in fitting for side, there in zip(shape, tensor.shape, strict=True)
        )


class Converted:
    """Answers the calls of one module.

    Args:
        module: a network of diffusers, in float32 on the CPU.
        part: what messages call it.
        known: what tells its weights and its configuration apart from others.
        kept: where conversions are kept.
    """

    whole = "openvino"
    """The name of the backend: what a hook on a part of the network would do is not done (`speed.unet.refusal`)."""

    def __init__(self, module: Any, part: str, known: Sequence[str], kept: Conversions) -> None:
        self.module, self.part, self._known, self._kept = module, part, (type(module).__name__, *known), kept
        self.conversions = 0
        self._forward: Callable[..., Any] = module.forward
        self._any_size = isinstance(module, UNet2DConditionModel | Decoder)
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the module does.

        Raises:
            ModelError: the module cannot be converted, or what was converted answers otherwise.
        """
        leaves, form = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._check(args, kwargs, leaves, tensors)
        rows = tensors[0].shape[0]
        many = [tensor.dim() > 0 and tensor.shape[0] == rows for tensor in tensors]
        answers = []
        for row in range(rows):
            part = [t[row : row + 1] if split else t for t, split in zip(tensors, many, strict=True)]
            answers.append(self._answer(part, leaves, form))
        answer = torch.cat(answers)
        return (answer,) if "return_dict" in kwargs else answer

    def _check(self, args: Any, kwargs: Any, leaves: Sequence[Any], tensors: Sequence[Tensor]) -> None:
        given = (*args, *kwargs.values())
        if any(isinstance(value, list | tuple) for value in given):
            raise self._refusal("it takes lists of tensors")
        if not all(isinstance(leaf, Tensor | bool | int | float | str | None) for leaf in leaves):
            raise self._refusal("it takes what is neither a tensor nor a number")
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise self._refusal("gradients are asked for")

    def _answer(self, tensors: list[Tensor], leaves: Sequence[Any], form: Any) -> Tensor:
        told = [None if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves]
        shapes = [] if self._any_size else [list(tensor.shape) for tensor in tensors]
        kinds = [f"{tensor.dtype} {tensor.dim()}" for tensor in tensors]
        key = self._kept.key(*self._known, str(form), str(told), str(kinds), str(shapes))
        compiled = self._compiled.get(key)
        if compiled is None or not compiled.takes(tensors):
            compiled = self._ready(key, tensors, lambda: _Flat(self._forward, self.module, leaves, form))
        return _run(compiled, tensors)

    def _ready(self, key: str, tensors: list[Tensor], flat: Callable[[], _Flat]) -> _Compiled:
        """Compile for tensors of these shapes, too; convert first what is nowhere kept."""
        try:
            fresh = False
            if key not in self._models:
                model = self._kept.get(key)
                if fresh := model is None:
                    self._kept.put(key, self._convert(flat(), tensors))
                    self.conversions += 1
                    model = self._kept.get(key)
                self._models[key] = model
            if self._any_size and not fresh:
                self._give_up_weights()
            compiled = self._compile(key, tensors)
            if fresh:
                self._compare(compiled, flat(), tensors)
                if self._any_size:
                    self._give_up_weights()
        except ModelError:
            self._models.pop(key, None)
            self._kept.drop(key)
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise self._refusal(first_cause(error)) from error
        return compiled

    def _convert(self, flat: _Flat, tensors: list[Tensor]) -> Any:
        if not any(parameter.numel() for parameter in self.module.parameters()):
            raise self._refusal("its arguments are of another form than those it was converted for")
        if isinstance(self.module, UNet2DConditionModel):
            # Its way through odd sizes serves all; traced at even ones, the trace would fit none but such.
            odd = [1 - side % 2 for side in tensors[0].shape[2:]]
            tensors = [torch.nn.functional.pad(tensors[0], (0, odd[1], 0, odd[0])), *tensors[1:]]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about what the comparison checks
            traced = TorchScriptPythonDecoder(
                flat, example_input=tuple(tensors), trace_kwargs={"check_trace": False}  # which would trace it twice
            )
            reader = FrontEndManager().load_by_framework("pytorch")
            return reader.convert(reader.load(traced))

    def _compile(self, key: str, tensors: list[Tensor]) -> _Compiled:
        before, shapes = self._compiled.pop(key, None), [list(tensor.shape) for tensor in tensors]
        if before is not None:
            pairs = zip(before.shapes, shapes, strict=True)
            shapes = [[a if a == b else -1 for a, b in zip(*pair, strict=True)] for pair in pairs]
        model, threads = self._models[key], torch.get_num_threads()
        model.reshape({index: openvino.PartialShape(shape) for index, shape in enumerate(shapes)})
        network = openvino.Core().compile_model(
            model,
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads},
        )
        self._compiled[key] = compiled = _Compiled(network, network.create_infer_request(), shapes, threads)
        while len(self._models) > COMPILED:
            oldest, _ = self._models.popitem(last=False)
            self._compiled.pop(oldest, None)
        return compiled

    def _compare(self, compiled: _Compiled, flat: _Flat, tensors: list[Tensor]) -> None:
        with torch.no_grad():
            wanted = flat(*tensors)
        far = float((_run(compiled, tensors) - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))
        if not far <= CLOSE:
            raise self._refusal(f"its answer is {far:.1g} of the largest number away from torch's")

    def _give_up_weights(self) -> None:
        for parameter in self.module.parameters():
            parameter.data = parameter.data.new_empty(0)

    def _refusal(self, reason: str) -> ModelError:
        what = f"the {self.part} ({type(self.module).__name__})"
        return ModelError(f"{what} cannot be run by OpenVINO: {reason}; leave --backend (backend=) out")


class _Flat(torch.nn.Module):
    """A call of a module as a function of its tensors alone; the other arguments are as they were in a call before."""

    def __init__(self, forward: Callable[..., Any], module: Any, leaves: Sequence[Any], form: Any) -> None:
        super().__init__()
        self.module, self._call, self._leaves, self._form = module, forward, leaves, form

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the module's answer, or the first of several."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._form)
        answer = self._call(*args, **kwargs)
        return answer if isinstance(answer, Tensor) else answer[0]


def _run(compiled: _Compiled, tensors: Sequence[Tensor]) -> Tensor:
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
    return torch.from_numpy(compiled.request.infer(arrays, share_inputs=True)[0])


def take_over(module: Any, part: str, identity: ModelIdentity, config: str) -> Converted:
    """Let OpenVINO answer the calls of a module from here on; the module is otherwise as it was.

    Args:
        module: a network of diffusers, in float32 on the CPU, LoRAs in place.
        part: what messages call it.
        identity: of the model that it belongs to.
        config: the network's configuration, as text.
    """
    loras = [(lora.sha256, lora.scale) for lora in identity.loras]
    known = (part, config, identity.sha256, str(loras), str(identity.replaced))
    module.forward = converted = Converted(module, part, known, Conversions())
    return converted
