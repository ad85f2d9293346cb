"""The switches that say how a model is loaded: on every command that loads one, in the record, and in a replay."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.support import tiny
from tests.support.author_files import author_state
from tests.support.command import Command
from tests.support.families import z_image
from wordbrush.notation import GIVEN
from wordbrush.record.provenance import read_provenance, save_image

QUICK = ("--steps", "4", "--maps", "1", "--from", "a cat", "--to", "a dog")


@pytest.fixture
def single(tiny_folder: Path, tmp_path: Path) -> Path:
    """A file without an autoencoder; `tiny_folder` has what it lacks."""
    path = tiny.write_single_file(tmp_path / "one.safetensors", "sd1")
    state = {name: value for name, value in load_file(path).items() if not name.startswith("first_stage_model.")}
    save_file(state, path)
    return path


@pytest.fixture
def given(tiny_folder: Path) -> tuple[str, ...]:
    """The switches that make a model of that file."""
    vae, tokenizer = str(tiny_folder / "vae"), str(tiny_folder / "tokenizer")
    return "--config", str(tiny_folder), "--vae", vae, "--tokenizer", tokenizer, "--parametrisation", "v_prediction"


def test_what_messages_advise_can_be_typed(wordbrush: Command, single: Path, picture: Path, tmp_path: Path) -> None:
    done = wordbrush("models", "show", single)
    done.failed(4, "--vae")
    for command in (("edit",), ("mask",), ("models", "show"), ("replay",), ("eval", "truth")):
        text = wordbrush(*command, "--help").text
        assert all(f"--{name.replace('_', '-')} " in text for name in GIVEN), command
    assert "--vocabulary" in wordbrush("models", "fetch", "--help").text


def test_models_show_takes_them(wordbrush: Command, single: Path, given: tuple[str, ...]) -> None:
    done = wordbrush("models", "show", single, *given, "--json")
    assert done.code == 0, done.err
    identity = done.json["identity"]
    assert identity["parametrisation"] == "v_prediction"
    assert sorted(identity["given"]) == ["config", "parametrisation", "tokenizer", "vae"]
    assert "v_prediction, as asked for" in done.err


def test_mask_takes_them(
    wordbrush: Command, single: Path, given: tuple[str, ...], picture: Path, tmp_path: Path
) -> None:
    done = wordbrush("mask", picture, "--model", single, *given, *QUICK, "-o", tmp_path / "m.png")
    assert done.code == 0, done.err


def test_an_edit_is_replayed_with_what_its_model_was_loaded_with(
    wordbrush: Command, single: Path, given: tuple[str, ...], picture: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    made = tmp_path / "made.png"
    done = wordbrush("edit", picture, "--model", single, *given, *QUICK, "-o", made)
    assert done.code == 0, done.err
    told = read_provenance(made).model["given"]
    assert told == dict(zip([name.removeprefix("--") for name in given[::2]], given[1::2], strict=True))
    assert wordbrush("replay", made, "--force").text.strip() == "identical"
    moved = Path(shutil.copytree(tiny_folder, tmp_path / "moved"))
    same = wordbrush("replay", made, "--force", "--config", moved, "--tokenizer", moved, "--vae", moved)
    assert same.text.strip() == "same pixels", same.err
    folder = wordbrush("replay", made, "--force", "--model", tiny_folder)  # which has a configuration of its own
    assert folder.code == 0, folder.err


def test_a_plain_edit_records_nothing_of_it(
    wordbrush: Command, quick: list[str], picture: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made.png"
    assert wordbrush("edit", picture, "--to", "a dog", *quick, "-o", made).code == 0
    assert "given" not in read_provenance(made).model


def test_a_record_without_texts_keeps_no_paths(
    wordbrush: Command, single: Path, given: tuple[str, ...], picture: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    made = tmp_path / "made.png"
    assert wordbrush("edit", picture, "--model", single, *given, *QUICK, "-o", made, "--no-prompt").code == 0
    assert read_provenance(made).model["given"]["config"] == tiny_folder.name


def test_a_forged_record_of_it_is_refused(
    wordbrush: Command, quick: list[str], picture: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made.webp"
    assert wordbrush("edit", picture, "--to", "a dog", *quick, "-o", made).code == 0
    record = read_provenance(made)
    for given in (["x"], {"config": 3}, "x"):
        forged = replace(record, model={**record.model, "given": given})
        save_image(Image.open(made), tmp_path / "forged.png", forged, force=True)
        wordbrush("replay", tmp_path / "forged.png", "--force").failed(3, "model.given")


def test_switches_for_files_are_refused_for_folders(wordbrush: Command, tiny_folder: Path) -> None:
    wordbrush("models", "show", tiny_folder, "--config", tiny_folder).failed(2, "--config", "folder has its own")
    wordbrush("models", "show", tiny_folder, "--vae", "nowhere").failed(4, "--vae", "nowhere")
    wordbrush("models", "show", tiny_folder, "--parametrisation", "flow").failed(4, "epsilon, v_prediction and sample")
    wordbrush("models", "fetch", "a/b", "--half", "--vocabulary").failed(2, "--vocabulary")


def test_a_vocabulary_wants_the_network(wordbrush: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wordbrush("models", "fetch", "--vocabulary", "openai/clip").failed(4, "network", "openai/clip")


def test_a_conflict_is_a_warning_once(wordbrush: Command, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "m"))
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rescale_betas_zero_snr": True}))
    done = wordbrush("models", "show", folder)
    assert done.code == 0, done.err
    assert done.err.count("warning: ") == 1
    assert "zero terminal SNR" in done.err


def test_offloading_on_the_cpu_is_a_warning_and_no_other_picture(
    wordbrush: Command, tiny_folder: Path, picture: Path, tmp_path: Path
) -> None:
    edit = ("edit", picture, "--model", tiny_folder, "--device", "cpu", *QUICK)
    plain = wordbrush(*edit, "-o", tmp_path / "plain.png")
    done = wordbrush(*edit, "--offload", "group", "-o", tmp_path / "held.png")
    assert plain.code == done.code == 0, done.err
    assert done.err.count("warning: offload group changes nothing on the CPU") == 1
    assert "warning" not in plain.err
    assert Image.open(tmp_path / "plain.png").tobytes() == Image.open(tmp_path / "held.png").tobytes()
    assert read_provenance(tmp_path / "held.png").model == read_provenance(tmp_path / "plain.png").model
    wordbrush("replay", tmp_path / "held.png", "--offload", "disk").failed(2, "offload 'disk' is unknown")


def test_a_given_part_is_recorded_and_replayed(
    wordbrush: Command, tiny_folder: Path, picture: Path, tmp_path: Path
) -> None:
    made, part = tmp_path / "made.png", tmp_path / "unet.safetensors"
    save_file({name: value.contiguous() for name, value in tiny.unet("sd1", seed=7).state_dict().items()}, part)
    assert wordbrush("edit", picture, "--model", tiny_folder, "--unet", part, *QUICK, "-o", made).code == 0
    model = read_provenance(made).model
    assert model["given"] == {"unet": str(part)}
    assert model["replaced"] == {"unet": hashlib.sha256(part.read_bytes()).hexdigest()}
    done = wordbrush("replay", made, "--force")
    assert done.text.strip() == "identical", done.err
    assert f"from {part}, as the record says" in done.err
    save_file({name: value.contiguous() for name, value in tiny.unet("sd1", seed=8).state_dict().items()}, part)
    other = wordbrush("replay", made, "--force")
    assert other.code == 3
    assert f"{part} is not what the record was made with" in other.err
    assert other.err.rstrip().endswith("say so with --unet")
    in_memory = replace(read_provenance(made), model={**model, "given": {}})
    save_image(Image.open(made), tmp_path / "memory.png", in_memory, force=True)
    wordbrush("replay", tmp_path / "memory.png", "--force").failed(4, "given in memory", "--unet")
    forged = replace(read_provenance(made), model={**model, "replaced": ["unet"]})
    save_image(Image.open(made), tmp_path / "forged.png", forged, force=True)
    wordbrush("replay", tmp_path / "forged.png", "--force").failed(3, "model.replaced")


def test_an_edit_with_a_transformer_in_one_file_is_replayed(
    wordbrush: Command, picture: Path, tmp_path: Path
) -> None:
    pipeline = z_image()
    pipeline.save_pretrained(tmp_path / "folder")
    save_file(author_state(pipeline.transformer), tmp_path / "z.safetensors")
    made, model = tmp_path / "made.png", ("--model", tmp_path / "z.safetensors", "--config", tmp_path / "folder")
    quick = (*QUICK, "--resolution", "32")
    assert wordbrush("edit", picture, *model, *quick, "-o", made).code == 0
    assert read_provenance(made).model["family"] == "z-image"
    done = wordbrush("replay", made, "--force")
    assert done.text.strip() == "identical", done.err
    shown = wordbrush("models", "show", tmp_path / "z.safetensors", "--no-load", "--json").json
    assert (shown["family"], shown["guidance_kind"], shown["inversion"]) == ("z-image", "cfg", "inverted")
    assert [part["name"] for part in shown["parts"]] == ["transformer"]
    assert any("--config" in note for note in shown["notes"])
