"""OpenVINO as backend: torch's answers within 1e-5, one conversion for all, and plain refusals."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import loras, tiny
from wordbrush.editor import Editor
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models import load_model
from wordbrush.models.addons.loras import LoraSource
from wordbrush.speed.backend import on_backend
from wordbrush.speed.unet import refusal

needed = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
EDIT: dict[str, Any] = {"steps": 3, "ratio": 1.0, "maps": 2, "strength": 0.6, "edges": "cells"}
TEXTS = ("a red car", "a dog on grass")
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"unet": tiny.unet(layers_per_block=1), "vae": tiny.vae(layers_per_block=1)}  # converted in half the time
    return tiny.write_folder(tmp_path_factory.mktemp("tiny"), "sd1", **small)


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where conversions are kept, beside the weights; one folder for all tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder / "wordbrush" / "openvino"
    assert not list(folder.rglob(".wordbrush-*"))  # nothing half written stays


def opened(folder: Path, lora: tuple[LoraSource, ...] = (), backend: str | None = "openvino") -> Editor:
    return Editor.from_pretrained(folder, backend=backend, device="cpu", loras=lora)


def networks(editor: Editor) -> tuple[Any, Any]:
    """The UNet and the decoder."""
    model: Any = editor.model
    return model.denoiser.network.module, model.codec.autoencoder.decoder


def answers(editor: Editor, *sizes: tuple[int, int]) -> list[torch.Tensor]:
    """What the UNet says to latents of these sizes, two rows each, and the decoder."""
    model, made = editor.model, list[torch.Tensor]()
    text = model.text.encode([TEXTS[0]])[0].conditioning
    for number, size in enumerate(sizes):
        x = torch.randn(2, tiny.CHANNELS, *size, generator=torch.Generator().manual_seed(number))
        level = model.schedule_for((size[1], size[0]), 3).level(0.5)
        made += [model.denoiser(x, level, type(text).concat([text, text])).eps, model.codec.decode(x)]
    return made


def far(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """The largest difference, as a share of the largest number."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(one, other, strict=True))


@needed
def test_answers_of_every_size_are_those_of_torch_and_one_conversion_serves_them(folder: Path, cache: Path) -> None:
    sizes = [(16, 16), (13, 18), (16, 16), (9, 9)]
    editor = opened(folder)
    assert far(answers(editor, *sizes), answers(opened(folder, backend=None), *sizes)) < 1e-5
    unet, decoder = networks(editor)
    assert [unet.forward.conversions, decoder.forward.conversions, len(list(cache.iterdir()))] == [1, 1, 2]
    assert refusal(unet) == "the backend openvino computes the UNet as a whole"  # so no decode with it is sparse
    # The weights are held by OpenVINO alone.
    assert sum(parameter.numel() for network in (unet, decoder) for parameter in network.parameters()) == 0

    again = opened(folder)
    assert far(answers(again, (16, 16)), answers(opened(folder, backend=None), (16, 16))) < 1e-5
    assert [network.forward.conversions for network in networks(again)] == [0, 0]
    for place in cache.iterdir():
        (place / "network.xml").write_text("<net")
    damaged = opened(folder)
    damaged.model.codec.decode(torch.zeros(1, tiny.CHANNELS, 8, 8))
    assert networks(damaged)[1].forward.conversions == 1


@needed
def test_an_edit_is_that_of_torch_and_its_record_says_what_computed_it(folder: Path) -> None:
    made, wanted = (opened(folder, backend=backend).edit(PICTURE, *TEXTS, **EDIT) for backend in ("openvino", None))
    assert np.array_equal(made.mask.values, wanted.mask.values)
    assert np.abs(np.asarray(made.image, int) - np.asarray(wanted.image, int)).max() <= 1
    assert made.provenance.model["backend"] == "openvino"
    assert made.provenance.packages["openvino"] == importlib.metadata.version("openvino")
    assert "backend" not in wanted.provenance.model
    assert "openvino" not in wanted.provenance.packages


