"""The model of a batch: who it is, told from its files without loading it, and how many of it this machine can hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import torch

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.devices import resolve_device

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["facts_of_editor", "facts_of_files", "shares"]

_SPARE: Final = 1 << 30
"""Bytes that a worker process takes besides its weights: libraries, one picture, one edit."""

_ITEMS: Final = 4
"""Least items that make up for the start of a worker process."""


def facts_of_files(model: str, load: Mapping[str, Any]) -> dict[str, Any]:
    """Return who a model is by the digests of its files: the same on every machine and device.

    Raises:
        ModelError: it is nowhere on this machine.
    """
    facts: dict[str, Any] = {"files": {name: file_digest(path) for name, path in _files(model, load).items()}}
    for kind in ("loras", "embeddings"):
        facts[kind] = [_add_on(one) for one in load.get(kind) or ()]
    vae = load.get("vae")
    if vae is not None:
        facts["vae"] = [file_digest(path) for path in _weights(Path(vae).expanduser()).values()]
    chosen = {name: load.get(name) for name in ("dtype", "parametrisation", "config", "tokenizer")}
    return {**facts, **{name: str(value) for name, value in chosen.items() if value is not None}}


def facts_of_editor(editor: Editor) -> dict[str, Any]:
    """Return who a loaded model is."""
    told = editor.model.identity.as_dict()
    return {name: told.get(name) for name in ("sha256", "parametrisation", "dtype", "loras", "embeddings", "given")}


def _files(model: str, load: Mapping[str, Any]) -> dict[str, Path]:
    half = str(load.get("dtype")) in {"float16", "fp16", "half", "torch.float16"}
    given = {name: load.get(name) for name in ("revision", "local_files_only")}
    how: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return _weights(locate(model, prefer_half=half, **how).path)


def _weights(path: Path) -> dict[str, Path]:
    """Return the files that make a checkpoint what it is, by their names in it."""
    if path.is_file():
        return {path.name: path}
    found = (one for kind in ("*.safetensors", "*.json") for one in path.rglob(kind) if one.is_file())
    return {one.relative_to(path).as_posix(): one for one in sorted(found)}


def _add_on(one: Any) -> list[Any]:
    source, *further = one if isinstance(one, list | tuple) else (one,)
    try:
        return [file_digest(Path(source).expanduser()), *further]
    except OSError as error:
        raise ModelError(f"there is no file {source}") from error


def shares(
    model: str, load: Mapping[str, Any], editor: Editor | None, items: int, workers: int | None, threads: int | None
) -> tuple[int, int | None]:
    """Return how many worker processes to run and with how many threads each.

    A GPU serves one process, as does a given editor. On a CPU a process with one thread each is fastest, as many as
    there are cores and as memory holds; where it holds fewer, each gets more threads. With `workers` given each has one
    thread unless `threads` says otherwise, so that the results do not depend on the machine.
    """
    if editor is not None or resolve_device(load.get("device")).type != "cpu":
        return 1, threads
    cores = _cores()
    if workers is None:
        weights = sum(path.stat().st_size for path in _files(model, load).values())
        held = psutil.virtual_memory().available // (2 * weights + _SPARE)
        workers = max(1, min(cores, held, items // _ITEMS))
        return workers, threads or max(1, cores // workers)
    return workers, threads or 1


def _cores() -> int:
    try:
        return min(len(os.sched_getaffinity(0)), torch.get_num_threads())
    except AttributeError:  # not on this system
        return torch.get_num_threads()
