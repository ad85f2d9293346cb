"""Single-file checkpoints: what they carry, what they lack, and what is said about it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import tiny
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.families.stable_diffusion_claims import claims_of_file
from wordbrush.models.families.stable_diffusion_configs import built_in

pytestmark = pytest.mark.usefixtures("closed_network")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with nothing in it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("empty_cache")
def test_without_a_tokenizer_the_error_says_what_to_give(checkpoints: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer=FOLDER.*vocab\.json.*config=FOLDER"):
        load_model(checkpoints / "sd1.safetensors")


def test_tokenizer_of_another_model_does_not_pass(checkpoints: Path) -> None:
    """The built-in configuration is that of the real Stable Diffusion, which the tiny file does not fit."""
    with pytest.raises(ModelError, match="config=FOLDER"):
        load_model(checkpoints / "sd1.safetensors", tokenizer=checkpoints / "sd1")


def test_clip_vocabulary_is_found_in_the_hub_cache(checkpoints: Path, empty_cache: Path) -> None:
    from wordbrush.models.families.stable_diffusion_file import _cached_tokenizer

    folder = empty_cache / "models--some--one" / "snapshots" / ("0" * 40) / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "vocab.json").write_text('{"a": 0}')
    assert _cached_tokenizer() is None
    table = {f"token{i}": i for i in range(49_406)} | {"<|startoftext|>": 49_406, "<|endoftext|>": 49_407}
    (folder / "vocab.json").write_text(json.dumps(table))
    assert _cached_tokenizer() == folder


@pytest.mark.parametrize("part", ["first_stage_model.", "cond_stage_model.", "model.diffusion_model."])
def test_missing_part_is_named(checkpoints: Path, tmp_path: Path, part: str) -> None:
    state = {k: v for k, v in load_file(checkpoints / "sd1.safetensors").items() if not k.startswith(part)}
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=part.rstrip(".")):
        load_model(tmp_path / "part.safetensors", config=checkpoints / "sd1")


def test_missing_tensor_is_never_made_up(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    del state["model.diffusion_model.time_embed.0.bias"]
    save_file(state, tmp_path / "hole.safetensors")
    with pytest.raises(ModelError, match=r"hole\.safetensors.*weights are missing"):
        load_model(tmp_path / "hole.safetensors", config=checkpoints / "sd1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conditioner.embedders.0.transformer.x", "XL"),
        ("model.diffusion_model.joint_blocks.0.x", "Stable Diffusion 3"),
        ("model.diffusion_model.double_blocks.0.x", "a piece of a FLUX checkpoint"),
        ("lora_unet_down_blocks_0.lora_up.weight", "loras="),
        ("something.else", "no Stable Diffusion UNet"),
    ],
)
def test_other_kinds_of_file_are_told_apart(tmp_path: Path, name: str, message: str) -> None:
    save_file({name: torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "other.safetensors")


def test_inpainting_file_is_refused_from_its_header(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    key = "model.diffusion_model.input_blocks.0.0.weight"
    state[key] = torch.zeros(32, 9, 3, 3)
    save_file(state, tmp_path / "inpaint.safetensors")
    with pytest.raises(ModelError, match="inpainting"):
        load_model(tmp_path / "inpaint.safetensors", config=checkpoints / "sd1")


def test_parametrisation_can_be_given(checkpoints: Path) -> None:
    model = load_model(checkpoints / "sd2.safetensors", config=checkpoints / "sd2", parametrisation="sample")
    assert model.identity.parametrisation == "sample"
    with pytest.raises(ModelError, match="flow"):
        load_model(checkpoints / "sd2.safetensors", config=checkpoints / "sd2", parametrisation="flow")


def test_parametrisation_told_by_the_file_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "told.safetensors"
    for told, expected in (("epsilon", ["epsilon"]), ("v", ["v_prediction"]), ("", [])):
        save_file({"x": torch.zeros(1)}, path, metadata={"modelspec.prediction_type": told})
        assert [kind for kind, _ in claims_of_file(path, read_header(path))] == expected


def test_config_must_be_a_folder_and_only_for_files(checkpoints: Path) -> None:
    with pytest.raises(ModelError, match="not a folder"):
        load_model(checkpoints / "sd1.safetensors", config=checkpoints / "nowhere")
    with pytest.raises(SettingsError, match="folder has its own"):
        load_model(checkpoints / "sd1", tokenizer=checkpoints / "sd1" / "tokenizer")


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_built_in_configurations_have_the_published_sizes(family: tiny.Kind) -> None:
    """Built without memory for weights; parameter counts are those of the published checkpoints."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    configs = built_in(family, "epsilon" if family == "sd1" else "v_prediction")
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(configs["unet/config.json"])
        vae = AutoencoderKL.from_config(configs["vae/config.json"])
        text = CLIPTextModel(CLIPTextConfig(**configs["text_encoder/config.json"]))
    counts = {name: sum(p.numel() for p in m.parameters()) for name, m in (("u", unet), ("v", vae), ("t", text))}
    assert counts["v"] == 83_653_863
    assert counts["u"] == {"sd1": 859_520_964, "sd2": 865_910_724}[family]
    assert counts["t"] == {"sd1": 123_060_480, "sd2": 340_387_840}[family]


def test_header_of_a_real_writer_is_accepted(checkpoints: Path) -> None:
    raw = (checkpoints / "sd1.safetensors").read_bytes()
    header = read_header(checkpoints / "sd1.safetensors")
    (length,) = struct.unpack("<Q", raw[:8])
    assert max(entry.end for entry in header.tensors.values()) == len(raw) - 8 - length
