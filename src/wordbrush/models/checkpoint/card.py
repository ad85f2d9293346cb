"""What a checkpoint's folder says of itself to wordbrush: its card and the words it was taught."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.layout import read_json, read_text

__all__ = ["read_card"]


def read_card(folder: Path, names: Collection[str], where: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the contents of `wordbrush.json`, empty where there is none, and the words list.

    Args:
        folder: of the checkpoint.
        names: its files.
        where: what to call it in messages.

    Raises:
        ModelError: a file cannot be read, or a value is of the wrong kind.
    """
    card = read_json(folder / "wordbrush.json", where) if "wordbrush.json" in names else {}
    for name in ("guidance", "usual_noise"):
        if not isinstance(card.get(name, 1.0), int | float):
            raise ModelError(f"{where}: wordbrush.json: {name} is {card[name]!r}, not a number")
    return card, _words(folder, card, names, where)


def _words(folder: Path, card: Mapping[str, Any], names: Collection[str], where: str) -> tuple[str, ...]:
    """Return the words list: `words` of the card, else words.json (a list, or a table with `words`), else words.txt."""
    listed: Any = card.get("words")
    try:
        if listed is None and "words.json" in names:
            listed = json.loads(read_text(folder / "words.json", where))
            listed = listed.get("words") if isinstance(listed, dict) else listed
        if listed is None and "words.txt" in names:
            listed = read_text(folder / "words.txt", where).split()
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: the words list is not readable: {error}") from error
    return tuple(sorted({str(word).lower() for word in listed})) if isinstance(listed, list) else ()
