"""Where a model comes from: shipped, a folder, a file, or a hub repository - the only one that may be downloaded."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from wordbrush.errors import ModelError, SettingsError
from wordbrush.models.checkpoint.cache import Snapshot, broken_links, find_snapshot, state_in_words
from wordbrush.models.checkpoint.download import download, download_vocabulary
from wordbrush.models.checkpoint.layout import INDEX, family_in, list_files, needed_files, parts_of
from wordbrush.models.checkpoint.quiet import quiet_hub
from wordbrush.models.checkpoint.weights import refuse_pickle_name

__all__ = ["BUILT_IN", "Located", "fetch_vocabulary", "locate", "offline"]

_MODELS = Path(__file__).parents[1]
BUILT_IN = MappingProxyType({"pocket": _MODELS / "pocket", "pocket-flow": _MODELS / "pocket_flow"})
"""Models that are shipped inside the package, and their folders."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SUFFIXES = {".safetensors", ".ckpt", ".bin"}
_LISTED = 10_000
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Located:
    """A checkpoint on this machine.

    Attributes:
        name: short name for people.
        source: what was asked for.
        revision: the hub commit, or "".
        path: a folder in diffusers layout, or one file.
        notes: what a user should know of how it was found.
    """

    name: str
    source: str
    revision: str
    path: Path
    notes: tuple[str, ...] = ()


def locate(
    source: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    prefer_half: bool = False,
    progress: bool = False,
) -> Located:
    """Find a checkpoint; for a hub repository, in the local cache first and then, if allowed, on the hub.

    Args:
        source: `pocket` or `pocket-flow`, a folder, a `.safetensors` file, or a hub id `owner/name`.
        revision: branch, tag or commit of a hub repository.
        local_files_only: never go online; also what HF_HUB_OFFLINE=1 means.
        prefer_half: take fp16 weight files where a repository has both.
        progress: show the hub client's progress bars on stderr while files are fetched.

    Raises:
        ModelError: there is no such thing, or it cannot be used; the message says what is missing.
        SettingsError: a revision was given for what has none.
    """
    text = str(source)
    path = Path(source).expanduser()
    here = isinstance(source, str) and source in BUILT_IN
    if revision is not None and (here or path.exists()):
        raise SettingsError(f"revision {revision!r} means nothing for {text!r}: only hub repositories have revisions")
    if here:
        folder = BUILT_IN[text]
        if not (folder / INDEX).is_file():
            raise ModelError(f"the {text} model is not part of this installation: install wordbrush again")
        return Located(text, text, "", folder)
    if path.is_dir():
        return Located(path.resolve().name, text, "", path)
    if path.exists():
        refuse_pickle_name(path.name)
        return Located(path.stem, text, "", path)
    if isinstance(source, Path) or _looks_like_path(text):
        raise _missing(text)
    if not _REPOSITORY.fullmatch(text):
        raise ModelError(
            f"no model {text!r}: give {', '.join(map(repr, BUILT_IN))}, a folder in diffusers layout, a .safetensors "
            "file, or a hub id such as 'owner/name'"
        )
    return _from_hub(text, revision, local_files_only or offline(), prefer_half, progress)


def fetch_vocabulary(repository: str, revision: str) -> Path:
    """Fetch the files of a repository's tokenizer alone into the hub cache; returns their folder.

    Raises:
        ModelError: the network is not allowed or fails, or there is no vocabulary there.
    """
    if offline():
        raise ModelError(f"the vocabulary of {repository} wants the network, which is not allowed (HF_HUB_OFFLINE)")
    return download_vocabulary(repository, revision)


def offline() -> bool:
    """Say whether the environment forbids going online, now or when the hub client was imported."""
    from huggingface_hub import constants

    forbidden = any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE_NAMES)
    return forbidden or bool(constants.HF_HUB_OFFLINE)


_OFFLINE_NAMES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _missing(text: str) -> ModelError:
    """Return what to say of a path that is not there, with names like it in the same folder."""
    path = Path(text).expanduser()
    if "\\" in text and os.sep != "\\":
        return ModelError(f"no folder or file {text!r} here: on this machine paths are written with /")
    parent = path.parent
    if not parent.is_dir():
        return ModelError(f"no folder or file {text!r} here: there is no folder {str(parent)!r} either")
    others = sorted(other.name for other in parent.iterdir())[:_LISTED]
    by_stem = {Path(name).stem: name for name in others}
    near = get_close_matches(path.name, others) or [by_stem[n] for n in get_close_matches(path.stem, by_stem)]
    hint = f"; there is {', '.join(near)}" if near else ""
    return ModelError(f"no folder or file {text!r} here{hint}")


def _looks_like_path(text: str) -> bool:
    """Say whether a name that is not there was surely meant as a path and not as a hub id."""
    return (
        text.startswith((".", "~", "/"))
        or "\\" in text
        or text.rstrip("/").count("/") > 1
        or text.endswith("/")
        or Path(text).suffix in _SUFFIXES
    )


def _from_hub(repository: str, revision: str | None, offline: bool, prefer_half: bool, progress: bool) -> Located:
    where = f"{repository} at revision {revision or 'main'}"
    found = find_snapshot(repository, revision)
    lacking: ModelError | None = None
    if found is not None:
        family = family_in(found.folder, where)
        try:
            own = parts_of(found.folder, family, where)
            needed_files(list_files(found.folder), own, where, prefer_half=prefer_half)
        except ModelError as error:
            lacking = error
    if found is None or lacking is not None:
        if offline:
            raise _not_cached(repository, where, found, lacking) from lacking
        with nullcontext() if progress else quiet_hub():
            found = Snapshot(download(repository, revision or "main", where, prefer_half))
    commit = found.folder.name if _COMMIT.fullmatch(found.folder.name) else revision or "main"
    return Located(repository, repository, commit, found.folder, (found.note,) if found.note else ())


def _not_cached(repository: str, where: str, found: Snapshot | None, lacking: ModelError | None) -> ModelError:
    """Return what to say offline of a repository that the cache does not hold, or not whole."""
    owner = repository.split("/", 1)[0]
    state = state_in_words(repository) if found is None else ""
    if not state and found is None and Path(owner).is_dir():
        return ModelError(f"{_missing(repository)}, nor is there a cached model of that name")
    broken = broken_links(found.folder) if found is not None else []
    damage = f"; {broken[0]} is a link to a file that is gone" if broken else ""
    problem = f"only in part ({lacking}{damage})" if lacking else "not"
    here = "" if state or lacking else f", nor is there a folder {repository} here"
    return ModelError(
        f"{where} is {problem} in the local hub cache{here}{'; ' * bool(state)}{state}; the network is not allowed "
        f"(local_files_only or HF_HUB_OFFLINE): `wordbrush models fetch {repository}` fetches it where there is one"
    )
