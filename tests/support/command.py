"""Running the command line inside the test's process, and the small things its tests work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wordbrush.cli import main


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as JSON."""
        value: dict[str, Any] = json.loads(self.out)
        return value

    def failed(self, code: int, *parts: str) -> None:
        """Check that the command ended with this code, one line that holds these parts, and nothing else."""
        assert self.code == code, (self.code, self.err)
        assert self.out == b""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("wordbrush: ")
        assert "Traceback" not in self.err
        for part in parts:
            assert part in lines[0], lines[0]


Command = Callable[..., Outcome]


def command_of(capture: pytest.CaptureFixture[bytes]) -> Command:
    """Return a function that runs `wordbrush` with its arguments."""

    def run(*words: str | Path) -> Outcome:
        capture.readouterr()
        code = main([str(word) for word in words])
        out, err = capture.readouterr()
        return Outcome(code, out, err.decode())

    return run


def edited(folder: Path, *words: str) -> bytes:
    """Edit `in.png`, a `picture_file`, in an empty folder, and return the file that `wordbrush edit` wrote."""
    out = folder / "out.png"
    assert main(["edit", str(picture_file(folder / "in.png")), *words, "-o", str(out)]) == 0
    return out.read_bytes()


def picture_file(path: Path, size: tuple[int, int] = (61, 47), *, mode: str = "RGB") -> Path:
    """Write a smooth colourful picture, every row and column different."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    planes = [x / width * 255, y / height * 255, 127 + 100 * np.sin(x / 7) * np.cos(y / 5)]
    image = Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((x / width * 255).astype(np.uint8)))
    image.save(path)
    return path


def mask_file(path: Path, size: tuple[int, int], box: tuple[int, int, int, int]) -> Path:
    """Write a black mask with one white box (left, top, right, bottom)."""
    image = Image.new("L", size, 0)
    image.paste(255, box)
    image.save(path)
    return path
