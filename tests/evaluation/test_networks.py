"""Metric networks: LPIPS against closed forms, figures, and what is done where weights are absent or wrong."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hub import COMMIT, serve
from tests.support.metric_networks import lpips_state, picture, write_classifier, write_clip, write_lpips, write_vision
from wordbrush.errors import InputError, ModelError, UnsafeWeightsError
from wordbrush.evaluation.intervals import interval_over
from wordbrush.evaluation.networks import (
    FLEXIT_SQUARE,
    Figure,
    Lpips,
    Preparation,
    Skipped,
    load_classifier,
    load_clip,
    load_features,
    load_inception,
    load_lpips,
    load_structure,
)
from wordbrush.evaluation.networks.backbones import BACKBONES, BackboneName
from wordbrush.evaluation.networks.inception import FILE
from wordbrush.evaluation.networks.lpips import LpipsModule
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.quiet import quiet

NETS: tuple[BackboneName, ...] = ("alex", "squeeze", "vgg")
LOADERS: dict[str, Callable[[str | Path | None], Any]] = {
    "lpips": load_lpips, "clip": load_clip, "inception": load_inception, "features": load_features,
    "classifier": load_classifier, "structure": load_structure,
}  # fmt: skip


def ready(folder: Path, net: BackboneName = "alex") -> Lpips:
    network = load_lpips(folder, net)
    assert isinstance(network, Lpips)
    return network


def test_backbones_have_the_published_numbers_of_weights() -> None:
    """Of torchvision's whole networks, what is left without their classifiers."""
    counts = {
        net: sum(weight.numel() for layer in BACKBONES[net].layers() for weight in layer.parameters()) for net in NETS
    }
    assert counts == {"alex": 2_469_696, "vgg": 14_714_688, "squeeze": 1_235_496 - 513_000}


@pytest.mark.parametrize("net", NETS)
def test_lpips_is_a_distance(tmp_path: Path, net: BackboneName) -> None:
    network = ready(write_lpips(tmp_path, net), net)
    a, b = picture(0, 64, 72), picture(1, 64, 72)
    there, back, same = network.distances([a, b, a], [b, a, a])
    assert there == pytest.approx(back, rel=1e-5)
    assert there > 1e-3
    assert same == 0.0
    near = np.clip(a.astype(int) + 4, 0, 255).astype(np.uint8)
    assert 0 < network.distances([a], [near])[0] < there


def test_lpips_of_flat_pictures_is_the_value_computed_by_hand(tmp_path: Path) -> None:
    """One tap with two channels that are not zero: a constant 1, and the red pixel itself."""
    state = {name: torch.zeros_like(value) for name, value in lpips_state().items()}
    state["features.0.bias"][0] = 1
    state["features.0.weight"][1, 0, 5, 5] = 1
    state["lin0.model.1.weight"][0, :2, 0, 0] = torch.tensor([0.5, 2.0])
    save_file(state, tmp_path / "lpips_alex.safetensors")
    a, b = np.full((64, 64, 3), 255, np.uint8), np.full((64, 64, 3), 153, np.uint8)

    def unit(value: float) -> tuple[float, float]:
        red = (2 * value / 255 - 1 + 0.030) / 0.458
        return 1 / math.hypot(1, red), red / math.hypot(1, red)

    (one, red), (other, darker) = unit(255), unit(153)
    wanted = 0.5 * (one - other) ** 2 + 2 * (red - darker) ** 2
    assert ready(tmp_path).distances([a], [b])[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_lpips_listens_at_the_published_layers(net: BackboneName) -> None:
    """Each tap alone, its learned weights all 1, against the layers run one after the other."""
    module = LpipsModule(net)
    module.load_state_dict(lpips_state(net), strict=False)
    a, b = (Preparation()(picture(seed, 40, 40))[None] for seed in (2, 3))
    shift, scale = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    first, second = ((values - shift) / scale for values in (a, b))
    published = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}[net]
    learned = [value for name, value in module.named_parameters() if name.startswith("lin")]
    assert len(learned) == len(published)
    with torch.inference_mode():
        for number, layer in enumerate(module.features):
            first, second = layer(first), layer(second)
            if number in published:
                for index, weight in enumerate(learned):
                    weight.fill_(float(published[index] == number))
                one, other = (torch.nn.functional.normalize(x, dim=1, eps=1e-10) for x in (first, second))
                wanted = float((one - other).pow(2).sum(1).mean())
                assert float(module(a, b)) == pytest.approx(wanted, rel=1e-4), number
                assert wanted > 1e-3


