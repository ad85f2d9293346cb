"""Loading without noise, and without leaving a trace in the libraries that do the loading."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from wordbrush.models.checkpoint.lean import is_lean

__all__ = ["losses", "quiet", "quiet_hub"]

_LIBRARIES = ("diffusers", "transformers", "peft", "accelerate")
_LOSS = re.compile(
    r"\b(ignor\w+|dropp\w+|unexpected|missing|mismatch\w*|not (used|initialized|loaded)|skipp\w+|filter(ed)? out)\b",
    re.IGNORECASE,
)


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep warnings, log lines and progress bars of transformers, diffusers, peft and the hub client off the terminal.

    Verbosity, progress bars, the random state of torch and its default dtype are afterwards what they were before.

    Yields:
        The warnings and the log lines, from warnings on, that were held back; whole once the block is left.
    """
    import torch
    from diffusers.utils import logging as of_diffusers

    libraries: list[Any] = [of_diffusers]
    if not is_lean():
        from transformers.utils import logging as of_transformers

        libraries.append(of_transformers)
    heard: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.enter_context(quiet_hub())  # outermost: transformers' own switch moves the hub's too
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.callback(lambda: heard.extend(str(warning.message) for warning in caught))
        for library in libraries:
            _hush(library, stack)
        for name in _LIBRARIES:
            _listen(logging.getLogger(name), heard, stack)
        yield heard


def losses(heard: Iterable[str]) -> tuple[str, ...]:
    """Return the first lines of those messages that tell of something left out, each once."""
    lines = (" ".join(text.strip().splitlines()[:1]) for text in heard if _LOSS.search(text))
    return tuple(dict.fromkeys(lines))


class _Collector(logging.Handler):
    """A log handler that keeps the messages."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def _listen(logger: logging.Logger, heard: list[str], stack: ExitStack) -> None:
    """Let the messages of a library's loggers come here, and nowhere else."""
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_Collector(heard)], False
    logger.setLevel(logging.WARNING)

    def restore() -> None:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])

    stack.callback(restore)


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
