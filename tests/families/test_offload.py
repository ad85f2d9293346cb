"""Networks that wait in main memory answer what they answer otherwise; here the device is the CPU, too."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.support import tiny
from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from wordbrush.errors import SettingsError
from wordbrush.models import Model, load_model
from wordbrush.models.addons.loras import apply_loras
from wordbrush.models.checkpoint.offload import Offload, hold_back, resolve_offload
from wordbrush.models.checkpoint.parts import from_pipeline
from wordbrush.models.family import Origin, Parts
from wordbrush.models.registry import family_of_pipeline

CPU = torch.device("cpu")
TEXT = "a red fox"


def held(name: str, way: Offload | None, loras: tuple[Path, ...] = ()) -> tuple[Model, Parts]:
    """Return a family's tiny model, with its parts; some of them held back."""
    pipeline = ROWS[name].build()
    family = family_of_pipeline(pipeline, name)
    parts, device = from_pipeline(pipeline, family, name)
    apply_loras(parts, family, loras)
    if way is not None:
        hold_back(parts, device, way)
    return family.build(parts, Origin(name, name, "", device)), parts


def answers(model: Model) -> list[Tensor]:
    """Return all that a model's networks say: of a text, a picture, a latent and a step, and all of it once more."""
    side = SIDE // model.codec.factor
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(1, model.codec.channels, side, side, generator=draws)
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=draws) * 2 - 1
    found = []
    for text in (TEXT, TEXT):
        words = model.text.encode([text], canvas=(side, side))[0].conditioning
        told = model.policy.told(words, model.guidance)
        found += [model.denoiser(x, model.schedule.level(level), told).eps for level in (0.4, 0.7)]
        found += [model.codec.encode(pixels), model.codec.decode(x)]
    return found


@cache
def plain(name: str) -> list[Tensor]:
    return answers(held(name, None)[0])


@pytest.mark.parametrize("way", get_args(Offload))
@pytest.mark.parametrize("name", ROWS)
def test_held_back_networks_answer_the_same(name: str, way: Offload) -> None:
    model, parts = held(name, way)
    for found, wanted in zip(answers(model), plain(name), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    network = parts["unet" if "unet" in parts.networks else "transformer"]
    empty = [weight.is_meta for weight in network.parameters()]
    assert all(empty) if way == "sequential" else not any(empty)


@pytest.mark.parametrize("way", get_args(Offload))
def test_a_lora_is_held_back_with_its_layer(way: Offload, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    stem = "transformer.transformer_blocks.0.attn.to_q.lora"
    state = {f"{stem}_A.weight": torch.ones(2, 32), f"{stem}_B.weight": torch.ones(32, 2)}
    save_file(state, tmp_path / "l.safetensors")
    loras = (tmp_path / "l.safetensors",)
    wanted = answers(held("flux-1-dev", None, loras)[0])
    assert not torch.allclose(wanted[0], plain("flux-1-dev")[0], atol=1e-4)
    for found, value in zip(answers(held("flux-1-dev", way, loras)[0]), wanted, strict=True):
        assert torch.allclose(found, value, atol=1e-6)


class Moved(nn.Linear):
    """A layer that notes where it is brought."""

    def __init__(self, journal: list[str], name: str) -> None:
        super().__init__(2, 2)
        self.journal, self.name = journal, name

    def to(self, device: Any) -> Any:  # type: ignore[override]
        self.journal.append(f"{self.name} to {device}")
        return self


def test_one_network_at_a_time_is_on_the_device_whatever_the_order() -> None:
    journal: list[str] = []
    first, second = Moved(journal, "first"), Moved(journal, "second")
    hold_back(Parts({"first": first, "second": second}, {}, {}, ""), torch.device("meta"), "model")
    assert journal == []
    for layer in (first, first, second, second, first):
        layer(torch.zeros(1, 2))
    brought = ["first to meta", "first to cpu", "second to meta", "second to cpu", "first to meta"]
    assert journal == brought


def test_offloading_changes_nothing_on_the_cpu_and_says_so(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "sd1", "sd1")
    loaded = load_model(tmp_path / "sd1", device="cpu", offload="sequential")
    assert loaded.notes == ("offload sequential changes nothing on the CPU",)
    assert load_model(tmp_path / "sd1", device="cpu").notes == ()
    assert not any(weight.is_meta for weight in loaded.denoiser.network.module.parameters())  # type: ignore[attr-defined]
    assert resolve_offload("group", torch.device("cuda")) == ("group", ())


def test_an_unknown_way_and_a_loaded_pipeline_are_refused(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "sd1", "sd1")
    with pytest.raises(SettingsError, match="offload 'disk' is unknown: use model, group, sequential"):
        load_model(tmp_path / "sd1", offload="disk")
    with pytest.raises(SettingsError, match="offload"):
        load_model(tiny.pipeline(), offload="model")
