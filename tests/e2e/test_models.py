from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.command import Command
from wordbrush.cli.doctor import check_versions


def refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a socket was opened")


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse)


@pytest.mark.usefixtures("closed_network")
def test_list_knows_pocket_without_a_network(wordbrush: Command) -> None:
    done = wordbrush("models", "list", "--json")
    assert done.code == 0, done.err
    pocket = done.json["models"][0]
    assert (pocket["name"], pocket["where"]) == ("pocket", "shipped")
    assert pocket["bytes"] > 1_000_000
    assert "pocket" in wordbrush("models", "list").text


def test_list_knows_the_families(wordbrush: Command) -> None:
    done = wordbrush("models", "list", "--families", "--json")
    assert done.code == 0, done.err
    family = done.json["families"][0]
    assert (family["name"], family["guidance_kind"], family["guidance"]) == ("stable-diffusion", "cfg", 7.5)
    assert family["parametrisations"] == ["epsilon", "v_prediction", "sample"]
    text = wordbrush("models", "list", "--families").text
    assert "guidance: cfg, 7.5 by default" in text
    assert "measured" in text


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
    assert list(checks) == ["python", "packages", "versions", "devices", "threads", "memory", "cache", "pocket"]
    assert done.json["healthy"] is True
    assert "cpu" in checks["devices"]["detail"]
    assert "loads and evaluates" in checks["pocket"]["detail"]


def test_versions_are_compared_with_what_is_required() -> None:
    assert check_versions(["numpy>=1"]) == []
    assert check_versions(["numpy>=999"])[0].startswith("numpy ")
    assert check_versions(["no-such-package>=1"]) == ["no-such-package is not installed"]
    assert check_versions(["no-such-package; extra == 'dev'", "no-such-package; python_version < '3'"]) == []
