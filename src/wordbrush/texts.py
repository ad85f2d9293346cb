"""Texts of a request: what is no text at all, and what other programs would read as a command.

This program reads every text as plain words. Whoever brings a text along from another program is told so: weights
`(word:1.4)`, `[word]`, `word++`, `BREAK` and `AND`, `<lora:name:0.8>`, `{a|b}`, `__name__`, `--ar 16:9` and the like.
Ordinary sentences with brackets, colons, dashes and capitals raise no note.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from wordbrush.errors import InputError

__all__ = ["check_text", "text_notes"]

_SHOWN = 4
"""Most pieces that a note quotes, each cut at `_LONGEST` characters."""
_LONGEST = 40

_READ = 2_500
"""Characters in which syntax is looked for; no model takes a longer text."""

_NUMBER = r"[+-]?(?:\d+\.\d*|\.\d+|\d+)"
_END = rf"(?:(?<=[^\d\s:.,(])|(?<=[^\W\d]\d))\s?:(?:{_NUMBER}|\s[+-]?\d*\.\d+)\s?\)"

_TAG = re.compile(r"<\s*(?:lora|lyco|lycoris|locon|loha|lokr|dora|hypernet|hypernetwork)\s*:[^<>]*>?", re.IGNORECASE)
_EMBEDDING = re.compile(r"\bembedding:\s?[\w./\\-]+", re.IGNORECASE)

_PIECES = (
    # \( and \[ escape brackets where brackets are weights.
    re.compile(r"\\[()\[\]{}]"),
    # (a red car:1.3): a word, a colon, a number, the end of the bracket. Not (16:9), (at 10:30), (version: 2).
    re.compile(rf"(?:\([^()]*|(?<![^\s():])[^\s():]++){_END}"),
    re.compile(rf"\)\s?:{_NUMBER}\s?\)"),
    # ((word)): weights again. A face :(( is none.
    re.compile(r"(?<![:;=8xX'-])\(\([^()]*\w[^()]*\)[^()]*\)?"),
    # (a b)1.3, (a b)++, word++, word--.
    re.compile(r"\([^()]+\)(?:\d*\.\d+|[0-2](?![\w.:])|\+{1,}|-{1,}(?=[\s,)]|$))"),
    re.compile(r"(?<!\w)\w{3,}+(?<=[^\W\d_])\+{2,}+(?=[\s,.;)\]]|$)"),
    re.compile(r"(?<!\w)\w{3,}+(?<=[^\W\d_])--(?=,|\)|\s*+$)"),
    re.compile(r"(?:\)|\")\s*\.(?:blend|and|swap)\s*\(.*?\)?$|\.swap\(.*?\)"),
    # [word], [a:b:0.5], [a|b]; not [sic], [1], [...].
    re.compile(r"\[(?!\s*(?:sic|\d{1,3}|[^\w\[\]]*+)\s*\])[^\[\]]++\]"),
    # {a|b}, {word}.
    re.compile(r"\{[^{}]*\w[^{}]*\}"),
    # __name__: a list of words in a file.
    re.compile(r"(?<![\w_])__[\w/*.-]*?[^\W_][\w/*.-]*?__(?![\w_])"),
    # word::2, 1.5::word::
    re.compile(rf"(?<!\S)[^\s:]++(?:(?<=[^\W_])\s?::\s?{_NUMBER}(?![\w:])|::(?=\s|$))"),
    re.compile(r"^\s*/imagine\b(?:\s+prompt:)?"),
    # --ar 16:9 --v 6; dashes are often joined to one long one on the way.
    re.compile(
        r"(?<!\S)(?:--|[—–])(?:ar|aspect|v|version|q|quality|s|stylize|style|no|niji|chaos|c|iw|seed|stop|tile|test|testp|"
        r"hd|weird|w|sref|sw|cref|cw|profile|p|raw|fast|turbo|relax|repeat|r|video|oref|ow|draft|exp|uplight|upbeta|"
        r"creative|steps|cfg|sampler|neg)(?![\w-])(?:\s+(?:\d[\w:.]*|raw\b))?"
    ),
)

_WORD = re.compile(r"(?<![^\W_])(?:BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW|ADDROW)(?![^\W_])")
_SPEAKS = {
    "say", "says", "said", "saying", "read", "reads", "reading", "spell", "spells", "spelling", "word", "words", "sign",
    "text", "letters", "labelled", "labeled", "called", "named", "titled", "written", "lettering", "logo",
}  # fmt: skip
"""Before these, a word in capitals is what is written in the picture."""


def check_text(text: object, name: str) -> str:
    """Return a text that can be encoded.

    Args:
        text: it.
        name: what the message calls it.

    Raises:
        InputError: it is no `str`, or holds a lone half of a character (as a byte that is not UTF-8 becomes).
    """
    if not isinstance(text, str):
        raise InputError(f"the {name} is not text but {type(text).__name__}: give words, such as 'a zebra on grass'")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the {name} is not Unicode text at character {error.start + 1} ({text[error.start : error.end]!a}): "
            "write it in UTF-8"
        ) from error
    return text


def text_notes(texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is to be known about texts, a sentence each; nothing where they are plain words.

    Args:
        texts: by what the sentences call them. Only of the `query` it is told that it is empty.
    """
    return tuple(f"{name}: {note}" for name, text in texts.items() for note in _notes(name, text))


