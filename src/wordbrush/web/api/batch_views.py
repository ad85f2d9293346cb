"""What a batch tells: how far it is, its items, its files and its archive; never a place on this machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from wordbrush.batch.columns import plain_name
from wordbrush.batch.entry import STATES
from wordbrush.batch.export import record
from wordbrush.errors import SettingsError
from wordbrush.web.api.batch_request import FILES
from wordbrush.web.gate.log import SORRY

if TYPE_CHECKING:
    from wordbrush.web.api.batches import Job

__all__ = ["archive", "files_of", "item", "items", "table", "view"]

MOST_ITEMS = 1000
"""Most items of one page."""


def view(job: Job) -> dict[str, Any]:
    """Return how far a batch is."""
    counts, errors, evaluations = {**dict.fromkeys(STATES, 0), "waiting": job.total}, list[dict[str, Any]](), 0
    with job.ledger() as ledger:
        if ledger and ledger.run:
            counts, evaluations = {**ledger.counts(ledger.run)}, ledger.totals(ledger.run)[1]
            errors = [asdict(group) for group in ledger.errors(ledger.run)]
    progress, summary = job.progress, job.summary
    new = progress.done - progress.resumed if progress and job.ended is None else 0
    left = (progress.total - progress.done) * progress.seconds / new if progress and new else None
    return {
        "batch": job.id,
        "state": job.state,
        "error": job.error,
        "total": job.total,
        "items": counts,
        "seconds": round(progress.seconds, 3) if progress else 0.0,
        "left": None if left is None else round(left, 1),
        "evaluations": evaluations,
        "errors": [{**group, "example": _told(job, group["kind"], group["example"])} for group in errors],
        "notes": [job.plain(note) for note in summary.notes] if summary else [],
    }


def items(job: Job, start: str, count: str, state: str | None) -> list[dict[str, Any]]:
    """Return a page of items, in their order.

    Raises:
        SettingsError: `start` or `count` is no such number, or there is no such state.
    """
    first, most = _number("start", start, 0), _number("count", count, 1)
    if most > MOST_ITEMS:
        raise SettingsError(f"count {most}: at most {MOST_ITEMS} at once")
    if state is not None and state not in STATES:
        raise SettingsError(f"state {state[:40]!r} is unknown: known are {', '.join(STATES)}")
    with job.ledger() as ledger:
        rows = islice(ledger.rows(state=state), first, first + most) if ledger else iter(())
        return [_public(job, row) for row in rows]


def item(job: Job, key: str) -> dict[str, Any] | None:
    """Return one item, or None where there is none of this key."""
    with job.ledger() as ledger:
        row = ledger.find(key) if ledger else None
    return None if row is None else _public(job, row)


def files_of(job: Job, told: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files of an item as `items` tells it, by `result` and `mask`."""
    names = {"result": told["output"], "mask": told["result"].get("mask")}
    return {name: job.out / file for name, file in names.items() if file is not None}


def table(job: Job) -> Iterator[bytes]:
    """Yield all items, a JSON object a line."""
    with job.ledger() as ledger:
        for row in ledger.rows() if ledger else ():
            yield json.dumps(_public(job, row)).encode() + b"\n"


def archive(job: Job) -> Iterator[bytes]:
    """Yield a ZIP of all results, their masks, and the table of items; no time of day is written into it."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as pack:  # pictures are compressed already
        with job.ledger() as ledger:
            for row in ledger.rows(state="done") if ledger else ():
                for path in files_of(job, record(row)).values():
                    if path.is_file():  # else it was deleted just now
                        pack.writestr(zipfile.ZipInfo(path.relative_to(job.out).as_posix()), path.read_bytes())
                        yield pipe.taken()
        pack.writestr(zipfile.ZipInfo("items.jsonl"), b"".join(table(job)))
    yield pipe.taken()


class _Pipe(io.RawIOBase):
    """A file that is only written, and hands on what came since."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts += data
        return len(data)

    def taken(self) -> bytes:
        """Return what came since the last call."""
        taken = bytes(self._parts)
        self._parts.clear()
        return taken


def _public(job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item with the columns of `batch export`, files by their names alone."""
    told = record(row)
    warnings = told["result"].get("warnings")
    masks = {kind: _name(place) for kind, place in told["masks"].items()}
    data = {name: _name(value) if plain_name(name) in FILES else value for name, value in told["data"].items()}
    shown = {**told, "picture": _name(told["picture"]), "masks": masks, "data": data}
    shown["error"] = None if told["error"] is None else _told(job, told["error_type"], told["error"])
    if warnings:
        shown["result"] = {**told["result"], "warnings": [job.plain(warning) for warning in warnings]}
    return shown


def _told(job: Job, kind: str, sentence: str) -> str:
    """Return the sentence of an error; of one that nobody expected, whose words may hold anything, that it was one."""
    return SORRY if sentence.startswith(f"{kind}: ") else job.plain(sentence)


def _name(place: Any) -> Any:
    return PurePosixPath(place.replace("\\", "/")).name if isinstance(place, str) else place


def _number(name: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise SettingsError(f"{name} {text[:40]!r} is not a whole number from {least} on")
    return int(text)
