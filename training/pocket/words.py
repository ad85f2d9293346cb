"""The words of the scenes: nouns with their artwork, colours, grounds and times of day."""

from __future__ import annotations

from typing import Final

NOUN_FILES: Final[dict[str, str]] = {
    "zebra": "1f993",
    "horse": "1f40e",
    "dog": "1f415",
    "cat": "1f408",
    "cow": "1f404",
    "pig": "1f416",
    "sheep": "1f411",
    "elephant": "1f418",
    "lion": "1f981",
    "bear": "1f43b",
    "panda": "1f43c",
    "rabbit": "1f430",
    "penguin": "1f427",
    "duck": "1f986",
    "owl": "1f989",
    "frog": "1f438",
    "turtle": "1f422",
    "crab": "1f980",
    "fox": "1f98a",
    "car": "1f697",
    "bus": "1f68c",
    "tractor": "1f69c",
    "train": "1f682",
    "rocket": "1f680",
    "house": "1f3e0",
    "castle": "1f3f0",
    "tree": "1f333",
    "cactus": "1f335",
    "flower": "1f337",
    "mushroom": "1f344",
    "balloon": "1f388",
    "ball": "26bd",
    "shirt": "1f455",
    "pumpkin": "1f383",
    "snowman": "26c4",
    "robot": "1f916",
    "apple": "1f34e",
    "banana": "1f34c",
    "orange": "1f34a",
    "strawberry": "1f353",
    "pineapple": "1f34d",
    "watermelon": "1f349",
    "burger": "1f354",
    "donut": "1f369",
    "cake": "1f382",
}
"""Every noun and the code point its picture is named after."""

RECOLOURABLE: Final = ("car", "bus", "flower", "mushroom", "balloon", "ball", "shirt")
"""Nouns that are always drawn in one of the colours."""

COLOUR_HUES: Final[dict[str, float]] = {"red": 0.985, "yellow": 0.13, "green": 0.36, "blue": 0.59, "purple": 0.77}
"""Colour words and their hues on the unit circle."""

GROUND_PHRASES: Final[dict[str, str]] = {
    "grass": "grass",
    "sand": "sand",
    "snow": "snow",
    "water": "water",
    "road": "a road",
    "floor": "a wooden floor",
    "moon": "the moon",
    "table": "a pink table",
}
"""Grounds and the words that name them after "on"."""

TIMES: Final = ("day", "night")

NOUNS: Final = tuple(NOUN_FILES)
COLOURS: Final = tuple(COLOUR_HUES)
GROUNDS: Final = tuple(GROUND_PHRASES)


def with_article(words: str) -> str:
    """Return the words with "a" or "an" in front, by their first letter."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
