"""The models an operator allowed, loaded when first asked for, and the one thread that runs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

from wordbrush.editor import Editor
from wordbrush.errors import ModelError

if TYPE_CHECKING:
    from wordbrush.web.options import Options

__all__ = ["Models"]


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
        revision = self.editor(name).model.identity.revision or None
        return {"model": name, "revision": revision, "device": self._options.device, "dtype": self._options.dtype}

    def _load(self, name: str) -> Editor:
        options = self._options
        return Editor.from_pretrained(
            name, local_files_only=not options.allow_download, device=options.device, dtype=options.dtype
        )
