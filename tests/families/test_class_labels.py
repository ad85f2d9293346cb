"""Classes in place of texts: by number, by name, and what is said of one that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.more_families import dit
from wordbrush.errors import InputError
from wordbrush.models import load_model
from wordbrush.models.classes import CLASS, ClassText
from wordbrush.models.families.dit import DiTNetwork

NAMES = dict(
    enumerate(("tench, Tinca tinca", "Cardigan, Cardigan Welsh corgi", "cardigan", "crane", "crane", "sea lion"))
)


@pytest.fixture(scope="module")
def labels() -> ClassText:
    return ClassText(NAMES, 6, torch.device("cpu"))


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("tench", 0), ("Tinca tinca", 0), ("tench, Tinca tinca", 0), ("TENCH", 0), (" tench ", 0), ("3", 3),
        ("cardigan", 2), ("Cardigan", 1), ("CARDIGAN", 2), ("", 6), ("  ", 6), ("0", 0),
    ],
)  # fmt: skip
def test_a_class_is_found_by_number_and_by_name(labels: ClassText, label: str, number: int) -> None:
    assert labels.encode([label])[0].conditioning[CLASS].tolist() == [number]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("6", "class 6 is outside 0 to 5"),
        ("crane", r"several classes: give the number, one of 3 \(crane\), 4 \(crane\)"),
        ("tensh", "near it are tench, Tinca tinca"),
        ("a lion", "near it are sea lion"),
        ("a photo of a zebra", r"none of the 6 classes.*name or its number from 0 to 5$"),
    ],
)
def test_what_is_no_class_is_refused_and_near_ones_are_named(labels: ClassText, label: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        labels.encode([label])


def test_labels_come_from_the_pipelines_own_list_too() -> None:
    model = load_model(dit(listed=False))
    assert model.text.encode(["a red fox"])[0].conditioning[CLASS].tolist() == [0]
    assert model.text.encode(["on a hill of fresh snow"])[0].conditioning[CLASS].tolist() == [1]


def test_a_canvas_that_is_no_square_is_laid_out_as_it_is() -> None:
    model = load_model(dit())
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([30.0, 800.0])
    classes = torch.tensor([0, 1000])
    network = model.denoiser.network  # type: ignore[attr-defined]
    assert isinstance(network, DiTNetwork)
    square = network.module(x, timestep=label, class_labels=classes, return_dict=False)[0]
    with torch.no_grad():
        assert torch.allclose(network._oblong(x, label, classes), square, atol=1e-6)
    oblong = network(torch.cat([x, x], dim=3), label, model.text.encode(["0"])[0].conditioning.select([0, 0]))
    assert oblong.shape == (2, 4, 16, 32)


def test_a_folder_that_calls_the_transformer_by_its_old_name_loads(tmp_path: Path) -> None:
    pipeline = dit()
    pipeline.save_pretrained(tmp_path / "dit")
    for file in (tmp_path / "dit/model_index.json", tmp_path / "dit/transformer/config.json"):
        text = file.read_text().replace("DiTTransformer2DModel", "Transformer2DModel")
        file.write_text(text)
        assert json.loads(text)
    both = load_model(tmp_path / "dit"), load_model(pipeline)
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    level, fox = both[1].schedule.level(0.5), both[1].text.encode(["a red fox"])[0].conditioning
    assert torch.equal(*(of.denoiser(x, level, fox).eps for of in both))
