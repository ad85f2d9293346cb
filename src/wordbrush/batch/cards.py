"""Cards of a contact sheet: what a report shows of one item."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from wordbrush.batch.columns import TRUTHS
from wordbrush.batch.kept import Kept, reason
from wordbrush.batch.thumbs import Thumbs
from wordbrush.errors import InputError, SettingsError
from wordbrush.pages.page import Card, Link, Tile
from wordbrush.settings import Settings

__all__ = ["card_of", "changed_settings", "short"]

_MOST = 300
"""Letters of a value that a card shows."""


def address(name: str, up: str = "") -> str:
    """Return a relative address of a file of the folder; `up` leads from the page to the folder."""
    return up + quote(name)


def short(place: str) -> str:
    """Return the last part of a path: where it lay is nobody's business who is shown the report."""
    return place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def card_of(kept: Kept, thumbs: Thumbs, up: str, values: Mapping[str, str]) -> Card:
    """Return the card of an item that is done or has failed.

    Args:
        kept: the item.
        thumbs: small pictures, in the folder `sheet/thumbs`.
        up: leads from the page to the folder, such as `../`.
        values: figures of the item, by their names.

    Raises:
        OutputError: a small picture cannot be written.
    """
    row, item = kept.row, kept.item
    failed = row["state"] == "failed"
    return Card(
        name=Link(str(row["name"]), None if failed or kept.output is None else address(kept.output, up)),
        tiles=[_input(kept, thumbs, up), *([] if failed else [_mask(kept, thumbs, up), _result(kept, thumbs, up)])],
        text=_words(item),
        note=_note(kept),
        facts=_facts(kept),
        values=values,
        warnings=[str(text) for text in kept.told.get("warnings") or ()],
        error=(str(row["error_type"] or "Error"), str(row["error"] or "")) if failed else None,
    )


def _tile(
    name: str, alt: str, up: str, to: str | None, known: Callable[[], str | None], made: Callable[[str | None], str]
) -> Tile:
    try:
        source = made(known())
    except InputError as error:
        return Tile(name, f"no {name} to show: {reason(error)}")
    return Tile(name, alt, address(f"sheet/thumbs/{source}", up), None if to is None else address(to, up))


def _input(kept: Kept, thumbs: Thumbs, up: str) -> Tile:
    def made(digest: str | None) -> str:
        there = thumbs.name_of(digest, "p") if digest else None
        return there or thumbs.made(kept.picture.sha256, "p", lambda: kept.picture.srgb)

    if not kept.source:
        return Tile("input", "no picture is named")
    says = str(kept.item.get("reference") or short(kept.source))
    tile = _tile("input", f"input: {says}", up, None, kept.source_digest, made)
    return tile if tile.source or kept.is_done else Tile("input", "no input to show")  # the error says why


def _result(kept: Kept, thumbs: Thumbs, up: str) -> Tile:
    def made(digest: str | None) -> str:
        there = thumbs.name_of(digest, "p") if digest else None
        return there or thumbs.made(kept.result.sha256, "p", lambda: kept.result.srgb)

    says = str(kept.item.get("query") or kept.row["name"])
    return _tile("result", f"result: {says}", up, kept.output, kept.output_digest, made)


def _mask(kept: Kept, thumbs: Thumbs, up: str) -> Tile:
    def made(_: str | None) -> str:
        return thumbs.made(sha256(kept.mask_bytes).hexdigest(), "m", lambda: _grey(kept.mask))

    share = kept.told.get("mask_area")
    says = f": {share:.0%} of the picture" if isinstance(share, float) else ""
    return _tile("mask", f"mask{says}", up, kept.mask_file, lambda: None, made)


def _grey(mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(mask * 255).astype(np.uint8)


def _words(item: Mapping[str, Any]) -> str:
    query, reference = str(item.get("query") or ""), str(item.get("reference") or "")
    return " → ".join(f"“{text}”" for text in (reference, query) if text)


def _note(kept: Kept) -> str:
    item, row = kept.item, kept.row
    parts = [f"not “{item['negative']}”"] if item.get("negative") else []
    if "settings" in item:
        changed = [f"{name} {_plain(value)}" for name, value in changed_settings(item).items()]
        parts.append(", ".join([str(item.get("preset") or ""), f"seed {item.get('seed')}", *changed]))
    if row["state"] == "done":
        parts.append(f"{row['seconds'] or 0:.1f} s, {row['evaluations'] or 0} evaluations")
    elif (row["attempts"] or 0) > 1:
        parts.append(f"tried {row['attempts']} times")
    return " · ".join(parts)


def changed_settings(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the switches of an item that are not those of its preset."""
    usual = _preset(str(item.get("preset")))
    return {name: value for name, value in (item.get("settings") or {}).items() if usual.get(name, value) != value}


@cache
def _preset(name: str) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(json.dumps(asdict(Settings.from_preset(name))))
    except SettingsError:
        return {}
    return known


def _facts(kept: Kept) -> dict[str, str]:
    item, row = kept.item, kept.row
    facts = {"picture": short(kept.source)} if kept.source else {}
    facts |= {name: short(str(place)) for name, place in (item.get("masks") or {}).items()}
    facts |= {"line": str(row["line"])} if row["line"] else {}
    facts |= {"preset": str(item["preset"])} if "preset" in item else {}
    facts |= {name: _plain(value) for name, value in (item.get("settings") or {}).items()}
    for name, value in kept.data.items():
        facts[f"column {name}"] = short(_plain(value)) if name in TRUTHS else _plain(value)
    return {str(name)[:_MOST]: text[:_MOST] for name, text in facts.items()}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
