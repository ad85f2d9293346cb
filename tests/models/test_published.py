"""Checkpoints as they were published years ago: old tensor names, old configurations, parts that are not needed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.test_load import output, weights_of
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.digests import file_digest

pytestmark = pytest.mark.usefixtures("closed_network")

OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_text_name(name: str) -> str:
    return name if name.startswith("text_model.") else f"text_model.{name}"


def old_vae_name(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        name = re.sub(rf"(mid_block\.attentions\.0)\.{re.escape(new)}\.", rf"\1.{old}.", name)
    return name


@pytest.fixture
def old_folder(checkpoints: Path, tmp_path: Path) -> Path:
    """The tiny eps model in the names, configurations and company of a folder from 2022."""
    folder = Path(shutil.copytree(checkpoints / "sd1", tmp_path / "old"))
    text = folder / "text_encoder" / "model.safetensors"
    state = {old_text_name(name): value for name, value in load_file(text).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, text, metadata={"format": "pt"})
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({old_vae_name(name): value for name, value in load_file(vae).items()}, vae, metadata={"format": "pt"})

    index = json.loads((folder / "model_index.json").read_text()) | {"_diffusers_version": "0.6.0"}
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    index |= {
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    scheduler = {"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler |= {"beta_start": 0.00085, "skip_prk_steps": True, "set_alpha_to_one": False, "trained_betas": None}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({**scheduler, "steps_offset": 1}))
    for component in ("unet", "vae"):
        path = folder / component / "config.json"
        config = {k: v for k, v in json.loads(path.read_text()).items() if k not in {"scaling_factor", "shift_factor"}}
        path.write_text(json.dumps(config | {"_diffusers_version": "0.6.0"}))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"never opened")
    return folder


def same_weights(one: Model, other: Model) -> bool:
    ours, theirs = weights_of(one), weights_of(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_old_folder_loads_as_the_new_one(checkpoints: Path, old_folder: Path) -> None:
    old, new = load_model(old_folder), load_model(checkpoints / "sd1")
    assert same_weights(old, new)
    assert torch.allclose(output(old), output(new), atol=1e-5)
    assert old.identity.parametrisation == "epsilon"
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.allclose(old.codec.encode(pixels), new.codec.encode(pixels), atol=1e-5)


def test_single_file_with_training_leftovers_loads(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    state |= {f"model_ema.{name.replace('.', '')}": value.clone() for name, value in list(state.items())[:3]}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state |= {"alphas_cumprod": torch.ones(1000), "betas": torch.ones(1000), "global_step": torch.tensor(875000)}
    save_file(state, tmp_path / "full.safetensors")
    full = load_model(tmp_path / "full.safetensors", config=checkpoints / "sd1")
    assert same_weights(full, load_model(checkpoints / "sd1"))


def test_half_precision_single_file_is_widened(checkpoints: Path, tmp_path: Path) -> None:
    state = {name: value.half() for name, value in load_file(checkpoints / "sd2.safetensors").items()}
    save_file(state, tmp_path / "half.safetensors")
    half = load_model(tmp_path / "half.safetensors", config=checkpoints / "sd2")
    assert half.dtype == torch.float32
    assert {value.dtype for value in weights_of(half).values()} == {torch.float32}
    assert torch.allclose(output(half), output(load_model(checkpoints / "sd2")), atol=0.05)


def test_file_digest_is_taken_once_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = file_digest(path)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        assert file_digest(path) == first
    path.write_bytes(b"other")
    assert file_digest(path) != first
