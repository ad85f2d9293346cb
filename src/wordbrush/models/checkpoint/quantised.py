"""Weights that are stored quantised: passed on to the library that reads them, never recast.

A network's configuration says how in `quantization_config`. What the libraries read with a package of Python alone is
passed on where that package is installed. Every other method is refused by name, among them those whose native code
comes from the hub and those that keep pickles beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from wordbrush.errors import ModelError

__all__ = ["KEY", "PACKAGES", "check_method", "method_of", "quantised_note"]

KEY = "quantization_config"

PACKAGES = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "torchao": ("torchao", "torchao"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "gguf": ("gguf", "gguf"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
}
"""The methods that are passed on: the module that reads them, and the package to install."""


def method_of(config: Mapping[str, Any]) -> str:
    """Return how the weights of a network are quantised, as its configuration says it; "" where they are not.

    Args:
        config: contents of its config.json, or the configuration of a loaded network.
    """
    said = config.get(KEY)
    if said is None:
        return ""
    table = said if isinstance(said, Mapping) else vars(said) if hasattr(said, "__dict__") else {}
    if table.get("load_in_4bit") or table.get("load_in_8bit"):  # all that older files say
        return "bitsandbytes"
    method = table.get("quant_method") or "unnamed"
    return str(getattr(method, "value", method))


def check_method(config: Mapping[str, Any], where: str) -> None:
    """Check that the weights of a network are not quantised, or in a way that can be read here.

    Raises:
        ModelError: the method is not passed on, or its package is not installed; the message names both.
    """
    method = method_of(config)
    if not method:
        return
    says = f"{where}: {KEY} says that the weights are quantised ({method[:60]!r})"
    if method not in PACKAGES:
        raise ModelError(f"{says}, of which {', '.join(PACKAGES)} are passed on: use the full ones")
    module, package = PACKAGES[method]
    if not _installed(module):
        raise ModelError(f"{says}, and {package} is not installed: pip install {package}, or use the full ones")


def quantised_note(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return a note on a network whose weights are quantised; none for others."""
    method = method_of(config)
    return (f"{where}: the weights are quantised ({method}) and used as they are, at any dtype",) if method else ()


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
