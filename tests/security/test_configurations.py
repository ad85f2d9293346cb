"""Configurations as strangers may write them: refused by name before anything is built, never read without a bound."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import tiny
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.layout import MAX_JSON, MAX_TOKENIZER
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import stripped


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet():
        return tiny.write_folder(tmp_path_factory.mktemp("sound") / "m", "sd2")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of a sound checkpoint; what is done to it must be refused within seconds."""
    begin = time.monotonic()
    yield Path(shutil.copytree(sound, tmp_path / "m"))
    assert time.monotonic() - begin < 20


def put(folder: Path, file: str, **change: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, TOKENIZER = "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"
VALUES: list[tuple[str, str, Any]] = [
    (UNET, "in_channels", True),
    (UNET, "in_channels", -4),
    (UNET, "out_channels", "4"),
    (UNET, "out_channels", 10**12),
    (UNET, "cross_attention_dim", None),
    (UNET, "block_out_channels", []),
    (UNET, "block_out_channels", [32] * 1000),
    (UNET, "block_out_channels", [32, 10**9]),
    (UNET, "layers_per_block", [2, 10**7]),
    (UNET, "transformer_layers_per_block", 10**6),
    (UNET, "transformer_layers_per_block", [[1], [10**6]]),
    (UNET, "norm_num_groups", 0),
    (UNET, "norm_eps", "small"),
    (UNET, "freq_shift", None),
    (UNET, "downsample_padding", 10**9),
    (UNET, "resnet_out_scale_factor", math.nan),
    (UNET, "sample_size", [32, "x"]),
    (UNET, "sample_size", -1),
    (UNET, "sample_size", 1e400),
    (VAE, "scaling_factor", 0),
    (VAE, "scaling_factor", None),
    (VAE, "scaling_factor", -0.18),
    (VAE, "scaling_factor", [0.18]),
    (VAE, "shift_factor", "x"),
    (VAE, "latent_channels", 10**10),
    (VAE, "layers_per_block", 10**6),
    (VAE, "norm_num_groups", "x"),
    (TEXT, "hidden_size", 10**9),
    (TEXT, "num_attention_heads", 0),
    (TEXT, "num_hidden_layers", "three"),
    (TEXT, "vocab_size", None),
    (TEXT, "max_position_embeddings", 10**9),
    (TEXT, "layer_norm_eps", "x"),
    (TEXT, "eos_token_id", None),
    (SCHEDULER, "num_train_timesteps", 0),
    (SCHEDULER, "num_train_timesteps", 1e3),
    (SCHEDULER, "beta_end", 5),
    (SCHEDULER, "beta_start", -0.1),
    (SCHEDULER, "beta_end", math.nan),
    (SCHEDULER, "trained_betas", ["x"]),
    (SCHEDULER, "trained_betas", [0.1, 7.0]),
    (SCHEDULER, "steps_offset", 10**9),
    (SCHEDULER, "steps_offset", "x"),
    (SCHEDULER, "beta_schedule", ["linear"]),
    (SCHEDULER, "timestep_spacing", 3),
    (SCHEDULER, "prediction_type", ["epsilon"]),
]


@pytest.mark.parametrize(("file", "key", "value"), VALUES)
def test_values_are_refused_by_name(folder: Path, file: str, key: str, value: Any) -> None:
    put(folder, file, **{key: value})
    with pytest.raises(ModelError, match=key):
        load_model(folder)


@pytest.mark.parametrize("value", [0, -1, 2, "x", [77], math.inf, True])
def test_length_of_texts_is_checked(folder: Path, value: Any) -> None:
    put(folder, TOKENIZER, model_max_length=value)
    with pytest.raises(ModelError, match=r"model_max_length|tokenizer cannot be loaded"):
        load_model(folder)


def test_a_length_beyond_all_bounds_is_none(folder: Path) -> None:
    put(folder, TOKENIZER, model_max_length=int(1e30))
    assert load_model(folder).notes == ()


@pytest.mark.parametrize("number", [10**9, -3, 600])
def test_numbers_of_tokens_beyond_the_encoder_are_refused(folder: Path, number: int) -> None:
    path = folder / "tokenizer" / "vocab.json"
    table = json.loads(path.read_text())
    table["zebra</w>"] = number
    path.write_text(json.dumps(table))
    with pytest.raises(ModelError, match="token"):
        load_model(folder)


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "wordbrush.json",
        "words.json",
        "words.txt",
        UNET,
        VAE,
        TEXT,
        SCHEDULER,
        TOKENIZER,
        "tokenizer/special_tokens_map.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ],
)
def test_texts_are_read_up_to_a_bound(folder: Path, file: str) -> None:
    path = folder / file
    vocabulary = path.stem in {"vocab", "merges"}
    if "index.json" in file and "unet" in file:
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with path.open("ab") as stream:
        stream.truncate((MAX_TOKENIZER if vocabulary else MAX_JSON) + 1)  # sparse: no byte of it is written
    with pytest.raises(ModelError, match=rf"{path.name}.* MB"):
        load_model(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_experts_implementation"])
@pytest.mark.parametrize("component", [UNET, TEXT])
def test_native_code_on_the_hub_is_refused(folder: Path, component: str, key: str) -> None:
    put(folder, component, **{key: "somebody/fast-attention"})
    with pytest.raises(ModelError, match=rf"{key} names native code .*somebody/fast-attention"):
        load_model(folder)
    put(folder, component, **{key: {"": "somebody/fast-attention"}})
    with pytest.raises(ModelError, match="native code"):
        load_model(folder)


def test_keys_that_choose_code_never_reach_the_library(folder: Path) -> None:
    put(folder, TEXT, attn_implementation="flash_attention_2", _attn_implementation_internal="flex_attention")
    model: Any = load_model(folder)
    assert model.text.encoder.config._attn_implementation in {"sdpa", "eager"}
    table = {"a": 1, "auto_map": {}, "x": {"attn_implementation": "b/c", "y": [{"auto_map": 1, "z": 2}]}}
    assert stripped(table) == {"a": 1, "x": {"y": [{"z": 2}]}}


@pytest.mark.parametrize("component", [UNET, VAE, TEXT])
@pytest.mark.parametrize("method", ["mxfp4", "modelopt", "somebody/kernel", None, 4])
def test_networks_quantised_by_what_is_not_passed_on_are_refused(folder: Path, component: str, method: Any) -> None:
    put(folder, component, quantization_config={"quant_method": method})
    with pytest.raises(ModelError, match=rf"quantised \('{method or 'unnamed'}'\), of which .*torchao.* are passed on"):
        load_model(folder)


@pytest.mark.parametrize("component", [UNET, VAE, TEXT])
def test_what_is_quantised_deeper_in_a_configuration_is_refused(folder: Path, component: str) -> None:
    put(folder, component, text_config={"quantization_config": {"quant_method": "torchao"}})
    with pytest.raises(ModelError, match=r"quantised \('torchao'\): use the full ones"):
        load_model(folder)


def test_an_adapter_in_the_place_of_a_network_is_refused(folder: Path) -> None:
    (folder / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(ModelError, match=r"adapter_config\.json.*--lora"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_weights_that_are_no_floating_point_are_refused(folder: Path, dtype: torch.dtype, component: str) -> None:
    (path,) = (folder / component).glob("*.safetensors")
    state = load_file(path)
    name = sorted(state)[-1]
    save_file({**state, name: state[name].to(dtype)}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"{component}: .* is stored as .* no floating point"):
        load_model(folder)


def test_whole_numbers_in_a_single_file_and_in_a_pipeline_are_refused(folder: Path) -> None:
    path = tiny.write_single_file(folder.parent / "one.safetensors", "sd2")
    state = load_file(path)
    name = "model.diffusion_model.out.2.weight"
    save_file({**state, name: state[name].int()}, path)
    with pytest.raises(ModelError, match=r"out\.2\.weight is stored as I32"):
        load_model(path, config=folder)
    pipeline = tiny.pipeline("sd2")
    bias = pipeline.unet.conv_in.bias
    bias.data = bias.data.to(torch.int8)
    with pytest.raises(ModelError, match=r"conv_in\.bias is stored as int8"):
        load_model(pipeline)


def test_stored_position_ids_are_no_weights(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    state = {**load_file(path), "embeddings.position_ids": torch.arange(77)[None]}
    save_file(state, path, metadata={"format": "pt"})
    assert load_model(folder).notes == ()
