"""Folders with parts of other models: each is refused in one sentence, before anything large is built of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.families import flux_1, flux_2, z_image
from tests.support.more_families import lumina_2
from wordbrush.errors import ModelError
from wordbrush.models import load_model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of several families, by name."""
    folder = tmp_path_factory.mktemp("sound")
    for name, build in (("z-image", z_image), ("flux-1", flux_1), ("flux-2", flux_2), ("lumina-2", lumina_2)):
        build().save_pretrained(folder / name)
    return folder


def changed(path: Path, **values: Any) -> None:
    """Set values of a JSON table."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder: Path, *parts: str) -> None:
    """Check that a folder is refused in one sentence that holds these parts."""
    with pytest.raises(ModelError) as told:
        load_model(folder)
    assert all(part in str(told.value) for part in parts), told.value
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("model", "part", "of", "parts"),
    [
        ("z-image", "text_encoder", "lumina-2", ("text_encoder/config.json is of gemma2, where qwen3 is wanted",)),
        # Whose sizes by default, where the configuration says none, are those of 24 billion parameters.
        ("flux-2", "text_encoder", "lumina-2", ("text_encoder/config.json is of gemma2, where mistral3 is wanted",)),
        ("z-image", "transformer", "flux-1", ("of FluxTransformer2DModel, where ZImageTransformer2DModel is wanted",)),
        ("flux-1", "text_encoder_2", "z-image", ("text_encoder_2/config.json is of qwen3, where t5 is wanted",)),
    ],
)
def test_a_part_of_another_model_is_told_by_its_configuration(
    sound: Path, tmp_path: Path, model: str, part: str, of: str, parts: tuple[str, ...]
) -> None:
    folder = Path(shutil.copytree(sound / model, tmp_path / model))
    shutil.rmtree(folder / part)
    shutil.copytree(sound / of / part.removesuffix("_2"), folder / part)
    refused(folder, *parts, "put the right one there")


@pytest.mark.parametrize("name", ["unconditional_transformer", "transformer_2"])
def test_a_second_network_is_refused_whatever_the_pipeline(sound: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(sound / "z-image", tmp_path / "m"))
    changed(folder / "model_index.json", **{name: ["diffusers", "ZImageTransformer2DModel"]})
    refused(folder, f"component {name!r} is a second network", "a model here has one")
    changed(folder / "model_index.json", **{name: [None, None]})  # which says that there is none
    assert load_model(folder).identity.family == "z-image"


def _no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def _empty_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")


def _no_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{nope")


def _enormous(folder: Path) -> None:
    path = folder / "text_encoder" / "config.json"
    changed(path, text_config={**json.loads(path.read_text())["text_config"], "num_hidden_layers": 10**6})


@pytest.mark.parametrize(
    ("model", "damage", "parts"),
    [
        ("z-image", _no_tokenizer, ("tokenizer/vocab.json is missing", "fetch or copy it again")),
        ("z-image", _empty_tokenizer, ("the tokenizer cannot be loaded", "its files are damaged: fetch them again")),
        ("z-image", _no_index, ("m: model_index.json is not readable JSON, so it is damaged",)),
        ("flux-2", _enormous, ("text_config.num_hidden_layers is 1000000, where a whole number from 1 to",)),
    ],
)
def test_what_is_missing_or_damaged_is_named_with_what_to_do(
    sound: Path, tmp_path: Path, model: str, damage: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    folder = Path(shutil.copytree(sound / model, tmp_path / "m"))
    damage(folder)
    refused(folder, *parts)
