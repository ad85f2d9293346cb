"""What a checkpoint says of itself: it wins over a configuration that was borrowed, and a conflict is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support import tiny
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.families.stable_diffusion_probe import probe

pytestmark = pytest.mark.usefixtures("closed_network")

Change = dict[str, Any]


def changed(source: Path, target: Path, file: str, change: Change, *, without: str = "") -> Path:
    """Copy a folder and change one of its JSON files."""
    shutil.copytree(source, target)
    table = {**json.loads((target / file).read_text()), **change}
    table.pop(without, None)
    (target / file).write_text(json.dumps(table))
    return target


def single(source: Path, target: Path, extra: dict[str, Tensor] | None = None, **metadata: str) -> Path:
    """Copy a single file with further tensors and metadata."""
    named = {key.replace("__", "."): value for key, value in metadata.items()}
    save_file({**load_file(source), **(extra or {})}, target, metadata=named)
    return target


def test_sound_checkpoints_are_not_commented_on(checkpoints: Path) -> None:
    for kind in ("sd1", "sd2"):
        assert load_model(checkpoints / kind).notes == ()
        assert load_model(checkpoints / f"{kind}.safetensors", config=checkpoints / kind).notes == ()
    assert load_model(tiny.pipeline("sd2")).notes == ()
    assert load_model("pocket").notes == ()


@pytest.mark.parametrize(
    ("extra", "metadata"),
    [
        ({"vpred": torch.zeros(1)}, {}),
        ({"state_dict.v_pred": torch.zeros(0)}, {}),
        ({}, {"modelspec__prediction_type": "V-prediction"}),
        ({}, {"ss_v_parameterization": "True"}),
        ({}, {"modelspec__architecture": "stable-diffusion-v2-768-v"}),
        ({}, {"ss_base_model_version": "sd_v1_v"}),
        ({"ztsnr": torch.zeros(1)}, {}),
        ({}, {"ss_zero_terminal_snr": "True"}),
    ],
)
def test_the_file_wins_over_a_borrowed_configuration(
    checkpoints: Path, tmp_path: Path, extra: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    path = single(checkpoints / "sd1.safetensors", tmp_path / "m.safetensors", extra, **metadata)
    model = load_model(path, config=checkpoints / "sd1")
    assert model.identity.parametrisation == "v_prediction"
    (note,) = [note for note in model.notes if "taken to predict" in note]
    assert "v_prediction" in note
    assert "prediction_type of the scheduler says epsilon" in note


def test_the_file_wins_in_the_other_direction_too(checkpoints: Path, tmp_path: Path) -> None:
    path = single(checkpoints / "sd2.safetensors", tmp_path / "m.safetensors", modelspec__prediction_type="epsilon")
    model = load_model(path, config=checkpoints / "sd2")
    assert model.identity.parametrisation == "epsilon"
    assert "says v_prediction" in model.notes[0]


def test_agreement_is_silent(checkpoints: Path, tmp_path: Path) -> None:
    path = single(checkpoints / "sd2.safetensors", tmp_path / "m.safetensors", {"v_pred": torch.zeros(1)}, ss_v2="True")
    assert load_model(path, config=checkpoints / "sd2").notes == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("    parameterization: 'eps'   # as before\n", "epsilon"),
        ("  # parameterization: v\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n", "epsilon"),
        ("nothing: here\n", "v_prediction"),
    ],
)
def test_a_yaml_beside_the_file_is_read(checkpoints: Path, tmp_path: Path, text: str, kind: str) -> None:
    path = Path(shutil.copy(checkpoints / "sd2.safetensors", tmp_path / "base.safetensors"))
    (tmp_path / "base.yaml").write_text(text)
    assert load_model(path, config=checkpoints / "sd2").identity.parametrisation == kind


def test_the_switch_wins_over_all_and_the_conflict_is_told(checkpoints: Path, tmp_path: Path) -> None:
    path = single(checkpoints / "sd1.safetensors", tmp_path / "m.safetensors", {"v_pred": torch.zeros(1)})
    model = load_model(path, config=checkpoints / "sd1", parametrisation="epsilon")
    assert model.identity.parametrisation == "epsilon"
    assert model.identity.given == (("config", str(checkpoints / "sd1")), ("parametrisation", "epsilon"))
    assert "epsilon, as asked for; the key v_pred in it says v_prediction" in model.notes[0]
    assert load_model(checkpoints / "sd1", parametrisation="epsilon").notes == ()


def test_zero_terminal_snr_of_a_file_rescales_its_schedule(checkpoints: Path, tmp_path: Path) -> None:
    extra = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    path = single(checkpoints / "sd2.safetensors", tmp_path / "m.safetensors", extra)
    model = load_model(path, config=checkpoints / "sd2")
    assert float(model.schedule.level(1.0).alpha) == 0.0
    assert float(model.schedule.grid(4)[-1].alpha) == 0.0
    assert float(load_model(checkpoints / "sd2").schedule.level(1.0).alpha) > 0.05


def test_native_size_is_told_by_the_file(checkpoints: Path, tmp_path: Path) -> None:
    for told, side in (("128x128", 128), ("(256, 256)", 256), ("9", 64), ("99999x9", 64)):
        path = single(checkpoints / "sd1.safetensors", tmp_path / "m.safetensors", modelspec__resolution=told)
        assert load_model(path, config=checkpoints / "sd1").resolution == side


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}, "of the scheduler says epsilon"),
        ({"trained_betas": [0.1, 0.5, 1.0], "num_train_timesteps": 3}, "of the scheduler says epsilon"),
        ({"rescale_betas_zero_snr": True, "prediction_type": None}, ""),
    ],
)
def test_zero_terminal_snr_in_a_folder_means_v(checkpoints: Path, tmp_path: Path, change: Change, said: str) -> None:
    folder = changed(checkpoints / "sd1", tmp_path / "m", "scheduler/scheduler_config.json", change)
    model = load_model(folder)
    assert model.identity.parametrisation == "v_prediction"
    assert [said in note for note in model.notes] == ([True] if said else [])


def test_epsilon_asked_for_keeps_off_zero_terminal_snr(checkpoints: Path, tmp_path: Path) -> None:
    change = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    folder = changed(checkpoints / "sd2", tmp_path / "m", "scheduler/scheduler_config.json", change)
    model = load_model(folder, parametrisation="eps")
    assert float(model.schedule.level(1.0).alpha) > 0.05
    assert any("not rescaled" in note for note in model.notes)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_folder_that_says_nothing(checkpoints: Path, tmp_path: Path, kind: str) -> None:
    """Silence is epsilon for the first generation; the second is tried, and random weights do not tell."""
    file = "scheduler/scheduler_config.json"
    model = load_model(changed(checkpoints / kind, tmp_path / "m", file, {}, without="prediction_type"))
    assert model.identity.parametrisation == "epsilon"
    assert [("guessed epsilon" in n, "--parametrisation" in n) for n in model.notes] == [(True, True)] * (kind == "sd2")


def test_a_network_is_told_by_one_call_on_known_noise() -> None:
    """With a trained network, asked under each parametrisation in turn; and with random ones, which tell nothing."""
    pocket: Any = load_model("pocket")
    text = pocket.text.encode([""])[0].conditioning
    calls = []

    def answering(kind: str) -> Callable[..., Tensor]:
        def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
            calls.append(kind)
            rows = []
            for row, label in enumerate(labels.tolist()):
                level = pocket.schedule.at_label(int(label))
                found = pocket.denoiser(x[row : row + 1], level, conditioning.select([row]))
                v = float(level.alpha) * found.eps - float(level.sigma) * found.x0
                rows.append({"epsilon": found.eps, "v_prediction": v}[kind])
            return torch.cat(rows)

        return network

    shape = (pocket.codec.channels, 16, 16)
    for kind in ("epsilon", "v_prediction"):
        assert probe(answering(kind), pocket.schedule, text, shape) == kind
    assert calls == ["epsilon", "v_prediction"]
    for seed in range(3):
        unet: Any = load_model(tiny.pipeline("sd2", seed=seed))
        plain = unet.text.encode([""])[0].conditioning
        assert probe(unet.denoiser.network, unet.schedule, plain, (4, 16, 16)) is None


def test_a_second_generation_file_without_words_is_tried(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native side follows from what was found; sizes are those of the real one, the weights are tiny."""
    from wordbrush.models.families import stable_diffusion

    folder = changed(checkpoints / "sd2", tmp_path / "m", "unet/config.json", {"sample_size": None})
    scheduler = folder / "scheduler" / "scheduler_config.json"
    table = json.loads(scheduler.read_text())
    scheduler.write_text(json.dumps({key: value for key, value in table.items() if key != "prediction_type"}))
    path = checkpoints / "sd2.safetensors"
    guessed = load_model(path, config=folder)
    assert (guessed.identity.parametrisation, guessed.resolution) == ("v_prediction", 768)
    assert "guessed v_prediction" in guessed.notes[0]
    monkeypatch.setattr(stable_diffusion, "probe", lambda *_: "epsilon")
    found = load_model(path, config=folder)
    assert (found.identity.parametrisation, found.resolution, found.notes) == ("epsilon", 512, ())