def test_lpips_takes_pictures_of_several_sizes_and_the_square_of_flexit(tmp_path: Path) -> None:
    network = ready(write_lpips(tmp_path))
    sizes = [(64, 72), (64, 72), (48, 40), (64, 72)]
    a, b = ([picture(index + start, *size) for index, size in enumerate(sizes)] for start in (0, 10))
    together = network.distances(a, b, batch=3)
    assert together == pytest.approx([network.distances([x], [y])[0] for x, y in zip(a, b, strict=True)], rel=1e-5)
    square = network.distances([a[0]], [b[2]], FLEXIT_SQUARE)[0]
    cropped = network.distances([FLEXIT_SQUARE.pixels(a[0])], [FLEXIT_SQUARE.pixels(b[2])])[0]
    assert square == cropped
    with pytest.raises(InputError, match="equal sizes"):
        network.distances([a[0]], [b[2]])
    with pytest.raises(InputError, match="at least 32"):
        network.distances([a[0][:31]], [b[0][:31]])
    with pytest.raises(InputError, match="one partner each"):
        network.distances(a, b[:2])


def test_the_lpips_package_agrees(tmp_path: Path) -> None:
    """Only where that package is installed; nothing is fetched."""
    for name in ("torchvision", "lpips"):
        pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
    for net in NETS:
        ours = ready(write_lpips(tmp_path / net, net), net)
        with quiet():
            package = importlib.import_module("lpips")
            module = package.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        state, names = ours._module.state_dict(), {}
        for name in module.state_dict():
            # There, the backbone is cut into slices, and the learned weights have two names each.
            plain = re.sub(r"^net\.slice\d+\.", "features.", name)
            names[name] = re.sub(r"^lins\.(\d+)\.", r"lin\1.", plain)
        module.load_state_dict({name: state[own] for name, own in names.items() if own in state}, strict=False)
        theirs = Lpips(module.eval().requires_grad_(False), ours.card)
        a, b = [picture(0, 64, 72)], [picture(1, 64, 72)]
        assert theirs.distances(a, b) == pytest.approx(ours.distances(a, b), rel=1e-4)


def test_a_figure_says_where_it_comes_from(tmp_path: Path) -> None:
    network = ready(write_lpips(tmp_path))
    mean = interval_over({"": [0.1, None, 0.3]})
    figure = Figure.mean("lpips", mean, network, FLEXIT_SQUARE)
    assert figure.value == pytest.approx(0.2)
    assert figure.n == 2
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high) == pytest.approx((0.2 - 1.270620, 0.2 + 1.270620), abs=1e-5)
    assert figure.backbone == "AlexNet"
    assert figure.weights_sha256 == file_digest(tmp_path / "lpips_alex.safetensors")
    assert figure.implementation == "wordbrush"
    assert figure.resize == "shorter side to 256, bilinear, Pillow with antialiasing"
    assert "centre crop 256x256" in figure.preprocessing
    assert Figure.mean("lpips", mean, network).resize == "none"
    assert json.loads(json.dumps(figure.to_json()))["interval"]["n"] == 2


def test_a_figure_without_a_value_says_why() -> None:
    assert Figure.mean("psnr", None).skipped == "no item has a value for this metric"
    figure = Figure.missing("lpips", Skipped("lpips", "no weights"))
    assert (figure.value, figure.skipped) == (None, "no weights")


