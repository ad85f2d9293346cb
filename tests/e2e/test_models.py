from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import tiny
from tests.support.command import Command
from wordbrush.cli.commands.models import ShowCommand
from wordbrush.cli.doctor import check_versions
from wordbrush.models.listing import licence_field


def refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a socket was opened")


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse)


@pytest.mark.usefixtures("closed_network")
def test_list_knows_pocket_without_a_network(wordbrush: Command) -> None:
    done = wordbrush("models", "list", "--json")
    assert done.code == 0, done.err
    for shipped, name in zip(done.json["models"], ("pocket", "pocket-flow"), strict=False):
        assert (shipped["name"], shipped["where"]) == (name, "shipped")
        assert shipped["bytes"] > 1_000_000
    assert "pocket" in wordbrush("models", "list").text


def test_list_knows_the_families(wordbrush: Command) -> None:
    done = wordbrush("models", "list", "--families", "--json")
    assert done.code == 0, done.err
    family = done.json["families"][0]
    assert (family["name"], family["guidance_kind"], family["guidance"]) == ("stable-diffusion", "cfg", 7.5)
    assert family["parametrisations"] == ["epsilon", "v_prediction", "sample"]
    text = wordbrush("models", "list", "--families").text
    assert "guidance: cfg (two estimates a step), 7.5 by default" in text
    assert "native: 1328 pixels a side" in text
    assert "measured" in text
    assert "pictures: inverted; noised where distilled to few steps (undistilled: Tongyi-MAI/Z-Image)" in text
    by_name = {family["name"]: family for family in done.json["families"]}
    assert (by_name["latent-consistency"]["inversion"], by_name["z-image"]["inversion"]) == ("noised", "inverted")
    assert (by_name["z-image"]["half"], by_name["z-image"]["licence"]) == ("bfloat16", "Apache-2.0")


def test_show_says_who_a_model_is(wordbrush: Command, tiny_folder: Path) -> None:
    done = wordbrush("models", "show", tiny_folder, "--json")
    assert done.code == 0, done.err
    assert done.json["identity"]["parametrisation"] == "epsilon"
    assert len(done.json["identity"]["sha256"]) == 64
    assert (done.json["identity"]["family"], done.json["guidance_kind"]) == ("stable-diffusion", "cfg")
    assert "epsilon" in wordbrush("models", "show", tiny_folder).text


def test_show_lists_the_words_of_pocket(wordbrush: Command) -> None:
    done = wordbrush("models", "show", "pocket", "--json")
    assert done.code == 0, done.err
    assert {"zebra", "grass", "red"} <= set(done.json["words"])
    assert "pocket" in done.json["card_text"]
    assert "zebra" in wordbrush("models", "show", "pocket").text


def test_show_tells_a_model_before_it_is_loaded(wordbrush: Command, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "m"))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: house-rules\n---\n# Of mine\n")
    loaded = wordbrush("models", "show", folder, "--json").json
    for path in folder.rglob("*.safetensors"):  # all numbers NaN: what is loaded is refused
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        path.write_bytes(path.read_bytes()[:header] + b"\xff" * (path.stat().st_size - header))
    wordbrush("models", "show", folder).failed(4, "NaN")
    done = wordbrush("models", "show", folder, "--no-load", "--json")
    assert done.code == 0, done.err
    assert done.json.items() >= {key: value for key, value in loaded.items() if key != "identity"}.items()
    assert (done.json["family"], done.json["inversion"], done.json["licence_field"]) == (
        "stable-diffusion",
        "inverted",
        "house-rules",
    )
    text = wordbrush("models", "show", folder, "--no-load").text
    assert f"{done.json['parameters']:,} parameters" in text
    assert "UNet2DConditionModel" in text


def test_show_loads_unasked_only_what_is_small() -> None:
    assert ShowCommand(name="x").loads(200 << 20)
    assert not ShowCommand(name="x").loads(300 << 20)
    assert ShowCommand(name="x", load=True).loads(300 << 20)
    assert ShowCommand(name="x", vae="y").loads(300 << 20)
    assert not ShowCommand(name="x", load=False).loads(1)


def test_show_tells_a_file_by_its_header(wordbrush: Command, tmp_path: Path) -> None:
    file = tiny.write_single_file(tmp_path / "one.safetensors", "sd1")
    done = wordbrush("models", "show", file, "--no-load", "--json")
    assert done.code == 0, done.err
    (part,) = done.json["parts"]
    assert (part["name"], part["stored_bytes"], done.json["guidance"]) == ("file", part["float32_bytes"], 7.5)
    assert done.err.count("decided at load") == 1
    wordbrush("models", "show", file, "--no-load", "--vae", tmp_path).failed(2, "--vae", "--no-load")


def test_the_licence_is_read_from_the_front_of_a_card() -> None:
    assert licence_field('---\ntags: [a]\nlicense: "mit"\n---\ntext') == "mit"
    assert licence_field("# A model\nlicense: mit\n") == licence_field("") == ""


@pytest.mark.usefixtures("closed_network")
def test_fetch_refuses_what_is_no_hub_id(wordbrush: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pocket", "a/b/c", "../../x", "http://x/y", "a b/c", ""):
        wordbrush("models", "fetch", name).failed(2, "owner/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wordbrush("models", "fetch", "nobody/nothing").failed(4, "nobody/nothing", "network")


def test_doctor_examines_this_machine(wordbrush: Command) -> None:
    done = wordbrush("doctor", "--json")
    assert done.code == 0, done.json
    checks = {check["name"]: check for check in done.json["checks"]}
    order = ["python", "packages", "versions", "devices", "threads", "memory", "cache", "families", "pocket"]
    assert list(checks) == order
    assert done.json["healthy"] is True
    assert "cpu" in checks["devices"]["detail"]
    assert "loads and evaluates" in checks["pocket"]["detail"]
    assert "flux-2-klein" in checks["families"]["detail"]


def test_versions_are_compared_with_what_is_required() -> None:
    assert check_versions(["numpy>=1"]) == []
    assert check_versions(["numpy>=999"])[0].startswith("numpy ")
    assert check_versions(["no-such-package>=1"]) == ["no-such-package is not installed"]
    assert check_versions(["no-such-package; extra == 'dev'", "no-such-package; python_version < '3'"]) == []
