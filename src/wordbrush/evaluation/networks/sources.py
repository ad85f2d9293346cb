"""Find and load the weights of metric networks: a local folder or file, or a hub id. Safetensors only.

What is absent is `Skipped` with the reason, so that a report can say so. What is present and wrong is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from wordbrush.errors import ModelError
from wordbrush.evaluation.networks.figures import Card, Skipped
from wordbrush.models.checkpoint.digests import digest_files
from wordbrush.models.checkpoint.quiet import quiet, quiet_hub
from wordbrush.models.checkpoint.sources import offline
from wordbrush.models.checkpoint.weights import check_finite, is_pickle_name, read_header

__all__ = ["CONVERT", "Place", "find", "load_pretrained", "load_state"]

CONVERT = "python -m wordbrush.evaluation.networks.convert"
_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 20.0


@dataclass(frozen=True)
class Place:
    """Weights on this machine: `path` is a folder or one safetensors file."""

    path: Path
    source: str
    revision: str = ""

    def card(self, files: list[Path], backbone: str, implementation: str) -> Card:
        """Return the card of a network that was read from these files."""
        digest = digest_files({path.name: path for path in files})
        return Card(backbone, self.source, self.revision, digest, implementation)

    def weights(self) -> list[Path]:
        """Return the weight files of a folder, by name."""
        return sorted(self.path.glob("*.safetensors"))


def find(source: str | Path | None, kind: str, revision: str | None = None) -> Place | Skipped:
    """Find the weights that the user named; a hub repository first in the local cache, then on the hub.

    Args:
        source: a folder, a `.safetensors` file, or a hub id `owner/name`.
        kind: which network it is for, for the message.
        revision: branch, tag or commit of a hub repository.
    """
    if source is None:
        return Skipped(kind, f"no weights were named for {kind}: name a local folder or a hub id")
    path = Path(source).expanduser()
    if path.is_dir():
        return _checked(Place(path, str(source)), kind)
    if path.is_file():
        return Skipped(kind, _pickled(path.name)) if is_pickle_name(path.name) else Place(path, str(source))
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        return Skipped(kind, f"{source}: there is no such folder or file")
    place = _from_hub(source, kind, revision or "main")
    return place if isinstance(place, Skipped) else _checked(place, kind)


def _checked(place: Place, kind: str) -> Place | Skipped:
    if place.weights():
        return place
    pickles = sorted(path.name for path in place.path.iterdir() if is_pickle_name(path.name))
    return Skipped(kind, _pickled(pickles[0]) if pickles else f"{place.source}: no .safetensors file is there")


def _pickled(name: str) -> str:
    return (
        f"{name} is stored as a pickle, which can run code when opened, and is not read: if you trust it, convert it "
        f"once with `{CONVERT} --help`"
    )


def _from_hub(repository: str, kind: str, revision: str) -> Place | Skipped:
    """Return the local copy of a repository, fetched if it is not in the hub client's cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetch = partial(snapshot_download, allow_patterns=_PATTERNS)

    def place(folder: str) -> Place:
        commit = Path(folder).name
        return Place(Path(folder), repository, commit if _COMMIT.fullmatch(commit) else revision)

    try:
        cached = place(fetch(repository, revision=revision, local_files_only=True))
        if cached.weights():
            return cached
    except (LocalEntryNotFoundError, ValueError):
        pass
    if offline():
        return Skipped(kind, f"{repository} is not in the local hub cache, and HF_HUB_OFFLINE forbids to fetch it")
    try:
        # Asked first because it fails at once without a network, where the download would try again and again.
        about = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
        names = [file.rfilename for file in about.siblings or ()]
        if not any(name.endswith(".safetensors") for name in names):
            pickles = [name for name in names if is_pickle_name(name)]
            return Skipped(kind, _pickled(f"{repository}/{pickles[0]}") if pickles else f"{repository} has no weights")
        with quiet_hub():
            return place(fetch(repository, revision=revision))
    except Exception as error:  # whichever HTTP client the hub library uses, with errors of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Skipped(kind, f"{repository} at revision {revision} is not in the local cache and not fetched: {reason}")


def load_state(module: nn.Module, path: Path, optional: str = r"$^") -> None:
    """Load a module's weights from a safetensors file with exactly its names and shapes.

    Args:
        module: is filled in place, in its own dtype, and set to evaluation.
        path: the file.
        optional: pattern of names that may be missing in the file or be there without use.

    Raises:
        ModelError: names or shapes differ, or a weight is not finite; the message lists which.
    """
    from safetensors.torch import load_file

    stored = {name: entry.shape for name, entry in read_header(path).tensors.items()}
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    free = re.compile(optional)
    problems = [f"{name} is missing" for name in expected.keys() - stored.keys() if not free.match(name)]
    problems += [f"{name} is not part of it" for name in stored.keys() - expected.keys() if not free.match(name)]
    problems += [
        f"{name} has shape {stored[name]} instead of {expected[name]}"
        for name in stored.keys() & expected.keys()
        if stored[name] != expected[name]
    ]
    if problems:
        more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ModelError(f"{path}: not the weights of this network: {', '.join(sorted(problems)[:4])}{more}")
    state = {name: value for name, value in load_file(path).items() if name in expected}
    module.load_state_dict(state, strict=False)
    check_finite(module, path.name)
    module.eval().requires_grad_(False)


def load_pretrained(model_class: Any, folder: Path, **options: Any) -> Any:
    """Load a transformers model from a folder: safetensors, no remote code, every weight accounted for.

    Args:
        model_class: a model class of transformers, or one of its Auto classes.
        folder: with `config.json` and weights.
        options: go to the class.

    Returns:
        The model in float32, in evaluation.

    Raises:
        ModelError: the folder cannot be read as that model, a weight is missing or of another shape, or not finite.
    """
    import torch

    for path in folder.glob("*.safetensors"):
        read_header(path)
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
    except Exception as error:  # the loaders of transformers raise what they like
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder}: cannot be read as {model_class.__name__}: {reason}") from error
    # Transformers fills what is missing with random numbers and only warns; a metric must not be random.
    if missing := sorted({*info["missing_keys"], *(str(entry) for entry in info.get("mismatched_keys", ()))}):
        raise ModelError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are not there or have another shape, such as "
            f"{missing[0]}: it is the checkpoint of another network, or damaged"
        )
    check_finite(model, type(model).__name__)
    return model.eval().requires_grad_(False)
