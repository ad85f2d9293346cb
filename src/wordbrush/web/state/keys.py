"""Keys: unguessable names of visitors and of their pictures and versions."""

from __future__ import annotations

import secrets

__all__ = ["COOKIE", "new_key"]

COOKIE = "wordbrush_visitor"
"""Name of the cookie that holds a visitor's key."""


def new_key() -> str:
    """Return a name nobody can guess: 256 bits, safe in addresses."""
    return secrets.token_urlsafe(32)
