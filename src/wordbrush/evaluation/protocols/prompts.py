"""The paper's protocol on Imagen: the model generates pictures, and edits change one element of their texts.

Three sources of texts: `paper`, templates of the paper's structure; `pocket`, the words of the pocket model; and a file
with lines `caption <> phrase <> replacement`, a number in front allowed, as in InstDiffEdit's lists.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from wordbrush.errors import InputError
from wordbrush.evaluation.items import Facts, Thing
from wordbrush.evaluation.protocols.common import (
    Entry,
    Protocol,
    ReferenceKind,
    check_identities,
    read_text,
)
from wordbrush.evaluation.truth import facts_to_json
from wordbrush.models.checkpoint.digests import file_digest

__all__ = [
    "POCKET_KINDS",
    "POCKET_PAIRS",
    "TEMPLATE",
    "TEMPLATE_ELEMENTS",
    "PromptPair",
    "paper_pairs",
    "pocket_pairs",
    "prompt_protocol",
    "read_pairs",
]

TEMPLATE: Final = "{medium} of {animal} wearing {accessory} and {clothes}, {action} {place}"
TEMPLATE_ELEMENTS: Final[dict[str, tuple[str, ...]]] = {
    "medium": ("a photo", "an oil painting"),
    "animal": ("a panda", "a raccoon", "a Persian cat", "a British shorthair cat", "a Shiba Inu dog"),
    "accessory": ("a cowboy hat", "sunglasses"),
    "clothes": ("a red shirt", "a black leather jacket"),
    "action": ("playing a guitar", "riding a bike", "skateboarding"),
    "place": ("in a garden", "on a beach", "on top of a mountain"),
}
"""The elements of the paper's templates: 2 x 5 x 2 x 2 x 3 x 3 = 360 texts. The medium is never swapped."""

PocketKind = Literal["object", "colour", "ground", "time"]
POCKET_KINDS: Final[tuple[PocketKind, ...]] = ("object", "colour", "ground", "time")
POCKET_PAIRS: Final = 60
"""Pairs of each kind."""

