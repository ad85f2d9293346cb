"""The noun phrases in which two texts differ: the editing prompts of LEDITS++."""

from __future__ import annotations

__all__ = ["differing_phrases"]

_ARTICLES = frozenset({"a", "an", "the"})
_BOUNDS = _ARTICLES | {"and", "at", "by", "in", "of", "on", "with"}


def differing_phrases(reference: str, query: str) -> tuple[str, str]:
    """Return the noun phrases that only the reference and only the query has.

    Common words at both ends are taken off, what is left is widened to whole noun phrases (up to the next article,
    conjunction or preposition) and loses such words at its own ends. Where one text is empty, the other is returned
    whole.

    Examples:
        "a horse on grass", "a zebra on grass" -> "horse", "zebra"; "a red car", "a blue car" -> "red car", "blue car";
        "a horse", "a horse at night" -> "", "night".
    """
    old, new = reference.split(), query.split()
    if not old or not new:
        return reference, query
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    # A noun that both have, as in "red car", "blue car", belongs to the phrase where an adjective before it differs.
    parts = (old[start : len(old) - end], new[start : len(new) - end])
    inner = all(part and not _BOUNDS.intersection(part) for part in parts)
    while inner and start and old[start - 1] not in _BOUNDS:
        start -= 1
    while inner and end and old[-end] not in _BOUNDS:
        end -= 1
    return _trimmed(old[start : len(old) - end]), _trimmed(new[start : len(new) - end])


def _trimmed(words: list[str]) -> str:
    while words and words[0] in _BOUNDS:
        words = words[1:]
    while words and words[-1] in _BOUNDS:
        words = words[:-1]
    return " ".join(words)
