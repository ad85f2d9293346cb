"""The sample pictures: in `examples/` of the repository, in `wordbrush/examples` of an installed wheel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from wordbrush.errors import InputError

__all__ = ["Sample", "load_samples", "samples_folder"]


@dataclass(frozen=True)
class Sample:
    """One sample: a picture, what it shows, what it shall show, and the kind of change."""

    path: Path
    reference: str
    query: str
    kind: str


def samples_folder() -> Path:
    """Return the folder that holds `examples.json`.

    Raises:
        InputError: there is none in this installation.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "examples", here.parents[3] / "examples"):
        if (folder / "examples.json").is_file():
            return folder
    raise InputError("this installation has no sample pictures; install the wheel or clone the repository again")


def load_samples(folder: Path | None = None) -> list[Sample]:
    """Read `examples.json`: a list of objects with `file`, `from`, `to` and `kind`.

    Raises:
        InputError: the list is missing or cannot be read.
    """
    home = samples_folder() if folder is None else folder
    path = home / "examples.json"
    try:
        entries = json.loads(path.read_text("utf-8"))
        samples = [Sample(home / e["file"], e["from"], e["to"], e.get("kind", "")) for e in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a list of samples with file, from, to ({error})") from error
    if not samples:
        raise InputError(f"{path}: lists no sample")
    return samples
