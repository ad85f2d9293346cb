"""The rules of a provenance record: which fields, of which kind, and the JSON around them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wordbrush.errors import ProvenanceError

__all__ = ["SCHEMA_VERSION", "bare_name", "checked", "dumped", "loaded", "plain_line", "quoted"]

SCHEMA_VERSION = 1
_TEXT_LIMIT = 4000

_Rule = tuple[str, Callable[[Any], bool]]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TEXT: _Rule = ("a text", lambda value: isinstance(value, str))
_TEXT_OR_NONE: _Rule = ("a text or null", lambda value: value is None or isinstance(value, str))
_DIGEST: _Rule = (
    "a SHA-256 in hex",
    lambda value: isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None,
)
_COUNT_OR_NONE: _Rule = (
    "a whole number from 1 on or null",
    lambda value: value is None or (_is_whole(value) and value >= 1),
)
_SIDE: _Rule = ("a whole number from 1 on", lambda value: _is_whole(value) and value >= 1)
_SEED: _Rule = ("a whole number of 64 bits", lambda value: _is_whole(value) and -(2**63) <= value < 2**64)
_SHARE: _Rule = (
    "a number in 0 ... 1",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1,
)
_SHARE_OR_NONE: _Rule = ("a number in 0 ... 1 or null", lambda value: value is None or _SHARE[1](value))
_LIST: _Rule = ("a list", lambda value: isinstance(value, list))
_TEXTS: _Rule = ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))
_SOURCE: _Rule = ("'auto' or 'user'", lambda value: value in ("auto", "user"))
_FLAG: _Rule = ("true or false", lambda value: isinstance(value, bool))

_PLAIN: dict[str, _Rule] = {
    "wordbrush": _TEXT,
    "query": _TEXT,
    "reference": _TEXT,
    "negative": _TEXT,
    "seed": _SEED,
    "preset": _TEXT_OR_NONE,
    "notes": _TEXTS,
    "withheld": _FLAG,
    "real_ratio": _SHARE_OR_NONE,
    "threads": _COUNT_OR_NONE,
}
_NESTED: dict[str, dict[str, _Rule]] = {
    "input": {"name": _TEXT_OR_NONE, "sha256": _DIGEST, "width": _SIDE, "height": _SIDE},
    "model": {
        **dict.fromkeys(("name", "family"), _TEXT),
        **dict.fromkeys(("source", "revision", "sha256", "parametrisation", "device", "dtype"), _TEXT_OR_NONE),
        "loras": _LIST,
    },
    "settings": {},
    "mask": {"source": _SOURCE, "sha256": _DIGEST, "area": _SHARE},
    "packages": {},
}


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of the fields as JSON would give them back.

    Raises:
        ProvenanceError: naming the first field that is missing or wrong.
    """
    schema = fields.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise ProvenanceError("the field schema of the record is not a whole number")
    if schema != SCHEMA_VERSION:
        advice = "made by a newer wordbrush; update this one" if schema > SCHEMA_VERSION else "not known"
        raise ProvenanceError(f"the record has schema {schema}, which is {advice} (known: {SCHEMA_VERSION})")
    copy: dict[str, Any] = {"schema": schema}
    for name in (*_PLAIN, *_NESTED):
        if name not in fields:
            raise ProvenanceError(f"the field {name} of the record is missing")
        copy[name] = _copied(name, fields[name])
    for name, rule in _PLAIN.items():
        _check(name, copy[name], rule)
    for name, rules in _NESTED.items():
        if not isinstance(copy[name], dict):
            raise ProvenanceError(f"the field {name} of the record is not an object")
        for key, rule in rules.items():
            if key not in copy[name]:
                raise ProvenanceError(f"the field {name}.{key} of the record is missing")
            _check(f"{name}.{key}", copy[name][key], rule)
    _check("model.embeddings", copy["model"].get("embeddings", []), _LIST)
    _check("model.backend", copy["model"].get("backend", ""), _TEXT)
    for key, value in copy["packages"].items():
        _check(f"packages.{key}", value, _TEXT)
    return copy


def _check(name: str, value: Any, rule: _Rule) -> None:
    kind, holds = rule
    if not holds(value):
        raise ProvenanceError(f"the field {name} of the record is not {kind}")


def _copied(name: str, value: Any) -> Any:
    value = dict(value) if isinstance(value, Mapping) else value
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProvenanceError(f"the field {name} of the record is not plain JSON ({error})") from error


def dumped(fields: Mapping[str, Any]) -> str:
    """Return ASCII JSON without spaces, keys sorted."""
    return json.dumps(fields, allow_nan=False, sort_keys=True, separators=(",", ":"))


def loaded(text: str) -> dict[str, Any]:
    """Return the object a JSON text holds. Raises ProvenanceError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProvenanceError(f"the record is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ProvenanceError("the record is not a JSON object")
    return value


def plain_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Return at most `limit` characters on one line: control characters become spaces, lone surrogates U+FFFD."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_plain_character(character) for character in short)


def _plain_character(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cs":
        return "\ufffd"
    return " " if kind in ("Cc", "Zl", "Zp") else character


def quoted(text: str) -> str:
    """Return the text as a JSON string, the way the `parameters` format quotes."""
    return json.dumps(text, ensure_ascii=False)


def bare_name(source: Any) -> Any:
    """Return the bare name of an absolute path, which would tell how somebody's disk is laid out."""
    return Path(source).name if isinstance(source, str) and Path(source).is_absolute() else source