def _notes(name: str, text: str) -> Iterator[str]:
    if not text.strip():
        if name == "query":
            yield "the text is empty, so nothing says what the picture should show"
        return
    if not any(c.isalnum() or unicodedata.category(c) == "So" for c in text):
        yield f"there is no word in {_quoted(text)}, so it says nothing"
        return
    pieces = _pieces(text)
    if pieces:
        more = f" and {len(pieces) - _SHOWN} more" if len(pieces) > _SHOWN else ""
        quoted, verb = ", ".join(map(_quoted, pieces[:_SHOWN])) + more, "is" if len(pieces) == 1 else "are"
        yield f"{quoted} {verb} syntax of other programs, read here as plain text{_instead(pieces)}"


def _instead(pieces: list[str]) -> str:
    """Say what there is in place of names in the text."""
    if any(_TAG.match(piece) for piece in pieces):
        return "; a LoRA is given with the model: --lora FILE:SCALE, in Python loras="
    if any(_EMBEDDING.match(piece) for piece in pieces):
        return "; an embedding is given with the model: --embedding FILE, in Python embeddings="
    return ""


def _pieces(text: str) -> list[str]:
    """Return the pieces of a text that other programs would not read as words, in order, each once."""
    text, found = text[:_READ], []
    for pattern in (_TAG, _EMBEDDING, *_PIECES):
        found += [match.span() for match in pattern.finditer(text)]
    found += [match.span() for match in _WORD.finditer(text) if not _is_lettering(text, *match.span())]
    whole = [one for one in found if not any(other != one and _within(one, other) for other in found)]
    return list(dict.fromkeys(text[start:end].strip() for start, end in sorted(set(whole))))


def _within(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= one[0] and one[1] <= other[1]


def _is_lettering(text: str, start: int, end: int) -> bool:
    """Say whether a word in capitals is what is written in the picture, or part of a phrase in capitals."""
    before, after = text[:start].split(), text[end:].split()
    if not before or not after or text[start - 1 : start] in "\"'“‘«" or text[end : end + 1] in "\"'”’»":
        return True
    marks = ",.;:!?()"
    near = (before[-1].strip(marks), after[0].strip(marks))
    loud = (word.isupper() and len(word) > 1 and not _WORD.fullmatch(word) for word in near)
    return any(loud) or near[0].lower() in _SPEAKS


def _quoted(piece: str) -> str:
    short = " ".join(piece.split())
    return repr(short if len(short) <= _LONGEST else short[: _LONGEST - 1] + "…")
