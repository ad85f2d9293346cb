"""Quantised weights: what is passed on to the libraries, what is refused, and what is said of either."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.checkpoint import quantised
from wordbrush.models.checkpoint.digests import digest_modules
from wordbrush.models.checkpoint.parts import move
from wordbrush.models.checkpoint.quantised import PACKAGES, check_method, method_of, quantised_note
from wordbrush.models.checkpoint.values import check_network, check_stored
from wordbrush.models.checkpoint.weights import check_finite, plain_tensors
from wordbrush.models.family import Parts
from wordbrush.models.header import TensorEntry
from wordbrush.models.outline import PartSize

PACKED = {"weight": TensorEntry("U8", (32, 1), 0, 32), "bias": TensorEntry("F16", (8,), 32, 48)}


def told(method: str) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method}}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("sound") / "m", "sd1")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method's package is there, as far as the decision looks."""
    there = {method: ("json", package) for method, (_, package) in PACKAGES.items()}
    monkeypatch.setattr(quantised, "PACKAGES", there)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("method", PACKAGES)
def test_a_missing_package_is_named_with_what_to_type(method: str, component: str, sound: Path, tmp_path: Path) -> None:
    module, package = PACKAGES[method]
    if find_spec(module.split(".")[0]) is not None:
        pytest.skip(f"{package} may be installed")
    folder = Path(shutil.copytree(sound, tmp_path / "m"))
    path = folder / component / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told(method)}))
    with pytest.raises(ModelError) as refused:
        load_model(folder)
    sentence = str(refused.value)
    assert sentence.endswith(
        f"{component}/config.json: quantization_config says that the weights are quantised ({method!r}), and {package} "
        f"is not installed: pip install {package}, or use the full ones"
    )


@pytest.mark.parametrize(
    ("said", "method"),
    [
        (None, ""),
        ({"quant_method": "torchao", "quant_type": {}}, "torchao"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True, "quant_method": "bitsandbytes"}, "bitsandbytes"),
        ({"load_in_8bit": False}, "unnamed"),
        ("int8", "unnamed"),
    ],
)
def test_the_method_is_read_from_what_libraries_write(said: Any, method: str) -> None:
    assert method_of({"quantization_config": said}) == method
    assert method_of({}) == ""


def test_the_method_is_read_from_the_objects_of_loaded_pipelines() -> None:
    from diffusers.quantizers.quantization_config import GGUFQuantizationConfig

    config = GGUFQuantizationConfig(compute_dtype=torch.float32)
    assert method_of({"quantization_config": config}) == "gguf"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("method", PACKAGES)
def test_with_its_package_a_method_is_passed_on(method: str) -> None:
    check_method(told(method), "m: unet")
    check_network({"in_channels": 4, **told(method)}, "m: unet", PACKED, quantised=True)
    check_stored(PACKED, "m: unet", told(method))
    (note,) = quantised_note(told(method), "m: unet")
    assert method in note


@pytest.mark.usefixtures("installed")
def test_what_is_passed_on_may_not_choose_native_code() -> None:
    config = {"quantization_config": {"quant_method": "torchao", "attn_implementation": "somebody/fast"}}
    with pytest.raises(ModelError, match="native code"):
        check_network(config, "m: unet", PACKED, quantised=True)


@pytest.mark.usefixtures("installed")
def test_whole_numbers_are_for_quantised_networks_alone() -> None:
    with pytest.raises(ModelError, match="stored as U8"):
        check_stored(PACKED, "m: unet", {"in_channels": 4})
    with pytest.raises(ModelError, match=r"quantised \('torchao'\): use the full ones"):
        check_network(told("torchao"), "m: a single file", PACKED)
    assert quantised_note({}, "m: unet") == ()


def test_quantised_weights_take_the_memory_that_they_take_in_files() -> None:
    part = PartSize("transformer", "X", 1000, 600, "bitsandbytes").as_dict()
    assert (part["float32_bytes"], part["half_bytes"]) == (600, 600)


def test_weights_that_wrap_tensors_are_checked_and_digested_by_them() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    def module(last: float) -> torch.nn.Linear:
        made = torch.nn.Linear(2, 2, bias=False)
        kind: Any = TwoTensor
        wrapped = kind(torch.ones(2, 2), torch.tensor([[1.0, 2.0], [3.0, last]]))
        made.weight = torch.nn.Parameter(wrapped, requires_grad=False)
        return made

    assert [tensor.sum().item() for tensor in plain_tensors(module(4.0).weight)] == [4.0, 10.0]
    check_finite(module(4.0), "unet")
    with pytest.raises(ModelError, match="NaN or infinity"):
        check_finite(module(float("nan")), "unet")
    assert digest_modules({"unet": module(4.0)}) == digest_modules({"unet": module(4.0)})
    assert digest_modules({"unet": module(4.0)}) != digest_modules({"unet": module(5.0)})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_numbers_of_eight_bits_are_looked_at(dtype: torch.dtype) -> None:
    made = torch.nn.Module()
    made.register_buffer("weight", torch.ones(3).to(dtype))
    check_finite(made, "unet")
    if dtype.is_floating_point:
        made.register_buffer("weight", torch.tensor([1.0, float("nan")]).to(dtype))
        with pytest.raises(ModelError, match="NaN"):
            check_finite(made, "unet")


def test_a_gguf_file_is_called_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "flux-q4.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(ModelError, match=r"flux-q4\.gguf is a GGUF file.*pipeline"):
        load_model(file)


class Fixed(torch.nn.Linear):
    """A layer that refuses to be moved, as the libraries let networks of eight bits do."""

    is_quantized = True

    def to(self, *_: Any, **__: Any) -> Any:
        raise ValueError("`.to` is not supported")


def test_a_quantised_network_is_not_moved_where_it_is_already() -> None:
    parts = Parts({"unet": Fixed(2, 2)}, {}, {}, "")
    before = parts["unet"].weight.dtype
    move(parts, torch.device("cpu"), torch.float16)
    assert parts["unet"].weight.dtype == before
    with pytest.raises(ModelError, match=r"cannot be brought to meta: `\.to` is not supported"):
        move(parts, torch.device("meta"), torch.float16)
