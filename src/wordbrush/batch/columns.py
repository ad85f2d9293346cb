"""Columns of a manifest: which are part of an edit, how their cells are read, and templates that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from wordbrush.errors import InputError
from wordbrush.notation import Switch, switches
from wordbrush.texts import check_text

__all__ = ["MASKS", "TEXTS", "TRUTHS", "columns_of", "filled", "flag_of", "near_settings", "switches_of", "text_of"]

MASKS: Final = ("mask", "include", "exclude")
TEXTS: Final = ("query", "reference", "negative")
TRUTHS: Final = ("truth", "truth_mask")
"""Columns that no edit takes: what the picture should become, and where it should change; reports measure by them."""

_ALIASES: Final = {"to": "query", "from": "reference"}
_OTHERS: Final = ("picture", *TEXTS, *MASKS, "seed", "preset", "output", "settings", "check_inversion")
_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}|:]+)\}")


@cache
def known_columns() -> tuple[str, ...]:
    return (*_OTHERS, *_ALIASES, *switches())


def plain_name(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def near_settings(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that are part of no edit but are written almost like one that is, with its name."""
    unknown = [name for name in columns if plain_name(name) not in known_columns()]
    near = {name: get_close_matches(plain_name(name), known_columns(), n=1, cutoff=0.8) for name in unknown}
    return {name: found[0] for name, found in near.items() if found}


def columns_of(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the columns of an edit, by their plain names, from those that are data."""
    asked, data = dict[str, Any](), dict[str, Any]()
    for name, value in values.items():
        plain = _ALIASES.get(plain_name(name), plain_name(name))
        if plain not in known_columns():
            data[name] = value if _is_json(value) else repr(value)
        elif plain in asked:
            raise InputError(f"the column {plain} stands twice")
        else:
            asked[plain] = value
    return asked, data


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def text_of(value: Any, name: str) -> str:
    """Return a cell that is to be a text.

    Raises:
        InputError: it is none, or holds a NUL.
    """
    if "\0" in check_text(value, name):
        raise InputError(f"the {name} holds a NUL")
    return str(value)


def filled(template: str, words: Mapping[str, Any]) -> str:
    """Put the values of columns into a text.

    Raises:
        InputError: it names a column that the row has not.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0][0]
        found = words.get(name.strip())
        if found is None or isinstance(found, dict | list | bytes):
            raise InputError(f"{template[:60]!r} needs a column {name.strip()}, and the row has no such text or number")
        return str(found)

    return _COLUMN.sub(value, template)


def switches_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the switches that a row sets: its own columns, and those in an object `settings`."""
    nested = asked.get("settings", {})
    if isinstance(nested, str):
        try:
            nested = json.loads(nested)
        except ValueError as error:
            raise InputError(f"settings are no JSON object ({error})") from error
    if not isinstance(nested, dict):
        raise InputError("settings are no JSON object")
    given = {**nested, **{name: value for name, value in asked.items() if name in switches()}}
    known = switches()
    return {name: _switch(known[name], value) if name in known else value for name, value in given.items()}


def _switch(switch: Switch, value: Any) -> Any:
    if isinstance(value, str):
        return switch.read(value.strip())
    whole = switch.kind is int and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def flag_of(value: Any) -> bool:
    """Return a cell that is to be on or off.

    Raises:
        InputError: it is neither.
    """
    words = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise InputError(f"check_inversion {str(value)[:40]!r} is not on or off")
    return found
