"""What the local hub cache holds of a repository: the revision to use, or in words why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wordbrush.models.checkpoint.layout import INDEX

__all__ = ["Snapshot", "broken_links", "find_snapshot", "state_in_words"]

_ABBREVIATED = re.compile(r"[0-9a-f]{4,39}")
_SHORT = 12
_FEW = 4


@dataclass(frozen=True)
class Snapshot:
    """A cached revision, complete or not.

    Attributes:
        folder: with model_index.json.
        note: what a user should know of how it was chosen, or "".
    """

    folder: Path
    note: str = ""


def find_snapshot(repository: str, revision: str | None) -> Snapshot | None:
    """Find a revision in the cache.

    Args:
        repository: `owner/name`.
        revision: branch, tag or commit, in full or its first digits; None is `main`, and where the cache knows no
            `main` (as where a commit was fetched by itself) the only revision there is.
    """
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repository, INDEX, revision=revision or "main")
    if isinstance(index, str):
        return Snapshot(Path(index).parent)
    whole = [folder for folder in _snapshots(repository) if (folder / INDEX).is_file()]
    if revision is not None:
        named = [f for f in whole if _ABBREVIATED.fullmatch(revision) and f.name.startswith(revision)]
        return Snapshot(named[0]) if len(named) == 1 else None
    main = _main(repository)
    if main:  # a reference written by hand, with a line break; or one to what is not there
        return next((Snapshot(folder) for folder in whole if folder.name == main), None)
    if len(whole) != 1:
        return None
    note = f"{repository}: the cache names no revision main; the one that it holds is used, {whole[0].name[:_SHORT]}"
    return Snapshot(whole[0], note)


def state_in_words(repository: str) -> str:
    """Say what the cache holds of a repository of which no usable revision was found, or "" if it holds nothing."""
    snapshots = _snapshots(repository)
    whole = [folder for folder in snapshots if (folder / INDEX).is_file()]
    if whole:
        names = ", ".join(folder.name[:_SHORT] for folder in whole)
        return f"the cache holds its revision{'s' * (len(whole) > 1)} {names}: say --revision (revision=)"
    files = sorted({file for folder in snapshots for file in _files(folder)})
    broken = sorted({file for folder in snapshots for file in broken_links(folder)})
    if broken:
        return f"the cache is damaged: {broken[0]} is a link to a file that is gone"
    if files:
        more = f" and {len(files) - _FEW} more files" if len(files) > _FEW else ""
        single = next((folder / f for folder in snapshots for f in _files(folder) if _is_weights(f)), None)
        advice = f": give that file itself, {single}" if single else ""
        return f"the cache holds only {', '.join(files[:_FEW])}{more} of it, and no {INDEX}{advice}"
    if any(_home(repository).glob("blobs/*.incomplete")):
        return "a download into the cache was broken off"
    return ""


def broken_links(folder: Path) -> list[str]:
    """Return the files of a snapshot that are links to nothing, as paths within it."""
    found = (path for path in folder.rglob("*") if path.is_symlink() and not path.exists())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _home(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _snapshots(repository: str) -> list[Path]:
    return sorted(folder for folder in (_home(repository) / "snapshots").glob("*") if folder.is_dir())


def _main(repository: str) -> str:
    try:
        with (_home(repository) / "refs" / "main").open(encoding="utf-8", errors="replace") as file:
            return file.read(200).strip()
    except OSError:
        return ""


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_weights(name: str) -> bool:
    return "/" not in name and name.endswith(".safetensors")
