"""Conversions: networks in OpenVINO's format, kept in the user's cache folder under what determines them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import openvino

from wordbrush.files import TEMPORARY_PREFIX

__all__ = ["KEPT", "Conversions", "cache_folder"]

KEPT = 8
"""Most conversions that are kept; each is as large as the network's weights. The least recently used goes first."""

_PACKAGES = ("wordbrush", "openvino", "torch", "diffusers", "peft")
_NETWORK, _WEIGHTS = "network.xml", "network.bin"


def cache_folder() -> Path:
    """Return where conversions are kept: `wordbrush/openvino` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wordbrush" / "openvino"


class Conversions:
    """Converted networks by key. One that cannot be written is held in memory, for this process alone.

    Args:
        folder: where they are kept; by default `cache_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        self._held: dict[str, Any] = {}

    @staticmethod
    def key(*known: str) -> str:
        """Return the name of a conversion by what is known of it, and by the versions of the packages that made it."""
        lines = "\n".join((*(f"{name} {_version(name)}" for name in _PACKAGES), *known))
        return hashlib.sha256(lines.encode()).hexdigest()

    def get(self, key: str) -> Any | None:
        """Return a conversion that is kept, its weights mapped from the file; None where there is none to be read."""
        place = self.folder / key
        if key in self._held or not (place / _NETWORK).is_file():
            return self._held.get(key)
        try:
            os.utime(place)
            return openvino.Core().read_model(place / _NETWORK, place / _WEIGHTS)
        except (OSError, RuntimeError):  # damaged
            self.drop(key)
            return None

    def put(self, key: str, model: Any) -> None:
        """Keep a conversion: written beside its place, and moved there in one step."""
        temporary = self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            temporary.mkdir(parents=True)
            openvino.save_model(model, temporary / _NETWORK, compress_to_fp16=False)
            for name in (_NETWORK, _WEIGHTS):
                with (temporary / name).open("rb") as file:
                    os.fsync(file.fileno())
            temporary.rename(self.folder / key)
        except (OSError, RuntimeError):  # a full disk, a folder that is not ours, or another process was first
            if not (self.folder / key).exists():
                self._held[key] = model
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._tidy()

    def drop(self, key: str) -> None:
        """Keep a conversion no longer."""
        self._held.pop(key, None)
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove all but the `KEPT` that were used last."""
        try:
            found = [(place.stat().st_mtime, place) for place in self.folder.iterdir() if len(place.name) == 64]
        except OSError:
            return
        for _, place in sorted(found, reverse=True)[KEPT:]:
            shutil.rmtree(place, ignore_errors=True)


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
