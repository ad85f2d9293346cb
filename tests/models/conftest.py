"""Tiny checkpoints, written once a session, and a closed network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import tiny
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.quiet import quiet


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sd1/`, `sd2/`, `sd1.safetensors` and `sd2.safetensors`; never written to by tests."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with quiet():
        for kind in ("sd1", "sd2"):
            tiny.write_folder(folder / kind, kind)
            tiny.write_single_file(folder / f"{kind}.safetensors", kind)
    return folder


@pytest.fixture(scope="session")
def model(checkpoints: Path) -> Model:
    """The tiny epsilon model, loaded from its folder."""
    return load_model(checkpoints / "sd1")


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any attempt to create a socket fail the test."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
