"""Names of results: one rule for whatever a manifest asks for, the same on every system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

__all__ = ["folded", "safe_name", "suffixed"]

MOST_BYTES: Final = 120
"""Longest name in UTF-8; file systems take 255, and an ending, a mark and a temporary name need room."""

_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?", re.IGNORECASE)
_SPOKEN = re.compile(r"[^\w .,+=@()\-]")


def safe_name(text: str) -> str:
    """Return a text as the name of a file, without ending, that every system takes and that stays in its folder.

    Letters and digits of any script stay, and ` .,+=@()-_`; all else becomes `_`: slashes, NUL, controls, quotes.
    Dots and blanks at the ends go; a name that Windows reserves gets a `_`; a long one is cut, and ends in a digest of
    the whole. A name without a letter or digit becomes `item`.
    """
    try:
        plain = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    except ValueError:
        plain = "item"
    name = _SPOKEN.sub("_", plain).strip(" .")
    if not any(character.isalnum() for character in name):
        name = "item"
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > MOST_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        short = name.encode()[: MOST_BYTES - 9].decode(errors="ignore").rstrip(" .")
        name = f"{short}-{digest}"
    return name


def folded(name: str) -> str:
    """Return what two names share that some file system takes for one: case and composition of letters do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


def suffixed(name: str, key: str) -> str:
    """Return a name that no other item has, by the key of this one."""
    return f"{name}-{key[:12]}"
