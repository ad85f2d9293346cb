"""Conversion of published pickles: the layouts they have, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.metric_networks import lpips_state, picture, write_classifier, write_lpips
from wordbrush.errors import InputError, ModelError, OutputError, UnsafeWeightsError
from wordbrush.evaluation.networks import Classifier, Lpips, Skipped, load_classifier, load_lpips
from wordbrush.evaluation.networks.convert import convert_folder, convert_inception, convert_lpips, main
from wordbrush.evaluation.sets import ClassMeans


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


def write_published(folder: Path) -> tuple[Path, Path]:
    """LPIPS' two files as they are published: the whole classification network, and the learned weights."""
    state = lpips_state()
    backbone = {name: value for name, value in state.items() if name.startswith("features")}
    backbone["classifier.6.weight"] = torch.zeros(10, 4096)
    torch.save(backbone, folder / "alexnet.pth")
    torch.save({name: value for name, value in state.items() if name.startswith("lin")}, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


def test_converted_lpips_is_the_same_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone, lin = write_published(tmp_path)
    out = tmp_path / "out"
    arguments = ["lpips", "--net", "alex", "--backbone", str(backbone), "--lin", str(lin), "-o", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(out / "lpips_alex.safetensors")
    converted, direct = load_lpips(out), load_lpips(write_lpips(tmp_path / "direct"))
    assert isinstance(converted, Lpips)
    assert isinstance(direct, Lpips)
    pair = [picture(0, 64, 64)], [picture(1, 64, 64)]
    assert converted.distances(*pair) == direct.distances(*pair)
    assert main(arguments) == OutputError.exit_code, "nothing is overwritten unasked"
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_files_of_another_backbone_are_refused(tmp_path: Path) -> None:
    backbone, lin = write_published(tmp_path)
    with pytest.raises(ModelError, match=r"not LPIPS with VGG16: .* is (missing|of shape)"):
        convert_lpips("vgg", backbone, lin, tmp_path)
    with pytest.raises(ModelError, match="no InceptionV3"):
        convert_inception(backbone, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        convert_inception(tmp_path / "nothing.pth", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "evil.pth"
    torch.save({"Conv2d_1a_3x3.conv.weight": Payload(canary)}, path)
    with pytest.raises(UnsafeWeightsError, match="refused"):
        convert_inception(path, tmp_path)
    assert not canary.exists()


def test_a_folder_with_a_pickle_becomes_one_without(tmp_path: Path) -> None:
    source = write_classifier(tmp_path / "source", [1.0, 2.0])
    state = load_file(source / "model.safetensors")
    state["tied.weight"] = next(iter(state.values()))  # two names for one tensor, which safetensors refuses
    torch.save(state, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    refused = load_classifier(source)
    assert isinstance(refused, Skipped)
    assert "networks.convert" in refused.reason
    converted = load_classifier(convert_folder(source, tmp_path / "safe"))
    assert isinstance(converted, Classifier)
    assert converted.predict([picture(0)]).tolist() == [1]
    assert not list((tmp_path / "safe").glob("*.bin"))
    with pytest.raises(InputError, match="no pytorch_model"):
        convert_folder(tmp_path / "safe", tmp_path / "again")


def test_class_statistics_of_flexit_are_read(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    means = torch.rand(3, 5, generator=random)
    classwise = {number: {"mean": mean} for number, mean in zip((7, 30, 100), means, strict=True)}
    torch.save({"mean": means.mean(0), "std": means.std(0), "classwise": classwise}, tmp_path / "stats.pt")
    assert main(["classes", str(tmp_path / "stats.pt"), "-o", str(tmp_path)]) == 0
    found = ClassMeans.load(tmp_path / "class_means.safetensors")
    assert found.labels == ("7", "30", "100")
    assert found.means == pytest.approx(means.numpy())
    assert found.overall == pytest.approx(np.mean(means.numpy(), axis=0))
    torch.save({"mean": means}, tmp_path / "other.pt")
    assert main(["classes", str(tmp_path / "other.pt"), "-o", str(tmp_path)]) == ModelError.exit_code
