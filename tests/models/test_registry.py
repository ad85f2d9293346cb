"""Families: how one is chosen, what is said where none is, and what a model says of guidance and of its schedule."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.third_party_package import HALVES, install
from wordbrush.diffusion.schedule import FlowSchedule
from wordbrush.editor import Editor
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import Guidance, Model, load_model, registry
from wordbrush.models.checkpoint.layout import family_in, needed_files
from wordbrush.models.devices import resolve_dtype
from wordbrush.models.family import SCHEDULER, Family, mismatch, network, tokenizer

SD = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": [None, None],
}

Installer = Callable[[str, str], None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """A function that installs a module of the given name and text, whose FAMILY is an entry point of that name."""
    before = set(sys.modules)

    def put(module: str, code: str) -> None:
        monkeypatch.syspath_prepend(install(tmp_path / module, module, code, f"{module} = {module}:FAMILY"))
        importlib.invalidate_caches()

    def forget() -> None:
        registry._installed.cache_clear()
        registry._faults.clear()
        for name in set(sys.modules) - before:
            if name.startswith("wordbrush_other"):
                del sys.modules[name]

    forget()
    yield put
    monkeypatch.undo()
    forget()


def test_stable_diffusion_is_told_from_its_index_without_asking_others(installed: Installer) -> None:
    installed("wordbrush_other", "raise RuntimeError('imported')\n")
    family = registry.family_of(SD, "m")
    assert family.name == "stable-diffusion"
    assert isinstance(family, Family)
    assert "wordbrush_other" not in registry._faults
    assert len(registry.broken()) == 1


def test_a_part_of_another_class_is_named_with_its_library() -> None:
    with pytest.raises(ModelError, match=r"m: component 'vae' is Mine of my_code, not AutoencoderKL or"):
        registry.family_of({**SD, "vae": ["my_code", "Mine"]}, "m")
    with pytest.raises(ModelError, match="component 'unet' is missing"):
        registry.family_of({"_class_name": "StableDiffusionPipeline"}, "m")


def test_what_no_family_recognises_is_refused_with_the_families_there_are(installed: Installer) -> None:
    installed("wordbrush_other", HALVES.read_text("utf-8"))
    with pytest.raises(ModelError, match=r"m is not supported: .* are stable-diffusion, .*, halves"):
        registry.family_of({"_class_name": "Other"}, "m")
    with pytest.raises(ModelError, match="it is a model with a transformer"):
        registry.family_of({"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "X"]}, "m")


FAILING = """
from wordbrush.models.families.stable_diffusion import StableDiffusion
class Failing(StableDiffusion):
    name = "failing"
    def recognises(self, index):
        raise KeyError("who")
FAMILY = Failing()
"""


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (FAILING, r"the family 'failing' fails to say what it recognises: KeyError: 'who'"),
        ("FAMILY = 3\n", r"the family 'wordbrush_other' of the package wordbrush-other is no family"),
        ("", r"wordbrush-other cannot be imported: AttributeError"),
        ("import not_there_at_all\n", r"cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_family_that_does_not_work_is_told_and_stops_no_other(
    installed: Installer, code: str, sentence: str
) -> None:
    installed("wordbrush_other", code)
    installed("wordbrush_other_halves", HALVES.read_text("utf-8"))
    index = {"_class_name": "HalvesPipeline", "transformer": ["wordbrush_other_halves", "Halves"]}
    assert registry.family_of(index, "m").name == "halves"
    with pytest.raises(ModelError, match=sentence):
        registry.family_of({"_class_name": "Other"}, "m")
    assert "halves" in [family.name for family in registry.families()]


def test_a_family_without_loras_and_without_single_files_says_so(
    installed: Installer, tmp_path: Path, checkpoints: Path
) -> None:
    from safetensors.torch import save_file

    installed("wordbrush_other", HALVES.read_text("utf-8"))
    module = importlib.import_module("wordbrush_other")
    folder = tmp_path / "m"
    module.Halves().save_pretrained(folder / "transformer")
    (folder / "model_index.json").write_text(
        '{"_class_name": "HalvesPipeline", "transformer": ["wordbrush_other", "Halves"]}'
    )
    assert load_model(folder).identity.family == "halves"
    with pytest.raises(ModelError, match="Halves take no LoRAs"):
        load_model(folder, loras=[checkpoints / "sd1.safetensors"])
    save_file({"tones": torch.zeros(3)}, tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match="holds no Stable Diffusion UNet"):
        load_model(tmp_path / "one.safetensors")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UnsafeWeightsError, match=r"transformer/diffusion_pytorch_model\.bin"):
        load_model(folder)


def test_code_of_a_library_that_no_family_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({**SD, "extra": ["evil", "X"]}))
    with pytest.raises(ModelError, match="'extra' comes from 'evil'"):
        family_in(tmp_path, "m")


TWO_TEXTS = {
    "transformer": network("SD3Transformer2DModel"),
    "text_encoder": network("CLIPTextModelWithProjection", library="transformers"),
    "text_encoder_2": network("T5EncoderModel", library="transformers"),
    "tokenizer_2": tokenizer("T5Tokenizer", alone=("spiece.model",)),
    "scheduler": SCHEDULER,
}
"""A family with two text encoders, of which one has a tokenizer that is not CLIP's."""


