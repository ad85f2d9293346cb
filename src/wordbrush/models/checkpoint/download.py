"""Fetching from the hub: what is needed and no more, into the hub client's own cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordbrush.errors import ModelError, WordbrushError
from wordbrush.models.checkpoint.layout import INDEX, family_in, needed_files, refuse_by_names

__all__ = ["download", "download_vocabulary"]

_PATIENCE = 20.0
_VOCABULARY = ("vocab.json", "merges.txt")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


def download(repository: str, revision: str, where: str, prefer_half: bool) -> Path:
    """Fetch the files that are needed into the hub's own cache, after a look at the list of all and at the index.

    Args:
        repository: `owner/name`.
        revision: branch, tag or commit.
        where: what to call it in messages.
        prefer_half: take fp16 weight files where there are both.

    Raises:
        ModelError: there is no such repository or revision, it cannot be used, or the network fails.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    with _of_the_hub(repository, revision, where):
        # Asked first because it fails at once without a network, where the download would try again and again.
        about = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
        names = [file.rfilename for file in about.siblings or ()]
        refuse_by_names(names, where, prefer_half=prefer_half)
        index = Path(hf_hub_download(repository, INDEX, revision=revision))
        family = family_in(index.parent, where)
        files = needed_files(names, family.parts, where, prefer_half=prefer_half)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))


def download_vocabulary(repository: str, revision: str) -> Path:
    """Fetch the files of a repository's tokenizer alone, from its folder `tokenizer` or the top; returns their folder.

    Raises:
        ModelError: there is no such repository or revision, it has no vocabulary, or the network fails.
    """
    from huggingface_hub import HfApi, snapshot_download

    where = f"the vocabulary of {repository} at revision {revision}"
    with _of_the_hub(repository, revision, where):
        about = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
        names = {file.rfilename for file in about.siblings or ()}
        for prefix in ("tokenizer/", ""):
            if {f"{prefix}{name}" for name in _VOCABULARY} <= names:
                files = [f"{prefix}{name}" for name in (*_VOCABULARY, *_SETTINGS) if f"{prefix}{name}" in names]
                folder = snapshot_download(repository, revision=revision, allow_patterns=files)
                return Path(folder) / prefix
    raise ModelError(f"{repository} at revision {revision} holds no vocab.json with merges.txt")


@contextmanager
def _of_the_hub(repository: str, revision: str, where: str) -> Iterator[None]:
    """Turn what the hub client raises into this package's errors."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise ModelError(f"{repository} wants its terms accepted: do so on its page, then `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repository} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no folder {repository} here and no repository {repository!r} on the hub, or it is private"
        ) from error
    except WordbrushError:
        raise
    except Exception as error:  # whichever HTTP client the hub library uses, with errors of its own
        raise ModelError(f"{where} could not be fetched: {error}; check the network, or use a local folder") from error