def test_a_flow_scheduler_beside_a_unet_of_noise_steps_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    change = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    folder = changed(checkpoints / "sd1", tmp_path / "m", "scheduler/scheduler_config.json", change)
    with pytest.raises(ModelError, match="rectified flow"):
        load_model(folder)


def test_a_distilled_scheduler_is_told(checkpoints: Path, tmp_path: Path) -> None:
    change = {"_class_name": "LCMScheduler"}
    folder = changed(checkpoints / "sd1", tmp_path / "m", "scheduler/scheduler_config.json", change)
    assert "--guidance 1" in load_model(folder).notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_cond_proj_dim": 32}, "guidance as an input"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"encoder_hid_dim": 16, "encoder_hid_dim_type": "text_proj"}, "encoder_hid_dim_type"),
        ({"addition_embed_type": "text_time", "addition_time_embed_dim": 8}, "XL"),
        ({"in_channels": 7}, "super-resolution"),
        ({"in_channels": 8}, "instruction"),
    ],
)
def test_networks_that_want_more_than_a_text_are_named(tmp_path: Path, change: Change, message: str) -> None:
    folder = tiny.write_folder(tmp_path / "m")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_an_input_that_the_configuration_hides_is_told(checkpoints: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints / "sd1", tmp_path / "m"))
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = {**load_file(path), "time_embedding.cond_proj.weight": torch.zeros(32, 8)}
    save_file(state, path, metadata={"format": "pt"})
    (note,) = load_model(folder).notes
    assert "time_embedding.cond_proj.weight" in note
