"""The items of a ledger as a table: what was asked for, and what came of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from wordbrush.batch.ledger import Ledger
from wordbrush.errors import InputError

__all__ = ["COLUMNS", "exported", "record", "records"]

_ASKED: Final = ("picture", "query", "reference", "negative", "seed", "preset")
_TOLD: Final = (
    "key", "run", "number", "line", "name", "state", "output", "sha256", "seconds", "evaluations", "attempts",
    "error_type", "error",
)  # fmt: skip
_NESTED: Final = ("settings", "masks", "data", "result")

COLUMNS: Final = (*_TOLD, *_ASKED, *_NESTED)
"""Columns of the tables; the last four hold objects: JSON texts in CSV and Parquet."""


def records(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Yield the items of a ledger, every run's, with the columns of `COLUMNS`."""
    yield from map(record, ledger.rows())


def record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a ledger with the columns of `COLUMNS`."""
    item = row["item"]
    nested = {name: item.get(name, {}) for name in _NESTED[:-1]}
    asked = {name: item.get(name) for name in _ASKED}
    return {**{name: row[name] for name in _TOLD}, **asked, **nested, "result": row["result"] or {}}


def exported(ledger: Ledger, kind: str) -> bytes:
    """Return the items as a `jsonl`, `csv` or `parquet` file.

    Raises:
        InputError: pyarrow is missing for Parquet.
    """
    if kind == "jsonl":
        return "".join(json.dumps(one) + "\n" for one in records(ledger)).encode()
    if kind == "csv":
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(map(_flat, records(ledger)))
        return text.getvalue().encode()
    return _parquet(ledger)


def _flat(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, **{name: json.dumps(one[name]) for name in _NESTED}}


def _parquet(ledger: Ledger) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'wordbrush[batch]'") from error
    whole = {"run", "number", "line", "evaluations", "attempts", "seed"}
    kinds = {name: pa.int64() if name in whole else pa.string() for name in COLUMNS} | {"seconds": pa.float64()}
    schema, out = pa.schema(list(kinds.items())), io.BytesIO()
    with ParquetWriter(out, schema) as writer:
        flat = map(_flat, records(ledger))
        while some := list(islice(flat, 1000)):
            writer.write_table(pa.Table.from_pylist(some, schema))
    return out.getvalue()
