"""The models an operator allowed, loaded when first asked for, and the one thread that runs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from wordbrush.editor import Editor
from wordbrush.errors import ModelError
from wordbrush.web.options import PLACED, Options

__all__ = ["Models"]

NAMED = ("revision", "device", "dtype", "offload", "backend", "loras", "embeddings")
"""Keywords of `load_model` that `edit_command` has parameters for; the others go into `given`."""


class Models:
    """Editors by name.

    Args:
        options: the names allowed, and how they are loaded.

    Attributes:
        names: what may be asked for, the default first.
        device: the one thread in which networks run, so that there is one edit at a time.
    """

    def __init__(self, options: Options) -> None:
        self.names = options.models
        self.device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._options = options
        self._editors: dict[str, Editor] = {}
        self._loading = Lock()

    def editor(self, name: str) -> Editor:
        """Return the editor of an allowed model, loading it the first time.

        Raises:
            ModelError: the operator did not allow it, or it cannot be loaded.
        """
        if name not in self.names:
            raise ModelError(f"this workbench has {', '.join(self.names)}; other models are for its operator to allow")
        loaded = self._editors.get(name)  # without waiting for another model that is just being loaded
        if loaded is not None:
            return loaded
        with self._loading:
            if name not in self._editors:
                self._editors[name] = self._load(name)
            return self._editors[name]

    def flags(self, name: str) -> dict[str, Any]:
        """Return the arguments of `edit_command` that load the same weights in the same way."""
        given = self._keywords(name)
        given["revision"] = self.editor(name).model.identity.revision or None  # the commit, whatever it was called
        named = {key: given.pop(key) for key in NAMED if key in given}
        return {"model": name, **named, "given": given}

    def _keywords(self, name: str) -> dict[str, Any]:
        """Return how a model is loaded, as keywords of `load_model`."""
        options = self._options
        first = options.first if name == self.names[0] else {}
        return {**first, **{name: getattr(options, name) for name in PLACED}}

    def _load(self, name: str) -> Editor:
        keywords = self._keywords(name)
        return Editor.from_pretrained(name, local_files_only=not self._options.allow_download, **keywords)