@needed
def test_a_lora_has_a_conversion_of_its_own(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    file = loras.save(tmp_path / "style.safetensors", loras.GOOD)
    lora: tuple[LoraSource, ...] = ((str(file), 0.5),)
    editor, plain = opened(folder, lora), answers(opened(folder, backend=None), (16, 16))
    found = answers(editor, (16, 16))
    assert far(found, answers(opened(folder, lora, backend=None), (16, 16))) < 1e-5 < 1e-3 < far(found, plain)
    assert networks(editor)[0].forward.conversions == 1


@needed
def test_a_cache_that_cannot_be_written_costs_the_conversion_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    editor, plain = opened(folder), opened(folder, backend=None)
    for size in ((16, 16), (8, 12)):
        x = torch.randn(1, tiny.CHANNELS, *size)
        assert far([editor.model.codec.decode(x)], [plain.model.codec.decode(x)]) < 1e-5
    assert networks(editor)[1].forward.conversions == 1


@needed
def test_the_least_recently_used_conversions_go(tmp_path: Path) -> None:
    from wordbrush.speed.conversions import KEPT, Conversions

    kept, now = Conversions(tmp_path), time.time()
    model = _identity()
    for number in range(KEPT + 2):
        kept.put(kept.key(str(number)), model)
        if number < KEPT:
            os.utime(tmp_path / kept.key(str(number)), (now - 100 + number, now - 100 + number))
        assert kept.get(kept.key("0")) is not None  # used, and so the last to go
    gone = [number for number in range(KEPT + 2) if kept.get(kept.key(str(number))) is None]
    assert gone == [1, 2]


def _identity() -> Any:
    import openvino
    from openvino import opset8

    given = opset8.parameter([1], np.float32)
    return openvino.Model([opset8.result(opset8.add(given, np.float32(1)))], [given])


@needed
def test_a_network_that_cannot_be_converted_is_named(folder: Path, cache: Path) -> None:
    for place in cache.iterdir():
        shutil.rmtree(place)
    editor = opened(folder)
    unet, decoder = networks(editor)
    decoder.forward._forward = lambda x: x.tolist()
    with pytest.raises(ModelError, match=r"the decoder of the autoencoder \(Decoder\) cannot be run by OpenVINO: "):
        editor.model.codec.decode(torch.zeros(1, tiny.CHANNELS, 8, 8))
    plain, calls = unet.forward._forward, itertools.count(1)
    unet.forward._forward = lambda *args, **keywords: (plain(*args, **keywords)[0] * next(calls),)
    with pytest.raises(ModelError, match=r"the denoising network \(UNet2DConditionModel\) .* away from torch's"):
        answers(editor, (8, 8))
    assert not list(cache.iterdir())


@needed
@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"device": "mps"}, "--device mps"),
        ({"dtype": "bfloat16"}, "--dtype bfloat16"),
        ({"offload": "model"}, "--offload model"),
        ({"backend": "tensorrt"}, "'tensorrt' is unknown"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_by_name(
    folder: Path, keywords: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordbrush.speed.backend.resolve_device", torch.device)  # as if every device were here
    with pytest.raises(SettingsError, match=message):
        Editor.from_pretrained(folder, **{"backend": "openvino", **keywords})


@needed
def test_pipelines_half_precision_and_quantised_weights_are_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="a loaded pipeline is used as it is: give its folder"):
        Editor.from_pretrained(tiny.pipeline("sd1"), backend="openvino")
    with pytest.raises(SettingsError, match=r"not torch\.bfloat16 on cpu"):
        on_backend(load_model(folder, device="cpu", dtype="bfloat16"), "openvino")
    model: Any = load_model(folder, device="cpu")
    model.denoiser.network.module.is_quantized = True
    with pytest.raises(ModelError, match="those of the denoising network are"):
        on_backend(model, "openvino")


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("wordbrush.speed.backend.version", missing)
    with pytest.raises(SettingsError, match=r"pip install 'wordbrush\[openvino\]'"):
        Editor.from_pretrained("pocket", backend="openvino")
