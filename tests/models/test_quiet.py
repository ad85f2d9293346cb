"""What the libraries say while they load is kept, not shown, and what tells of a loss can be picked out."""

from __future__ import annotations

import logging
import warnings

import pytest

from wordbrush.models.checkpoint.quiet import losses, quiet

LOGGERS = ("diffusers", "transformers", "peft")


def test_messages_are_kept_in_order_and_none_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    before = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in LOGGERS}
    with quiet() as heard:
        for name in LOGGERS:
            logging.getLogger(f"{name}.loaders.any").warning("%s drops a key", name)
            logging.getLogger(f"{name}.loaders.any").info("nothing of weight")
        logging.getLogger("diffusers").error("Loading failed")
        warnings.warn("Some weights were not used", stacklevel=1)
    assert heard == [*(f"{name} drops a key" for name in LOGGERS), "Loading failed", "Some weights were not used"]
    assert capfd.readouterr() == ("", "")
    after = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in LOGGERS}
    assert after == before


def test_a_failure_inside_restores_the_loggers() -> None:
    logger = logging.getLogger("diffusers")
    before = list(logger.handlers), logger.level, logger.propagate
    with pytest.raises(RuntimeError, match="inside"), quiet():
        raise RuntimeError("inside")
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_losses_are_the_first_lines_of_what_was_left_out() -> None:
    heard = [
        "Loading adapter weights led to unexpected keys not found in the model:\n  a.b\n",
        "The new embeddings will be initialized from a multivariate normal distribution",
        "we are going to filter out the keys associated to 'dora_scale'",
        "Some weights of the model were not used",
        "Some weights of the model were not used",
    ]
    assert losses(heard) == (
        "Loading adapter weights led to unexpected keys not found in the model:",
        "we are going to filter out the keys associated to 'dora_scale'",
        "Some weights of the model were not used",
    )
