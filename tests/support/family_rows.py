"""The table of families that the suite in `tests/families` runs over."""

from __future__ import annotations

from tests.support.families import ROWS as FIRST_ROWS
from tests.support.families import Row
from tests.support.more_families import MORE_ROWS

__all__ = ["ROWS"]

ROWS: dict[str, Row] = {**FIRST_ROWS, **MORE_ROWS}
"""The families, by name."""
