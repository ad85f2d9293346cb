"""The shipped model without transformers: the same bits, and nothing is hidden that was not asked to be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint import lean
from wordbrush.models.checkpoint.shipped import ShippedText, load_shipped, load_shipped_tokenizer
from wordbrush.models.checkpoint.sources import BUILT_IN
from wordbrush.models.text import EMBEDDING, ClipText

ROOT = Path(__file__).parents[2]
POCKET = BUILT_IN["pocket"]
TEXTS = (
    "",
    "a zebra on grass",
    "  Two   RED apples,\nand an owl's tree! ",
    "größer als 7 Äpfel <|endoftext|> 🦓",
    "a penguin on snow " * 9,
)


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model("pocket", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def shipped() -> ClipText:
    encoder, notes = load_shipped("transformers", "CLIPTextModel", POCKET, "text_encoder", None, torch.float32, "it")
    assert isinstance(encoder, ShippedText)
    assert notes == ()
    tokenizer = load_shipped_tokenizer(POCKET / "tokenizer", "it")
    return ClipText(tokenizer, encoder, torch.device("cpu"))


@pytest.mark.parametrize("clip_skip", [0, 1])
def test_texts_are_encoded_to_the_same_bits(pocket: Model, shipped: ClipText, clip_skip: int) -> None:
    ordinary, found = (text.encode(TEXTS, clip_skip=clip_skip) for text in (pocket.text, shipped))
    for one, other in zip(ordinary, found, strict=True):
        assert torch.equal(one.conditioning[EMBEDDING], other.conditioning[EMBEDDING])
        assert (one.dropped, one.notes) == (other.dropped, other.notes)
    assert found[-1].dropped  # the last text is too long


def test_the_tokenizer_is_that_of_transformers(pocket: Model, shipped: ClipText) -> None:
    assert isinstance(pocket.text, ClipText)
    ordinary, found = pocket.text.tokenizer, shipped.tokenizer
    assert type(ordinary).__module__.startswith("transformers.")
    assert len(found) == len(ordinary)
    assert found.get_vocab() == ordinary.get_vocab()
    assert found.get_added_vocab() == ordinary.get_added_vocab()
    assert set(found.all_special_tokens) == set(ordinary.all_special_tokens)
    assert found.model_max_length == ordinary.model_max_length == 32


def test_this_process_hides_nothing() -> None:
    assert not lean.is_lean()
    assert not lean.import_lean()  # nobody allowed it


BROKEN = """
import sys
import numpy, scipy.ndimage
from wordbrush.models.checkpoint import lean
lean.allow()
versions, lean._TESTED = lean._TESTED, {"diffusers": "0.1."}
assert not lean.import_lean() and "diffusers" not in sys.modules, "an unknown version"
lean._TESTED, lean._CLASSES = versions, (*lean._CLASSES, "NoSuchModel")
assert not lean.import_lean() and "diffusers" not in sys.modules, "a class that is not there"
assert sys.modules["scipy"].ndimage is scipy.ndimage and "peft" not in sys.modules and "transformers" not in sys.modules
import wordbrush as wb
model = wb.Editor.from_pretrained("pocket").model
import diffusers, transformers
assert isinstance(model.text.encoder, transformers.CLIPTextModel)
assert diffusers.utils.is_transformers_available() and issubclass(diffusers.StableDiffusionPipeline, object)
print("loaded as ever")
"""


def test_what_is_not_as_expected_is_imported_as_ever() -> None:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", BROKEN],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout == "loaded as ever\n", done.stderr