def test_the_files_of_any_family_are_told_from_its_parts() -> None:
    own = {
        "model_index.json",
        "words.txt",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors.index.json",
        "text_encoder_2/model-00001-of-00002.safetensors",
        "text_encoder_2/model-00002-of-00002.safetensors",
        "tokenizer_2/tokenizer.json",
    }
    others = {"transformer/run.py", "vae/config.json", "text_encoder/model.fp16.safetensors", "tokenizer/vocab.json"}
    assert needed_files(own | others, TWO_TEXTS, "m") == sorted(own)
    with pytest.raises(ModelError, match=r"tokenizer_2/spiece\.model is missing"):
        needed_files(own - {"tokenizer_2/tokenizer.json"}, TWO_TEXTS, "m")
    with pytest.raises(ModelError, match=r"transformer/config\.json is missing"):
        needed_files(own - {"transformer/config.json"}, TWO_TEXTS, "m")
    assert mismatch(TWO_TEXTS, {"transformer": ["diffusers", "SD3Transformer2DModel"]}).startswith(
        "component 'text_encoder' is missing"
    )


def test_a_scale_is_refused_where_there_is_no_guidance() -> None:
    assert [Guidance("cfg", 5.0).scale_of(asked) for asked in (None, 1.0, 0.0, 9.0)] == [5.0, 1.0, 0.0, 9.0]
    assert Guidance("embedded", 3.5).scale_of(None) == 3.5
    assert [Guidance("none", 1.0).scale_of(asked) for asked in (None, 1.0)] == [1.0, 1.0]
    with pytest.raises(SettingsError, match=r"guidance 7\.5 means nothing"):
        Guidance("none", 1.0).scale_of(7.5)


def test_the_editor_asks_the_policy(model: Model) -> None:
    editor = Editor(replace(model, policy=Guidance("none", 1.0)))
    with pytest.raises(SettingsError, match="guidance 2"):
        editor.edit(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), "a cat", guidance=2.0)


def test_a_schedule_may_depend_on_canvas_and_steps(model: Model) -> None:
    assert model.schedule_for((8, 8), 5) is model.schedule

    def made(canvas: tuple[int, int], steps: int) -> FlowSchedule:
        return FlowSchedule(shift=1.0 + canvas[0] * canvas[1] / 64 / steps)

    flow = replace(model, schedules=made)
    schedule: Any = flow.schedule_for((16, 8), 4)
    assert schedule.shift == 1.5
    assert flow.schedule is model.schedule


def test_a_family_chooses_its_half_precision() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert resolve_dtype(None, cuda) == torch.float16
    assert resolve_dtype("auto", cuda, "bfloat16") == torch.bfloat16
    assert resolve_dtype(None, cpu, "bfloat16") == torch.float32
    assert resolve_dtype("fp16", cuda, "bfloat16") == torch.float16