@pytest.mark.parametrize("kind", LOADERS)
def test_absent_weights_are_reported_with_the_reason(tmp_path: Path, kind: str) -> None:
    def reason(source: str | Path | None) -> str:
        network = LOADERS[kind](source)
        assert isinstance(network, Skipped)
        assert network.kind == kind
        return network.reason

    assert "name a local folder or a hub id" in reason(None)
    assert "no such folder" in reason(tmp_path / "nowhere")
    assert "no such folder" in reason("C:/no/such/thing")
    assert "no .safetensors" in reason(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    assert "networks.convert" in reason(tmp_path)
    assert "networks.convert" in reason(tmp_path / "pytorch_model.bin")


def test_other_weights_do_not_stand_in(tmp_path: Path) -> None:
    write_lpips(tmp_path, "alex")
    for source, said in (("squeeze", "lpips_squeeze.safetensors"), ("vgg", "lpips_vgg.safetensors")):
        network = load_lpips(tmp_path, source)  # type: ignore[arg-type]  # of a literal type
        assert isinstance(network, Skipped)
        assert said in network.reason
    with pytest.raises(InputError, match="choose one of alex"):
        load_lpips(tmp_path, "resnet")  # type: ignore[arg-type]  # that is the point
    skipped = load_clip(tmp_path)
    assert isinstance(skipped, Skipped)
    assert "config.json" in skipped.reason


def test_wrong_weights_are_an_error(tmp_path: Path) -> None:
    path = write_lpips(tmp_path) / "lpips_alex.safetensors"
    whole = load_file(path)
    name = "features.3.weight"
    for state, said in (
        (whole | {name: torch.zeros(192, 64, 3, 3)}, r"features\.3\.weight has shape \(192, 64, 3, 3\) instead of"),
        ({n: v for n, v in whole.items() if n != name}, r"features\.3\.weight is missing"),
        (whole | {"classifier.1.weight": torch.zeros(2)}, r"classifier\.1\.weight is not part of it"),
        (whole | {name: torch.full_like(whole[name], torch.nan)}, "NaN"),
    ):
        save_file(state, path)
        with pytest.raises(ModelError, match=said):
            load_lpips(tmp_path)
    path.write_bytes(b"\x80\x04 a pickle by another name")
    with pytest.raises(UnsafeWeightsError):
        load_lpips(tmp_path)


def test_transformers_weights_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    """The library itself would fill a missing weight with random numbers."""
    folder = write_classifier(tmp_path / "c", [0.0, 1.0])
    path = folder / "model.safetensors"
    whole = load_file(path)
    lost = {name: value for name, value in whole.items() if name != "deit.layernorm.weight"}
    save_file(lost, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layernorm\.weight"):
        load_classifier(folder)
    save_file(whole | {"deit.layernorm.weight": torch.ones(7)}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError):
        load_classifier(folder)
    with pytest.raises(ModelError):
        load_clip(write_vision(tmp_path / "v"))


def test_inception_without_torchvision_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    save_file({"weight": torch.zeros(1)}, tmp_path / FILE)
    network = load_inception(tmp_path)
    assert isinstance(network, Skipped)
    assert "eval-full" in network.reason


def test_a_hub_id_is_fetched_once_and_only_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_clip(tmp_path / "repository")
    (folder / "pytorch_model.bin").write_bytes(b"not to be fetched")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve("someone/tiny-clip", folder) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        network = load_clip("someone/tiny-clip")
        assert not isinstance(network, Skipped), network.reason
        assert "model.safetensors" in hub.fetched
        assert "pytorch_model.bin" not in hub.fetched
        assert (network.card.source, network.card.revision) == ("someone/tiny-clip", COMMIT)
        assert network.card.weights_sha256 == file_digest(folder / "model.safetensors")
    again = load_clip("someone/tiny-clip")  # the hub is gone: from the cache
    assert not isinstance(again, Skipped)
    absent = load_clip("someone/else")
    assert isinstance(absent, Skipped)
    assert "not fetched" in absent.reason


def test_offline_means_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with serve("someone/tiny-clip", tmp_path) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        network = load_clip("someone/tiny-clip")
        assert isinstance(network, Skipped)
        assert "HF_HUB_OFFLINE" in network.reason
        assert hub.requests == 0


def test_inception_pools_as_fid_does(tmp_path: Path) -> None:
    """Only with torchvision: of a block of ones, averages are one at the border too; the last block takes maxima."""
    pytest.importorskip("torchvision", reason="the extra eval-full is not installed", exc_type=ImportError)
    from wordbrush.evaluation.networks.inception import _build

    network = _build().eval()
    seen: list[torch.Tensor] = []
    for name, width in (("Mixed_5b", 192), ("Mixed_6e", 768), ("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        block = network.get_submodule(name)
        convolution = block.get_submodule("branch_pool.conv")
        handle = convolution.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        x = torch.ones(1, width, 5, 5)
        x[..., 2, 2] = 10
        with torch.inference_mode():
            block(x)
        handle.remove()
        corner, centre = float(seen[-1][0, 0, 0, 0]), float(seen[-1][0, 0, 2, 2])
        assert (corner, centre) == ((1, 10) if name == "Mixed_7c" else (1, 2)), name
    save_file({n: v for n, v in network.state_dict().items() if "num_batches" not in n}, tmp_path / FILE)
    loaded = load_inception(tmp_path)
    assert not isinstance(loaded, Skipped)
    assert loaded.features([picture(0)]).shape == (1, 2048)
