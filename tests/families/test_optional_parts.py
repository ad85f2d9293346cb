"""Parts that a checkpoint may do without: T5 of Stable Diffusion 3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.support.more_families import stable_diffusion_3
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.assembly import few_steps
from wordbrush.models.checkpoint.layout import refuse_by_names
from wordbrush.models.family import Origin, Parts
from wordbrush.models.text import EMBEDDING

TEXT = "a red fox"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sd3"
    stable_diffusion_3().save_pretrained(path)
    return path


def without(folder: Path) -> None:
    """Say in the index that T5 is absent."""
    index = json.loads((folder / "model_index.json").read_text())
    absent = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index | absent))


def test_zeros_stand_for_a_t5_that_the_index_says_is_absent(folder: Path) -> None:
    whole = load_model(folder)
    without(folder)
    part = load_model(folder)
    read, blank = (model.text.encode([TEXT])[0].conditioning[EMBEDDING] for model in (whole, part))
    assert read.shape == blank.shape == (1, 77 + 256, 64)
    assert torch.equal(read[:, :77], blank[:, :77])
    assert not blank[:, 77:].any()
    assert read[:, 77:].abs().mean() > 0.1
    assert whole.identity.sha256 != part.identity.sha256  # what is not read is not part of its identity
    shutil.rmtree(folder / "text_encoder_3")
    assert load_model(folder).identity.sha256 == part.identity.sha256


def test_an_optional_part_that_the_index_names_must_be_there(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    refuse_by_names(names, "hub")
    refuse_by_names([name for name in names if "_3/" not in name], "hub")
    shutil.rmtree(folder / "tokenizer_3")
    with pytest.raises(ModelError, match="tokenizer_3"):
        load_model(folder)


def test_a_name_tells_a_model_of_few_steps_and_a_card_tells_better(folder: Path) -> None:
    named = load_model(folder, name="sd3.5-large-turbo")
    assert (named.policy.kind, named.encoding) == ("none", "noise")
    assert "'turbo' in its name" in named.notes[0]
    (folder / "wordbrush.json").write_text(json.dumps({"distilled": False, "guidance": 2}))
    plain = load_model(folder, name="sd3.5-large-turbo")
    assert (plain.policy.kind, plain.policy.scale, plain.encoding, plain.notes) == ("cfg", 2.0, "invert", ())


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("sdxl-turbo", "turbo"), ("dreamshaperXL_v2TurboDpmppSDE", "Turbo"), ("Hyper-SDXL", "Hyper"),
        ("HyperSD15", "HyperSD"),
        ("SDXL-Lightning-4step", "Lightning"), ("Qwen-Image-Lightning", "Lightning"), ("lcm-sdxl", "lcm"),
        ("hyperRealism_v3", ""), ("HyperRealistic", ""), ("flashback-xl", ""), ("Stable-diffusion-3.5", ""),
    ],
)  # fmt: skip
def test_only_words_tell_a_model_of_few_steps(name: str, word: str) -> None:
    few, notes = few_steps(Parts({}, {}, {}, ""), Origin(name, "", "", torch.device("cpu")))
    assert few == bool(word)
    assert all(f"by {word!r} in its name" in note for note in notes)
