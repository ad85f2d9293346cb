"""Single files under the names that trainers, merges and other programs write; and what is no checkpoint, by name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.test_load import output, weights_of
from tests.support import tiny
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import Model, load_model
from wordbrush.models.refused import groups

pytestmark = pytest.mark.usefixtures("closed_network")

State = dict[str, Tensor]
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def written(path: Path, state: State) -> Path:
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    return path


def same(one: Model, other: Model) -> bool:
    ours, theirs = weights_of(one), weights_of(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): value for name, value in state.items()}


def averages_only(state: State) -> State:
    return {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}" if name.startswith(UNET) else name: value
        for name, value in state.items()
    } | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}


CLIP = "cond_stage_model.transformer.text_model."
SPELLINGS: dict[str, Callable[[State], State]] = {
    "wrapped in module.": lambda state: {f"module.{name}": value for name, value in state.items()},
    "under state_dict.": lambda state: {f"state_dict.{name}": value for name, value in state.items()},
    "model. left out": renamed("model.diffusion_model.", "diffusion_model."),
    "model. twice": renamed("model.diffusion_model.", "model.model.diffusion_model."),
    "text encoder of other programs": renamed(CLIP, "text_encoders.clip_l.transformer.text_model."),
    "text encoder without a transformer": renamed(CLIP, "cond_stage_model.text_model."),
    "text encoder bare": renamed(CLIP, "cond_stage_model."),
    "autoencoder called vae": renamed(VAE, "vae."),
    "moving averages alone": averages_only,
    "moving averages with dots": renamed("model.diffusion_model.", "model_ema.diffusion_model."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_are_the_same_model(checkpoints: Path, tmp_path: Path, spelling: str) -> None:
    state = SPELLINGS[spelling](load_file(checkpoints / "sd1.safetensors"))
    model = load_model(written(tmp_path / "m.safetensors", state), config=checkpoints / "sd1")
    assert same(model, load_model(checkpoints / "sd1"))
    assert [("(EMA)" in note) for note in model.notes] == ([True] if "averages" in spelling else [])


def test_open_clip_under_other_prefixes_and_without_projection(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd2.safetensors")
    del state["cond_stage_model.model.text_projection"]
    state = {name.replace("cond_stage_model.model.", "text_encoder."): value for name, value in state.items()}
    model = load_model(written(tmp_path / "m.safetensors", state), config=checkpoints / "sd2")
    assert same(model, load_model(checkpoints / "sd2"))


def test_a_whole_pipeline_under_diffusers_names_in_one_file(checkpoints: Path, tmp_path: Path) -> None:
    parts = tiny.components("sd1")
    state = {
        f"{part}.{name}": value
        for part in ("unet", "vae", "text_encoder")
        for name, value in parts[part].state_dict().items()
    }
    model = load_model(written(tmp_path / "m.safetensors", state), config=checkpoints / "sd1")
    assert same(model, load_model(checkpoints / "sd1"))


def test_plain_weights_come_before_moving_averages(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    averages = {name: value * 0 for name, value in averages_only(state).items() if name.startswith("model_ema.d")}
    model = load_model(written(tmp_path / "m.safetensors", state | averages), config=checkpoints / "sd1")
    assert same(model, load_model(checkpoints / "sd1"))
    assert model.notes == ()


def without(prefix: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefix)}


def only(prefix: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(VAE), r"UNet and text encoder, but no autoencoder .*--vae \(vae=\)"),
        (without(TEXT), "UNet and autoencoder, but no text encoder"),
        (only(UNET), "a UNet alone"),
        (lambda _: tiny.unet().state_dict(), "a UNet alone"),
        (lambda state: averages_only(only(UNET)(state)), "a UNet alone"),
        (only(VAE), r"autoencoder alone, to be given with --vae"),
        (lambda _: tiny.vae().state_dict(), "autoencoder alone"),
        (only(TEXT), "a CLIP encoder alone"),
        (lambda _: {"emb_params": torch.zeros(4, 768)}, "textual-inversion"),
        (lambda _: {"<cat-toy>": torch.zeros(1024)}, "textual-inversion"),
        (lambda _: {"unet.up_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 4)}, r"a LoRA, .*--lora"),
        (lambda _: {"lora_te1_x.hada_w1_a": torch.zeros(2, 4)}, "a LoHa"),
        (lambda _: {"controlnet_cond_embedding.conv_in.weight": torch.zeros(2, 4)}, "a ControlNet"),
        (lambda _: {"control_model.input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3)}, "a ControlNet"),
        (lambda _: {"conv_first.weight": torch.zeros(4, 3, 3, 3), "body.0.rdb1.bias": torch.zeros(2)}, "upscaler"),
        (lambda _: {"down_blocks.0.motion_modules.0.x": torch.zeros(2)}, "AnimateDiff"),
        (lambda _: {"image_proj.proj.weight": torch.zeros(2, 2)}, "IP-Adapter"),
        (lambda _: {"a.b": torch.zeros(2, 2), "a.c": torch.zeros(2, 2)}, r"it holds tensors named a \(2\)"),
    ],
)
def test_what_a_file_is_instead_is_said(
    checkpoints: Path, tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    path = written(tmp_path / "m.safetensors", change(load_file(checkpoints / "sd1.safetensors")))
    with pytest.raises(ModelError, match=message):
        load_model(path, config=checkpoints / "sd1")


def test_two_text_encoders_are_not_guessed_between(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    state |= {name.replace(CLIP, "text_encoders.clip_g.text_model."): value for name, value in state.items()}
    with pytest.raises(ModelError, match="2 text encoders"):
        load_model(written(tmp_path / "m.safetensors", state), config=checkpoints / "sd1")


def test_groups_are_counted_and_cut() -> None:
    counts = dict(zip("abcdef", range(6, 0, -1), strict=True))
    names = [f"{letter}.{index}" for letter, count in counts.items() for index in range(count)]
    assert groups(names) == "it holds tensors named a (6), b (5), c (4), d (3) and 2 more"
    assert groups([]) == "it holds no tensor at all"


def test_unknown_weights_are_told_where_they_are_many(checkpoints: Path, tmp_path: Path) -> None:
    for count, told in ((2, 0), (9, 1)):
        folder = tmp_path / str(count)
        shutil.copytree(checkpoints / "sd1", folder)
        path = folder / "unet" / "diffusion_pytorch_model.safetensors"
        extra = {f"down_blocks.0.adapters.{index}.weight": torch.zeros(2) for index in range(count)}
        save_file({**load_file(path), **extra}, path, metadata={"format": "pt"})
        notes = load_model(folder).notes
        assert len(notes) == told
        assert all(re.search(r"unet: 9 weights have no place .*adapters\.0", note) for note in notes)
        extra = {f"{UNET}input_blocks.1.9.{index}.weight": torch.zeros(2) for index in range(count)}
        single = written(tmp_path / f"{count}.safetensors", {**load_file(checkpoints / "sd1.safetensors"), **extra})
        assert len(load_model(single, config=checkpoints / "sd1").notes) == told


@pytest.fixture
def other_vae(tmp_path: Path) -> Path:
    """Another autoencoder: as a folder, and as files under original and under diffusers names."""
    module = tiny.vae(seed=11)
    module.save_pretrained(tmp_path / "vae-other")
    written(tmp_path / "diffusers.safetensors", module.state_dict())
    tiny.write_single_file(tmp_path / "full.safetensors", "sd1", vae=module)
    state = only(VAE)(load_file(tmp_path / "full.safetensors"))
    written(tmp_path / "original.safetensors", {name.removeprefix(VAE): value for name, value in state.items()})
    return tmp_path


@pytest.mark.parametrize("vae", ["vae-other", "diffusers.safetensors", "original.safetensors", "full.safetensors"])
def test_an_autoencoder_is_given_beside_a_checkpoint(checkpoints: Path, other_vae: Path, vae: str) -> None:
    wanted = weights_of(load_model(tiny.pipeline("sd1", vae=tiny.vae(seed=11))))
    bare = written(other_vae / "bare.safetensors", without(VAE)(load_file(checkpoints / "sd1.safetensors")))
    digests = set()
    sources: list[tuple[Path, Path | None]] = [(bare, checkpoints / "sd1"), (checkpoints / "sd1", None)]
    for source, config in sources:
        model = load_model(source, config=config, vae=other_vae / vae)
        assert all(torch.equal(value, wanted[name]) for name, value in weights_of(model).items())
        assert model.notes == ()
        assert ("vae", str(other_vae / vae)) in model.identity.given
        digests.add(model.identity.sha256)
    digests |= {load_model(checkpoints / "sd1").identity.sha256}
    assert len(digests) == 3


def test_autoencoders_that_do_not_fit_are_refused(checkpoints: Path, other_vae: Path, tmp_path: Path) -> None:
    source = checkpoints / "sd1"
    tiny.vae(latent_channels=8).save_pretrained(tmp_path / "wide")
    tiny.vae(scaling_factor=0.13025).save_pretrained(tmp_path / "scaled")
    written(tmp_path / "wide.safetensors", tiny.vae(latent_channels=8).state_dict())
    (tmp_path / "vae.ckpt").write_bytes(b"PK")
    for vae, message in (
        ("wide", "8 latent channels and this model 4"),
        ("wide.safetensors", "other latents"),
        ("nowhere", "no folder or file"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(source, vae=tmp_path / vae)
    with pytest.raises(ModelError, match="holds no autoencoder"):
        load_model(source, vae=written(tmp_path / "unet.safetensors", tiny.unet().state_dict()))
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(source, vae=source / "tokenizer")
    with pytest.raises(ModelError, match="UNet2DConditionModel"):
        load_model(source, vae=source / "unet")
    with pytest.raises(UnsafeWeightsError):
        load_model(source, vae=tmp_path / "vae.ckpt")
    with pytest.raises(SettingsError, match="vae means nothing"):
        load_model(tiny.pipeline(), vae=other_vae / "vae-other")
    (note,) = load_model(source, vae=tmp_path / "scaled").notes
    assert "0.13025" in note


def test_the_autoencoder_of_another_checkpoint_folder_does(checkpoints: Path, tmp_path: Path) -> None:
    other = tiny.write_folder(tmp_path / "other", seed=20)
    model = load_model(checkpoints / "sd1", vae=other)
    expected = weights_of(load_model(other))
    assert all(torch.equal(value, expected[f"vae.{name}"]) for name, value in tiny.vae(seed=21).state_dict().items())
    assert torch.equal(output(model), output(load_model(checkpoints / "sd1")))


def test_a_network_of_guidance_or_labels_in_one_file_is_named(checkpoints: Path, tmp_path: Path) -> None:
    state = load_file(checkpoints / "sd1.safetensors")
    for name in ("time_embed.cond_proj.weight", "label_emb.0.0.weight"):
        path = written(tmp_path / "m.safetensors", {**state, UNET + name: torch.zeros(4, 4)})
        with pytest.raises(ModelError, match=rf"more than a text .*{name}"):
            load_model(path, config=checkpoints / "sd1")


def test_configurations_of_a_borrowed_folder_are_checked(checkpoints: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints / "sd1", tmp_path / "config"))
    path = folder / "text_encoder" / "config.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "num_hidden_layers": 10**6}))
    with pytest.raises(ModelError, match=r"text_encoder: num_hidden_layers is 1000000"):
        load_model(checkpoints / "sd1.safetensors", config=folder)
    path.write_text(json.dumps({**table, "attn_implementation": "owner/kernel"}))
    with pytest.raises(ModelError, match="native code"):
        load_model(checkpoints / "sd1.safetensors", config=folder)
