"""Loading without noise, and without leaving a trace in the libraries that do the loading."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["quiet", "quiet_hub"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, log lines and progress bars of transformers, diffusers and the hub client inside the block.

    Verbosity, progress bars, the random state of torch and its default dtype are afterwards what they were before.
    """
    import torch
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.enter_context(quiet_hub())  # outermost: transformers' own switch moves the hub's too
        for library in (of_diffusers, of_transformers):
            _hush(library, stack)
        yield


def _hush(library: Any, stack: ExitStack) -> None:
    stack.callback(library.set_verbosity, library.get_verbosity())
    library.set_verbosity_error()
    if library.is_progress_bar_enabled():
        stack.callback(library.enable_progress_bar)
        library.disable_progress_bar()


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Switch the hub client's progress bars off inside the block."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    with warnings.catch_warnings():
        # The client warns when HF_HUB_DISABLE_PROGRESS_BARS settles the matter already; it is then left settled.
        warnings.simplefilter("ignore")
        disable_progress_bars()
        try:
            yield
        finally:
            (disable_progress_bars if before else enable_progress_bars)()