_COLOURS: Final = ("red", "yellow", "green", "blue", "purple")
_COLOURED: Final = ("car", "bus", "flower", "mushroom", "balloon", "ball", "shirt")
_PLAIN: Final = (
    "zebra", "horse", "dog", "cat", "cow", "pig", "sheep", "elephant", "lion", "bear", "panda", "rabbit", "penguin",
    "duck", "owl", "frog", "turtle", "crab", "fox", "tractor", "train", "rocket", "house", "castle", "tree", "cactus",
    "pumpkin", "snowman", "robot", "apple", "banana", "orange", "strawberry", "pineapple", "watermelon", "burger",
    "donut", "cake",
)  # fmt: skip
_GROUNDS: Final = {
    "grass": "grass",
    "sand": "sand",
    "snow": "snow",
    "water": "water",
    "road": "a road",
    "floor": "a wooden floor",
    "moon": "the moon",
    "table": "a pink table",
}
_ARTICLE = re.compile(r"(?:a|an|the)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class PromptPair:
    """A text to make a picture of, and the text to edit it to.

    Attributes:
        reference: the text of the picture.
        query: the same with one element swapped.
        element: which element.
        facts: for the judge, where it knows this world: `before` and `after`, JSON values.
    """

    reference: str
    query: str
    element: str
    facts: dict[str, Any] = field(default_factory=dict)


def paper_pairs(seed: int = 0) -> list[PromptPair]:
    """Return the templates' 360 texts, each with one element swapped for another; order and swaps are drawn by seed."""
    random = np.random.default_rng([seed, 1])
    swapped = [name for name in TEMPLATE_ELEMENTS if name != "medium"]
    pairs = []
    for values in itertools.product(*TEMPLATE_ELEMENTS.values()):
        chosen = dict(zip(TEMPLATE_ELEMENTS, values, strict=True))
        name = swapped[int(random.integers(len(swapped)))]
        others = [value for value in TEMPLATE_ELEMENTS[name] if value != chosen[name]]
        query = {**chosen, name: others[int(random.integers(len(others)))]}
        pairs.append(PromptPair(_sentence(chosen), _sentence(query), name))
    return [pairs[int(index)] for index in random.permutation(len(pairs))]


def _sentence(elements: dict[str, str]) -> str:
    text = TEMPLATE.format(**elements)
    return text[0].upper() + text[1:]


def pocket_pairs(words: Collection[str], seed: int = 0, each: int = POCKET_PAIRS) -> list[PromptPair]:
    """Return pairs in the words of the pocket model, its kinds in turn: object, colour, ground, time, object, ...

    Args:
        words: what the model knows, `Model.words`.
        seed: of the draws; pair number n is the same however many there are.
        each: how many of each kind.

    Raises:
        InputError: the model does not know these words.
    """
    needed = {*_COLOURS, *_COLOURED, *_PLAIN, *" ".join(_GROUNDS.values()).split(), "on", "at", "night"}
    missing = sorted(needed - set(words))
    if missing:
        raise InputError(
            f"the model does not know {missing[0]!r}: the pocket prompts are for the pocket model; use paper"
        )
    return [_pocket_pair(kind, number, seed) for number in range(each) for kind in POCKET_KINDS]


def _pocket_pair(kind: PocketKind, number: int, seed: int) -> PromptPair:
    random = np.random.default_rng([seed, 2, POCKET_KINDS.index(kind), number])

    def draw(choices: Sequence[str], without: str | None = None) -> str:
        left = [choice for choice in choices if choice != without]
        return left[int(random.integers(len(left)))]

    nouns = _COLOURED if kind == "colour" else (*_PLAIN, *_COLOURED)
    noun = draw(nouns)
    colour = draw(_COLOURS) if noun in _COLOURED else None
    # Night falls on the backdrop, and the moon's is black at noon, too.
    ground = draw(tuple(_GROUNDS), "moon" if kind == "time" else None)
    before = Facts({"middle": Thing(noun, colour)}, ground, "day")
    after = before
    if kind == "object":
        other = draw(nouns, noun)
        thing = Thing(other, draw(_COLOURS) if other in _COLOURED else None)
        after = Facts({"middle": thing}, ground, "day")
    elif kind == "colour":
        after = Facts({"middle": Thing(noun, draw(_COLOURS, colour))}, ground, "day")
    elif kind == "ground":
        after = Facts(before.things, draw(tuple(_GROUNDS), ground), "day")
    else:
        after = Facts(before.things, ground, "night")
    facts = {"before": facts_to_json(before), "after": facts_to_json(after)}
    return PromptPair(_caption(before), _caption(after), kind, facts)


def _caption(facts: Facts) -> str:
    thing = facts.things["middle"]
    phrase = f"{thing.colour} {thing.noun}" if thing.colour else thing.noun
    article = "an" if phrase[0] in "aeiou" else "a"
    return f"{article} {phrase} on {_GROUNDS[facts.ground]}" + (" at night" if facts.time == "night" else "")


def read_pairs(path: Path) -> list[PromptPair]:
    """Read pairs from a file of lines `caption <> phrase <> replacement`, a number in front allowed.

    The phrase's first place in the caption is replaced; where both bring an article, the replacement's stays.

    Raises:
        InputError: the file is missing, or a line is not like that; the message names it.
    """
    pairs = list(_lines(path))
    if not pairs:
        raise InputError(f"{path}: there is no prompt in it")
    return pairs


def _lines(path: Path) -> Iterator[PromptPair]:
    for number, line in enumerate(read_text(path, "the list of prompts").splitlines(), start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("<>")]
        parts = parts[1:] if len(parts) == 4 and parts[0].isdecimal() else parts
        if len(parts) != 3 or not all(parts):
            raise InputError(f"{path}: line {number} is not like: caption <> phrase <> replacement")
        caption, phrase, replacement = parts
        start = caption.find(phrase)
        if start < 0:
            raise InputError(f"{path}: line {number}: {phrase[:60]!r} is not in the caption")
        head, tail = caption[:start], caption[start + len(phrase) :]
        if _ARTICLE.match(replacement):
            head = re.sub(r"\b(?:a|an|the)\s+$", "", head)
        yield PromptPair(caption, f"{head}{replacement}{tail}", "phrase")


def prompt_protocol(
    pairs: Sequence[PromptPair], source: str | Path, pictures: Path, *, reference: ReferenceKind, seed: int
) -> Protocol:
    """Return the protocol of pairs whose pictures will lie in a folder, made by `generation.generate_pictures`.

    Args:
        pairs: the texts.
        source: `paper`, `pocket` or the file they were read from.
        pictures: the folder.
        reference: `caption`, the text the picture was made of, or `empty`.
        seed: what the pairs were drawn by.
    """
    entries = tuple(
        Entry(
            id=f"{number:04d}",
            picture=pictures / f"{number:04d}.png",
            query=pair.query,
            reference=pair.reference if reference == "caption" else "",
            groups={"element": pair.element},
            facts={"prompt": pair.reference, **pair.facts},
        )
        for number, pair in enumerate(pairs)
    )
    digest = file_digest(source) if isinstance(source, Path) else None
    check_identities(entries, pictures)
    return Protocol(
        "prompts",
        entries,
        {"prompts": "file" if digest else str(source), "prompts_sha256": digest, "reference": reference, "seed": seed},
    )
