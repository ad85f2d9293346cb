"""Metric networks of transformers: what they see of a picture, and what they say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.metric_networks import SIDE, picture, processor, write_classifier, write_clip, write_vision
from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation.networks import (
    FLEXIT_SQUARE,
    Classifier,
    Clip,
    Features,
    Preparation,
    Skipped,
    Structure,
    load_classifier,
    load_clip,
    load_features,
    load_structure,
)
from wordbrush.evaluation.networks.preparing import _from_table, batches
from wordbrush.evaluation.networks.vision import PIE_STRUCTURE
from wordbrush.models.checkpoint.quiet import quiet

SIZES = [(48, 40), (33, 71), (32, 32), (100, 57), (35, 34)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    network = load_clip(write_clip(tmp_path_factory.mktemp("clip"), seed=10))
    assert isinstance(network, Clip)
    return network


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3},
        ),
        ("CLIPImageProcessor", {"size": 32, "crop_size": 31, "resample": 3}),
        ("DeiTImageProcessor", {"size": 37, "crop_size": 32, "resample": 3}),
        ("ViTImageProcessor", {"size": {"height": 30, "width": 34}}),
        ("ViTImageProcessor", {"size": 32, "do_normalize": False, "resample": 0}),
        ("BitImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": {"height": 31, "width": 33}, "resample": 3}),
    ],
)
def test_pictures_are_prepared_as_transformers_does(kind: str, changes: dict[str, Any]) -> None:
    import transformers

    table = processor(kind, **changes)
    with quiet():
        theirs = getattr(transformers, f"{kind}Pil")(
            **{key: value for key, value in table.items() if key != "image_processor_type"}
        )
    ours = _from_table(table)
    for index, size in enumerate(SIZES):
        pixels = picture(index, *size)
        wanted = theirs(pixels, return_tensors="pt")["pixel_values"][0]
        assert ours(pixels).shape == wanted.shape
        assert float((ours(pixels) - wanted).abs().max()) < 1e-4


def test_what_a_folder_asks_for_and_we_cannot_do_is_an_error(tmp_path: Path) -> None:
    assert Preparation.from_folder(tmp_path) is None
    path = tmp_path / "preprocessor_config.json"
    for text in ("{", '{"size": {"max_height": 3, "max_width": 3}}', '{"size": 3, "do_rescale": false}', "[]"):
        path.write_text(text)
        with pytest.raises(ModelError, match="not understood"):
            Preparation.from_folder(tmp_path)


def test_the_square_of_flexit_is_that_of_torchvision() -> None:
    """Shorter side to 256, the longer cut to whole pixels, an offset of half a pixel rounded to even."""
    tall = picture(0, 300, 259)  # 296 x 256 after resizing: 20 rows are cut from each end
    squared = FLEXIT_SQUARE.pixels(tall)
    from PIL import Image

    resized = np.asarray(Image.fromarray(tall).resize((256, 296), Image.Resampling.BILINEAR))
    assert np.array_equal(squared, resized[20:276])
    odd = Preparation(None, (2, 2), rounding="round")
    row = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)
    assert np.array_equal(odd.pixels(row), row[2:4, 2:4]), "1.5 rounds to 2"
    assert np.array_equal(Preparation(None, (2, 2)).pixels(row), row[1:3, 1:3])
    values = FLEXIT_SQUARE(tall)
    assert torch.equal(values, (torch.from_numpy(squared.copy()).permute(2, 0, 1) / 255 - 0.5) / 0.5)


def test_pictures_that_cannot_be_prepared_are_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        FLEXIT_SQUARE(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(InputError, match="smaller than the crop"):
        Preparation(None, (9, 9))(picture(0, 8, 20))
    with pytest.raises(InputError, match="use bilinear"):
        Preparation(8, filter="bicubic", antialias=False)
    with pytest.raises(InputError, match="no 8-bit picture"):
        PIE_STRUCTURE.pixels(picture(0))


def test_stacks_keep_the_order_and_break_where_sizes_change() -> None:
    pictures = [picture(index, *size) for index, size in enumerate([(8, 8)] * 5 + [(8, 16)] * 2 + [(8, 8)])]
    stacks = list(batches(pictures, Preparation(), 3))
    assert [stack.shape[0] for stack in stacks] == [3, 2, 2, 1]
    flat = [tensor for stack in stacks for tensor in stack]
    assert all(torch.equal(a, Preparation()(b)) for a, b in zip(flat, pictures, strict=True))


def test_clip_scores_are_those_of_transformers(clip: Clip) -> None:
    """The library's own model output and Pillow processor, one pair at a time."""
    from transformers import CLIPImageProcessorPil

    square = {"height": SIDE, "width": SIDE}
    with quiet():
        prepare = CLIPImageProcessorPil(
            size={"shortest_edge": SIDE},
            crop_size=square,
            image_mean=clip.preparation.mean,
            image_std=clip.preparation.std,
        )
    pictures = [picture(index, *size) for index, size in enumerate(SIZES)]
    texts = ["a cat", "a red car on grass", "the horse", "a dog " * 60, ""]
    wanted = []
    for pixels, text in zip(pictures, texts, strict=True):
        tokens = clip._tokenizer([text], truncation=True, max_length=77, return_tensors="pt")
        with torch.inference_mode():
            output = clip._model(pixel_values=prepare(pixels, return_tensors="pt")["pixel_values"], **tokens)
        wanted.append(float(output.logits_per_image / clip._model.logit_scale.exp()))
    assert clip.cosines(pictures, texts) == pytest.approx(wanted, abs=1e-4)
    assert clip.scores(pictures, texts) == pytest.approx([100 * max(value, 0) for value in wanted], abs=1e-2)
    assert min(wanted) < 0 < max(wanted), "both signs must be tried"
    with pytest.raises(InputError, match="one text per picture"):
        clip.cosines(pictures, ["a horse"])


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_features_are_the_class_token(tmp_path: Path, family: str) -> None:
    network = load_features(write_vision(tmp_path, family))
    assert isinstance(network, Features)
    pictures = [picture(index, *size) for index, size in enumerate(SIZES)]
    found = network.features(pictures, batch=2)
    assert found.shape == (5, 24)
    with torch.inference_mode():
        wanted = network._model(pixel_values=network.preparation(pictures[3])[None]).last_hidden_state[0, 0]
    assert found[3] == pytest.approx(wanted.numpy(), abs=1e-5)
    assert len({tuple(row.round(4)) for row in found}) == 5
    assert f"patch 8, image {SIDE}" in network.card.backbone


