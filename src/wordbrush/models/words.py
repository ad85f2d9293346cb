"""What every text encoder tells of a prompt: that it is one, the words that are cut, the words it was never taught."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

from wordbrush.errors import InputError
from wordbrush.models.model import UnknownWord
from wordbrush.texts import check_text

__all__ = ["MAX_CHARACTERS", "check_prompt", "dropped_words", "unknown_words"]

MAX_CHARACTERS = 2_000
"""Longest prompt accepted. CLIP reads about a tenth of it."""

_NEAR = 3
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def check_prompt(text: Any) -> str:
    """Return a prompt.

    Raises:
        InputError: it is not text, cannot be encoded, or is longer than 2,000 characters.
    """
    checked = check_text(text, "prompt")
    if len(checked) > MAX_CHARACTERS:
        raise InputError(f"the prompt is {len(checked)} characters long; at most {MAX_CHARACTERS} are accepted")
    return checked


def dropped_words(text: str, tokens: Callable[[str], int], limit: int) -> tuple[str, ...]:
    """Return the words that do not fit, the one that is cut included, by counting the tokens up to each word.

    Args:
        text: the prompt.
        tokens: how many tokens a text becomes, with all that is laid around it.
        limit: most tokens.
    """
    if tokens(text) <= limit:
        return ()
    spans = list(re.finditer(r"\S+", text))
    fitting = bisect_left(spans, True, key=lambda span: tokens(text[: span.end()]) > limit)
    return tuple(span.group() for span in spans[fitting:])


def unknown_words(text: str, words: Collection[str], learnt: Collection[str] = ()) -> tuple[UnknownWord, ...]:
    """Return the words of a prompt that are not among those known, with the known ones spelt most like them.

    Args:
        text: the prompt.
        words: in lower case; none are known to be unknown where it is empty.
        learnt: words of learnt embeddings, which are known.
    """
    if not words:
        return ()
    for word in sorted(learnt, key=len, reverse=True):
        text = re.sub(re.escape(word), " ", text, flags=re.IGNORECASE)
    unknown = dict.fromkeys(word for word in _WORD.findall(text) if word.lower() not in words)
    pool = sorted(words)
    return tuple(UnknownWord(word, tuple(get_close_matches(word.lower(), pool, n=_NEAR))) for word in unknown)
