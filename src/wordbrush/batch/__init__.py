"""Batches: many items through one item function, on this machine or many, kept in a ledger so that nothing is lost.

`wordbrush.batch(source, out, ...)` is `wordbrush.batch.run.batch`: the package can be called, as it has the function's
name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package as the function of its name; nothing is imported before it is called."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Edit many pictures; see `wordbrush.batch.run.batch`."""
        return import_module("wordbrush.batch.run").batch(*arguments, **keywords)


sys.modules[__name__].__class__ = _Callable
