"""Item functions for tests of engines: they do in milliseconds what edits do in seconds, and die where rows say so."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.batch.ledger import Entry
from wordbrush.batch.work import Make, Outcome, Row, Rows, Work, done, failed
from wordbrush.errors import ModelError, OutputError, PictureError
from wordbrush.files import write_atomic

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["TextWork", "entries"]


@dataclass(frozen=True)
class TextWork(Work):
    """Writes a file for each row, of bytes that its item determines; `do` of an item says what else happens.

    Attributes:
        folder: of the files.
        seconds: that each row takes.
        origin: process whose facts these are: with another's they differ.
        opens: whether it can be opened at all.
    """

    folder: str
    seconds: float = 0.0
    origin: str = ""
    opens: bool = True

    def facts(self) -> Any:
        """Tell the file beside the folder, where a test changes it between driver and actors."""
        return {"who": os.environ.get(self.origin, "") if self.origin else ""}

    def open(self, editor: Editor | None = None) -> Make:
        """Return the function of rows."""
        if not self.opens:
            raise ModelError("there is no such model")
        return self._made

    def _made(self, rows: Rows) -> Iterator[Outcome]:
        for row in rows:
            do = json.loads(row["item"]).get("do")
            time.sleep(self.seconds)
            self._log(row)
            if do == "die":
                os._exit(9)
            if do == "full":
                raise OutputError("the disk is full")
            if do == "fault":
                raise ZeroDivisionError("a fault")
            yield failed(row, PictureError("no picture")) if do == "bad" else self._done(row)

    def _done(self, row: Row) -> Outcome:
        data = hashlib.sha256(str(row["item"]).encode()).hexdigest().encode()
        output = f"{row['name']}.txt"
        write_atomic(Path(self.folder, output), data, force=True)
        return done(row, output=output, sha256=hashlib.sha256(data).hexdigest(), pid=os.getpid())

    def _log(self, row: Row) -> None:
        """Append to one file, so that a test knows which process had which row when."""
        with Path(self.folder, "log").open("a") as log:
            log.write(f"{row['name']} {os.getpid()}\n")


def entries(count: int, **doings: str) -> list[Entry]:
    """Return items `r0`, `r1`, ...; `doings` says by name what happens to some, of which four share a group."""
    return [
        Entry(
            key=f"k{index}",
            number=index + 1,
            name=f"r{index}",
            group=f"g{index // 4}",
            item={"n": index, "do": doings.get(f"r{index}")},
        )
        for index in range(count)
    ]
