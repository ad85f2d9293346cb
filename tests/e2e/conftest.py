"""What the tests of the command line share: the command itself, a tiny model on disk, a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.command import Command, command_of, picture_file


@pytest.fixture
def wordbrush(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capsysbinary)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.write_folder(folder, "sd1")
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return picture_file(tmp_path / "in.png")


@pytest.fixture(scope="session")
def quick(tiny_folder: Path) -> list[str]:
    """Flags that make an edit quick: the tiny model, few steps."""
    return ["--model", str(tiny_folder), "--steps", "5", "--maps", "2"]
