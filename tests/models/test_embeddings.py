"""Learnt embeddings: read from all layouts of .safetensors, spelt out as diffusers does, or refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support import tiny
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import EmbeddingIdentity, Model, load_model
from wordbrush.models.addons.embeddings import unused_embeddings
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.text import EMBEDDING

pytestmark = pytest.mark.usefixtures("closed_network")


def vectors(count: int, width: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def save(path: Path, **tensors: Tensor) -> Path:
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
    return path


def encoded(model: Model, text: str) -> Tensor:
    value: Tensor = model.text.encode([text])[0].conditioning[EMBEDDING]
    return value


def taught(**words: Tensor) -> Any:
    """Return a pipeline that diffusers itself taught the words."""
    pipeline = tiny.pipeline()
    with quiet():
        for word, value in words.items():
            pipeline.load_textual_inversion({word: value})
    return pipeline


LAYOUTS = {
    "of A1111, by the file's name": ("moss.safetensors", "emb_params", None),
    "of diffusers, by its own": ("x1.safetensors", "moss", None),
    "converted from a pickle": ("moss.safetensors", "string_to_param.*", None),
    "by a word that is given": ("x1.safetensors", "<else>", "moss"),
    "in capitals": ("x1.safetensors", "MOSS", None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [1, 4])
def test_a_text_with_the_word_is_what_diffusers_makes_of_it(
    layout: str, count: int, checkpoints: Path, tmp_path: Path, model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    name, key, word = LAYOUTS[layout]
    path = save(tmp_path / name, **{key: vectors(count)})
    ours = load_model(checkpoints / "sd1", embeddings=[path if word is None else (path, word)])
    assert capfd.readouterr() == ("", "")
    assert ours.notes == ()
    assert ours.identity.sha256 == model.identity.sha256
    theirs = load_model(taught(moss=vectors(count)))
    assert torch.equal(encoded(ours, "a moss cat, moss"), encoded(theirs, "a moss cat, moss"))
    assert torch.equal(encoded(ours, "a Moss cat"), encoded(theirs, "a moss cat"))
    assert torch.equal(encoded(ours, "a red dog"), encoded(model, "a red dog"))
    assert (encoded(ours, "a moss cat") - encoded(model, "a moss cat")).abs().max() > 0.1


def test_one_vector_without_a_second_axis(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x1.safetensors", **{"<moss>": vectors(1)[0].half()})
    ours = load_model(checkpoints / "sd1", embeddings=[path])
    theirs = load_model(taught(**{"<moss>": vectors(1).half().float()}))
    assert torch.equal(encoded(ours, "a <moss>"), encoded(theirs, "a <moss>"))


def test_who_they_are_is_recorded_in_order_and_only_where_there_are_any(
    checkpoints: Path, tmp_path: Path, model: Model
) -> None:
    one = save(tmp_path / "moss.safetensors", emb_params=vectors(2))
    two = save(tmp_path / "x1.safetensors", fern=vectors(1))
    single = checkpoints / "sd1.safetensors"
    identity = load_model(single, config=checkpoints / "sd1", embeddings=[(two, "Fern"), one]).identity
    assert identity.embeddings == (
        EmbeddingIdentity(str(two), file_digest(two), "Fern"),
        EmbeddingIdentity(str(one), file_digest(one), "moss"),
    )
    assert identity.as_dict()["embeddings"][1] == {"source": str(one), "sha256": file_digest(one), "token": "moss"}
    assert "embeddings" not in model.identity.as_dict()
    theirs = load_model(taught(moss=vectors(3), fern=vectors(1))).identity
    assert [(entry.token, entry.sha256) for entry in theirs.embeddings] == [("fern", ""), ("moss", "")]


def test_with_a_lora_for_the_text_encoder(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "moss.safetensors", emb_params=vectors(2))
    style = save(tmp_path / "style.safetensors", **tiny.lora_state("sd1"))
    pipeline = taught(moss=vectors(2))
    with quiet():
        pipeline.load_lora_weights(str(tmp_path), weight_name=style.name)
    ours = load_model(checkpoints / "sd1", embeddings=[path], loras=[style])
    assert torch.allclose(encoded(ours, "a moss cat"), encoded(load_model(pipeline), "a moss cat"), atol=1e-5)


def test_its_word_is_known_where_a_model_lists_its_words(tmp_path: Path) -> None:
    pocket = load_model("pocket", embeddings=[(save(tmp_path / "x1.safetensors", a1=vectors(2, 256)), "glimmoss")])
    (prompt,) = pocket.text.encode(["a Glimmoss zebra on qwrt"])
    assert [word.word for word in prompt.unknown] == ["qwrt"]


def test_words_that_no_text_has_are_told() -> None:
    some = EmbeddingIdentity("/home/jo/moss.safetensors", "0" * 64, "Moss")
    assert unused_embeddings([some], ["a MOSS cat", ""]) == ()
    assert unused_embeddings([EmbeddingIdentity("token x", "", "x")], ["a cat"]) == ()
    (sentence,) = unused_embeddings([some], ["a cat", "a dog"])
    assert sentence == "no text has the word 'Moss' of the embedding moss.safetensors: it changes nothing"


REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "for Stable Diffusion 2": ({"emb_params": vectors(2, 1024)}, "1024 wide, and 32 in it: it was made for .* 2"),
    "for Stable Diffusion 1": ({"emb_params": vectors(2, 768)}, "768 wide, and 32 in it: it was made for .* 1"),
    "for another width": ({"fern": vectors(2, 40)}, "40 wide, and 32 in it$"),
    "for SDXL": ({"clip_l": vectors(2, 768), "clip_g": vectors(2, 1280)}, "made for Stable Diffusion XL"),
    "for SDXL, half of it": ({"clip_g": vectors(2, 1280)}, "made for Stable Diffusion XL"),
    "NaN": ({"fern": vectors(2) * math.nan}, "tensor 'fern' holds NaN"),
    "whole numbers": ({"fern": vectors(2).long()}, "is of I64"),
    "two words": ({"fern": vectors(1), "bark": vectors(2)}, "holds 2 tensors"),
    "no vectors": ({"fern": vectors(0)}, "has 0 vectors"),
    "too many vectors": ({"fern": vectors(76)}, "has 76 vectors, and a text takes 1 to 75"),
    "a word of the model": ({"zebra": vectors(1)}, "has the word 'zebra' already: name it otherwise, as in f1.saf"),
    "a word of the model in capitals": ({"ZEBRA": vectors(1)}, "has the word 'ZEBRA' already"),
    "a special token": ({"<|endoftext|>": vectors(1)}, "already"),
    "a line break": ({"a\nb": vectors(1)}, "cannot be written in a text"),
    "a LoRA": (tiny.lora_state("sd1"), "is a LoRA, to be given with --lora"),
    "a UNet": ({"conv_in.weight": torch.ones(4, 4, 3, 3)}, "is a UNet"),
    "a cube": ({"fern": vectors(2)[None]}, "no learnt embedding"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_embedding_for_this_model_is_refused_by_what_it_is(
    kind: str, checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tensors, pattern = REFUSED[kind]
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(checkpoints / "sd1", embeddings=[save(tmp_path / "f1.safetensors", **tensors)])
    assert str(caught.value).startswith("embedding f1.safetensors")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_files_and_calls_that_are_refused(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "moss.pt").write_bytes(b"PK\x03\x04 whatever")
    with pytest.raises(UnsafeWeightsError, match=r"moss\.pt.*safetensors"):
        load_model(checkpoints / "sd1", embeddings=[tmp_path / "moss.pt"])
    one, two = save(tmp_path / "m1.safetensors", moss=vectors(2)), save(tmp_path / "m2.safetensors", mossy=vectors(1))
    with pytest.raises(ModelError, match=r"'moss' of m1\.safetensors and 'mossy' of m2\.safetensors cannot be told"):
        load_model(checkpoints / "sd1", embeddings=[one, two])
    with pytest.raises(ModelError, match="cannot be told apart"):
        load_model(checkpoints / "sd1", embeddings=[one, (two, "Moss")])
    with pytest.raises(ModelError, match=r"m1\.safetensors: tensor 'moss' leaves the range of float16"):
        load_model(checkpoints / "sd1", dtype="float16", embeddings=[save(one, moss=vectors(2) * 1e6)])
    with pytest.raises(SettingsError, match="embeddings means nothing for a loaded pipeline"):
        load_model(tiny.pipeline(), embeddings=[two])


def test_besides_the_vectors_is_told(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "moss.safetensors", emb_params=vectors(2), steps=torch.ones(1))
    loaded = load_model(checkpoints / "sd1", embeddings=[path])
    assert loaded.notes == ("embedding moss.safetensors: besides its vectors it holds 1 more, left out (first: steps)",)
