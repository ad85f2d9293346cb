"""Where a model comes from: shipped, a folder, a file, or a hub repository - the only one that may be downloaded."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from wordbrush.errors import ModelError, SettingsError, WordbrushError
from wordbrush.models.checkpoint.layout import INDEX, family_in, list_files, needed_files, parts_of, refuse_by_names
from wordbrush.models.checkpoint.quiet import quiet_hub
from wordbrush.models.checkpoint.weights import refuse_pickle_name

__all__ = ["BUILT_IN", "Located", "locate", "offline"]

BUILT_IN = ("pocket",)
"""Models that are shipped inside the package."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PATIENCE = 20.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Located:
    """A checkpoint on this machine.

    Attributes:
        name: short name for people.
        source: what was asked for.
        revision: the hub commit, or "".
        path: a folder in diffusers layout, or one file.
    """

    name: str
    source: str
    revision: str
    path: Path


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
        source: `pocket`, a folder, a `.safetensors` file, or a hub id `owner/name`.
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
        folder = Path(__file__).parents[1] / text
        if not (folder / INDEX).is_file():
            raise ModelError(f"the {text} model is not part of this installation: install wordbrush again")
        return Located(text, text, "", folder)
    if path.is_dir():
        return Located(path.resolve().name, text, "", path)
    if path.exists():
        refuse_pickle_name(path.name)
        return Located(path.stem, text, "", path)
    if isinstance(source, Path) or path.suffix in {".safetensors", ".ckpt", ".bin"} or not _REPOSITORY.fullmatch(text):
        raise ModelError(
            f"no model {text!r}: give {', '.join(map(repr, BUILT_IN))}, a folder in diffusers layout, a .safetensors "
            "file, or a hub id such as 'owner/name'"
        )
    return _from_hub(text, revision or "main", local_files_only or offline(), prefer_half, progress)


def offline() -> bool:
    """Say whether the environment forbids going online, now or when the hub client was imported."""
    from huggingface_hub import constants

    forbidden = any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE_NAMES)
    return forbidden or bool(constants.HF_HUB_OFFLINE)


_OFFLINE_NAMES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder of a revision in the local cache, complete or not."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repository, INDEX, revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def _from_hub(repository: str, revision: str, offline: bool, prefer_half: bool, progress: bool) -> Located:
    where = f"{repository} at revision {revision}"
    folder = _cached(repository, revision)
    lacking: ModelError | None = None
    if folder is not None:
        family = family_in(folder, where)
        try:
            needed_files(list_files(folder), parts_of(folder, family, where), where, prefer_half=prefer_half)
        except ModelError as error:
            folder, lacking = None, error
    if folder is None:
        if offline:
            problem = f"only in part ({lacking})" if lacking else "not"
            raise ModelError(
                f"{where} is {problem} in the local hub cache, and the network is not allowed "
                f"(local_files_only or HF_HUB_OFFLINE): run `wordbrush models fetch {repository}` with a network first"
            ) from lacking
        with nullcontext() if progress else quiet_hub():
            folder = _download(repository, revision, where, prefer_half)
    commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return Located(repository, repository, commit, folder)


def _download(repository: str, revision: str, where: str, prefer_half: bool) -> Path:
    """Fetch the files that are needed into the hub's own cache, after a look at the list of all and at the index."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        # Asked first because it fails at once without a network, where the download would try again and again.
        about = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
        names = [file.rfilename for file in about.siblings or ()]
        refuse_by_names(names, where, prefer_half=prefer_half)
        index = Path(hf_hub_download(repository, INDEX, revision=revision))
        family = family_in(index.parent, where)
        files = needed_files(names, parts_of(index.parent, family, where), where, prefer_half=prefer_half)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except GatedRepoError as error:
        raise ModelError(f"{repository} wants its terms accepted: do so on its page, then `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repository} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"there is no repository {repository!r} on the hub, or it is private") from error
    except WordbrushError:
        raise
    except Exception as error:  # whichever HTTP client the hub library uses, with errors of its own
        raise ModelError(f"{where} could not be fetched: {error}; check the network, or use a local folder") from error
