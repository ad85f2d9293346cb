"""Importing diffusers without the libraries that an edit with the shipped model does not use.

diffusers imports transformers, peft and scipy wherever they are installed, and parts of torch's compiler: more than
half of the time from the command to the file. It works without each of them, where they are not installed. So a process
that makes edits with the shipped model and ends hides them while diffusers is imported; afterwards they are there
again. Such a process alone says `allow`, as diffusers then believes for good that they are not installed. What the
shipped model needs of transformers is in `shipped`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module, metadata
from types import ModuleType
from typing import Any
from unittest.mock import patch

__all__ = ["allow", "import_lean", "is_lean"]

_TESTED = {"diffusers": "0.42.", "torch": "2.13."}
"""The versions that this is known to work with; others are imported in full."""
_UNUSED = ("transformers", "peft", "scipy", "torch._dynamo")
_CLASSES = ("UNet2DConditionModel", "AutoencoderKL")


class _State:
    allowed = lean = False


def allow() -> None:
    """Let this process import diffusers so: it loads the shipped model, edits and ends."""
    _State.allowed = True


def is_lean() -> bool:
    """Say whether this process imported diffusers so."""
    return _State.lean


def import_lean() -> bool:
    """Import what the shipped model needs of diffusers, if that is allowed and the versions are known.

    Returns:
        Whether diffusers is there without the rest; if not, nothing has changed.
    """
    if _State.lean or not _State.allowed or not _as_tested() or {"diffusers", "transformers"} & sys.modules.keys():
        return _State.lean
    try:
        with _hidden(_UNUSED), _nothing_compiled():
            library = import_module("diffusers")
            for name in _CLASSES:
                getattr(library, name)
    except Exception:  # whatever is other than expected: the ordinary import says what is wrong, if anything is
        for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
            del sys.modules[name]
    else:
        _State.lean = True
    return _State.lean


def _as_tested() -> bool:
    try:
        return all(metadata.version(name).startswith(known) for name, known in _TESTED.items())
    except metadata.PackageNotFoundError:  # a build of another name
        return False


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of modules fail inside the block, and searches find nothing; those imported before come back."""
    with ExitStack() as stack:
        for name in names:
            stack.callback(_put_back, name, sys.modules.get(name))
            sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is no such module
        yield


def _put_back(name: str, module: ModuleType | None) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Let `torch.compiler.disable` leave functions as they are inside the block: it would import the compiler."""
    import torch

    def disable(fn: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
        return fn if fn is not None else (lambda function: function)

    with patch.object(torch.compiler, "disable", disable):
        yield
