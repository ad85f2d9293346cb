"""The page and the HTTP API with models of other families: a step-distilled one with a LoRA, and one told its guidance.

The distilled one is laid out as Z-Image-Turbo, the other as FLUX.1 dev; both are tiny. The command on the page is run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from safetensors.torch import save_file

from tests.support import tiny
from tests.support.command import picture_file
from tests.support.families import flux_1, z_image
from tests.support.workbench import Running, Visit, running
from wordbrush.cli import main
from wordbrush.record.provenance import read_provenance

pytest.importorskip("peft")

TEXTS = {"query": "a red fox", "reference": "a dog", "flags": "--maps 1 --resolution 32", "steps": 3, "ratio": 1}
EMPTY: dict[str, Any] = {"versions": [], "left": None, "right": None}
LAYER = "transformer.layers.0.attention.to_q"


@dataclass(frozen=True)
class Places:
    """Where the models and the picture are."""

    turbo: str
    flux: str
    lora: str
    vae: str
    picture: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("models")
    z_image(shift=3.0).save_pretrained(folder / "turbo")
    flux_1().save_pretrained(folder / "flux")
    tiny.vae(seed=9, shift_factor=0.1159, scaling_factor=0.3611).save_pretrained(folder / "vae")
    draw = torch.Generator().manual_seed(3)
    up_down = {f"{LAYER}.lora_{part}.weight": torch.randn(4, 32, generator=draw) for part in "AB"}
    up_down[f"{LAYER}.lora_B.weight"] = up_down[f"{LAYER}.lora_B.weight"].T.contiguous()
    save_file(up_down, folder / "style.safetensors")
    turbo, flux, lora, vae = (str(folder / name) for name in ("turbo", "flux", "style.safetensors", "vae"))
    return Places(turbo, flux, lora, vae, picture_file(folder / "in.png", (45, 31)))


@pytest.fixture(scope="module")
def server(places: Places) -> Iterator[Running]:
    first = {"loras": ((places.lora, 0.5),), "vae": places.vae}
    with running(models=(places.turbo, places.flux), dtype="float32", first=first) as found:
        yield found


@pytest.fixture
def me(server: Running, places: Places) -> Iterator[Visit]:
    with Visit.to(server.address) as visit:
        visit.upload(places.picture)
        yield visit


def repeated(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, places: Places) -> Path:
    """Run a command beside the picture; return the file that it writes."""
    words = shlex.split(command)
    (folder / "in.png").write_bytes(places.picture.read_bytes())
    monkeypatch.chdir(folder)
    assert main([*words[1:], "-q"]) == 0
    return folder / words[words.index("-o") + 1]


def test_the_page_says_what_the_model_is_and_what_it_has_no_use_for(me: Visit) -> None:
    parts = {part["props"].get("elem_id"): part["props"] for part in me.config["components"]}
    told = parts["about"]["value"]
    assert "guidance is in the network; no text can be guided away from" in told
    assert "The picture is noised with one draw unless you say (undistilled, Tongyi-MAI/Z-Image inverts well)" in told
    assert "1024 pixels" in told
    assert (parts["guidance"]["interactive"], parts["guidance"]["value"]) == (False, 1.0)
    assert "none to set" in parts["guidance"]["info"]
    assert parts["negative"]["visible"] is False
    assert [value for _, value in parts["encoding"]["choices"]] == ["auto", "invert", "noise"]
    assert parts["encoding"]["choices"][0][0] == "as fits the model: noised with one draw"


def test_a_distilled_model_paints_and_its_command_gives_the_same_bytes(
    me: Visit, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS, threshold=0.01)])
    assert painted[1]["state"] == "done", painted[1]
    command, (card, *_) = painted[5], painted[2]["versions"]
    assert f"--lora {places.lora}:0.5" in command
    assert f"--vae {places.vae}" in command
    assert "--guidance" not in command
    assert "the background was noised" in painted[1]["note"]
    again = repeated(command, tmp_path, monkeypatch, places)
    assert again.read_bytes() == me.client.get(card["url"]).content
    assert read_provenance(again).model["loras"][0]["scale"] == 0.5


def test_another_way_into_the_noise_is_a_control(
    me: Visit, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls = me.controls(**TEXTS, threshold=0.01, encoding="invert", check_inversion=True)
    painted = me.call("paint", "click", [me.stage, EMPTY, *controls])
    assert painted[1]["state"] == "done", painted[1]
    assert "was noised" not in painted[1]["note"]
    assert "--encoding invert" in painted[5]
    again = repeated(painted[5], tmp_path, monkeypatch, places)
    assert again.read_bytes() == me.client.get(painted[2]["versions"][0]["url"]).content
    told = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS, check_inversion=True)])[1]
    assert told["state"] == "failed"
    assert "no inversion to check" in told["note"]


def test_a_model_that_is_told_its_guidance(
    me: Visit, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {**TEXTS, "model": places.flux, "negative": "fog"}
    guidance, encoding, negative, told, *_ = me.call("model", "input", [me.stage, *me.controls(**chosen)])
    assert (guidance["value"], guidance["interactive"]) == (3.5, True)
    assert "told the number" in guidance["info"]
    assert encoding["choices"][0][0] == "as fits the model: inverted"
    assert (negative["value"], negative["visible"]) == ("", False)
    assert "guidance is a number told to the network (3.5 by default)" in told
    controls = me.controls(**{**chosen, "negative": "", "guidance": 2, "threshold": 0.01})
    painted = me.call("paint", "click", [me.stage, EMPTY, *controls])
    assert painted[1]["state"] == "done", painted[1]
    assert "--guidance 2.0" in painted[5]
    assert "--lora" not in painted[5]
    again = repeated(painted[5], tmp_path, monkeypatch, places)
    assert again.read_bytes() == me.client.get(painted[2]["versions"][0]["url"]).content
    told = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**{**chosen, "guidance": 3.5})])[1]
    assert "a negative text means nothing for this model" in told["note"]


def test_settings_of_another_model_leave_out_what_this_one_refuses(me: Visit, places: Places, tmp_path: Path) -> None:
    """A file of pocket with guidance and a negative text is opened where there is only the distilled model."""
    made = tmp_path / "made.png"
    texts = ("--from", "a fox", "--to", "a cat", "--negative", "fog", "--guidance", "3", "--maps", "1", "--steps", "3")
    assert main(["edit", str(places.picture), *texts, "-o", str(made), "-q"]) == 0
    me.upload(made)
    outputs = me.call("stage", "opened", [me.stage])
    told = dict(zip(["guidance", "negative"], [outputs[18], outputs[3]], strict=True))
    assert told["guidance"]["value"] == 1.0
    assert told["negative"]["value"] == ""


def test_the_api_takes_and_refuses_the_same(
    server: Running, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(server.address, verbose=False, download_files=str(tmp_path / "got"), analytics_enabled=False)
    asked: dict[str, Any] = {
        "picture": handle_file(places.picture), "query": "a red fox", "steps": 3, "ratio": 1, "threshold": 0.01,
        "api_name": "/edit",
    }  # fmt: skip
    got, _, report = client.predict(**asked, switches="--maps 1 --resolution 32 --encoding invert")
    again = repeated(report["command"], tmp_path, monkeypatch, places)
    assert again.read_bytes() == Path(got).read_bytes()
    for wrong, sentence in (
        ({"guidance": 4}, "guidance 4 means nothing for this model"),
        ({"negative": "fog"}, "a negative text means nothing for this model, which has no guidance"),
        ({"negative": "fog", "model": places.flux}, "which takes its guidance as a number"),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(**asked, **wrong, switches="--maps 1 --resolution 32")