def test_features_of_clip_are_its_picture_embedding(tmp_path: Path) -> None:
    folder = write_clip(tmp_path)
    features, scorer = load_features(folder), load_clip(folder)
    assert isinstance(features, Features)
    assert isinstance(scorer, Clip)
    found = features.features([picture(0), picture(1)])
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert unit == pytest.approx(scorer.embed_pictures([picture(0), picture(1)]), abs=1e-6)
    assert features.card.weights_sha256 == scorer.card.weights_sha256


def test_a_network_of_another_kind_is_skipped(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path, [0.0, 1.0])
    for network in (load_features(folder), load_structure(folder)):
        assert isinstance(network, Skipped)
        assert "'deit'" in network.reason
    (folder / "preprocessor_config.json").unlink()
    silent = load_classifier(folder)
    assert isinstance(silent, Skipped)
    assert "preprocessor_config.json" in silent.reason


def test_the_classifier_answers_within_the_given_classes(tmp_path: Path) -> None:
    network = load_classifier(write_classifier(tmp_path, [0.0, 3.0, 1.0, 2.0]))
    assert isinstance(network, Classifier)
    pictures = [picture(0), picture(1, 64, 40)]
    assert network.predict(pictures).tolist() == [1, 1]
    assert network.predict(pictures, classes=[3, 0, 2]).tolist() == [3, 3]
    assert network.predict(pictures, classes=[0]).tolist() == [0, 0]
    assert network.labels[3] == "class 3"
    for classes in ([4], [-1], []):
        with pytest.raises(InputError, match="from 0 to 3"):
            network.predict(pictures, classes=classes)


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_structure_distance_compares_the_keys_of_the_last_layer(tmp_path: Path, family: str) -> None:
    """Against keys computed from the hidden state that enters the last layer."""
    network = load_structure(write_vision(tmp_path, family))
    assert isinstance(network, Structure)
    a, b = picture(0, 40, 48), picture(1, 40, 48)
    forth, back, same = network.distances([a, b, a], [b, a, a])
    assert forth == pytest.approx(back)
    assert forth > 1e-6
    assert same == 0
    tables = []
    for pixels in (a, b):
        stack = PIE_STRUCTURE(pixels)[None]
        assert stack.shape[2:] == (224, 268)
        options = {"interpolate_pos_encoding": True} if family == "vit" else {}
        with torch.inference_mode():
            entering = network._model(pixel_values=stack, output_hidden_states=True, **options).hidden_states[-2]
            layers = network._model.layers if hasattr(network._model, "layers") else network._model.encoder.layer
            block = layers[-1]
            norm = block.norm1 if family == "dinov2" else block.layernorm_before
            attention = getattr(block.attention, "attention", block.attention)
            keys = attention.k_proj(norm(entering))[0].double()
        unit = torch.nn.functional.normalize(keys, dim=1)
        tables.append(unit @ unit.T)
        assert len(keys) == 1 + 28 * 33, "a class token and one for each patch"
    assert forth == pytest.approx(float((tables[0] - tables[1]).pow(2).mean()), rel=1e-5)
    with pytest.raises(InputError, match="one shape"):
        network.distances([a], [a.transpose(1, 0, 2)])
