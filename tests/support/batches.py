"""What tests of batches work on: small pictures, an instant model, and work that goes wrong on purpose."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.support import toy
from wordbrush.batch.edits import EditWork
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.run import Batch
from wordbrush.batch.work import Make, Outcome, Rows, Work, done, failed
from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser
from wordbrush.diffusion.faults import check_items
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.errors import WordbrushError

QUICK: dict[str, Any] = {
    "to": "dark left, light right",
    "reference": "dark left, dark right",
    "maps": 1,
    "strength": (0.6,),
    "steps": 2,
    "ratio": 1.0,
    "solver": "ddim",
    "edges": "cells",
    "rim": 0.0,
    "match": 0.0,
}
"""Arguments of `batch` with which an edit of the toy model takes a few milliseconds."""


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (16, 16)) -> list[Path]:
    """Write dark pictures with a little texture, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(-12, 13, (*size[::-1], 3))
        Image.fromarray((64 + noise).astype(np.uint8)).save(path, compress_level=1)
    return paths


def results(folder: Path) -> dict[str, bytes]:
    """Return what a batch wrote, by name, without its ledger."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("ledger."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def ledger_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a ledger."""
    with Ledger.open(folder, read_only=True) as ledger:
        return list(ledger.rows())


@dataclass(frozen=True, kw_only=True)
class ToyWork(EditWork):
    """Edits with the toy model, which every process makes for itself."""

    def facts(self) -> dict[str, Any]:
        return {"model": "toy"}

    def open(self, editor: Editor | None = None) -> Make:
        return super().open(editor or toy.editor(16))


@dataclass(frozen=True, kw_only=True)
class PoisonWork(ToyWork):
    """The same, but for some texts the network fails: see `POISON`."""

    def open(self, editor: Editor | None = None) -> Make:
        made = toy.editor(16)
        model = replace(made.model, denoiser=NetworkDenoiser(_poisoned, "epsilon"))
        made.driver = Driver(model)
        return super().open(made)


POISON = {
    "NotFiniteError": "light left, dark right",
    "ResourceError": "light left",
    "WorkerDiedError": "light left, light right",
}
"""What becomes of an edit to a text: values that are no numbers, memory that runs out, a process that is killed."""


def _poisoned(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
    halves = [tuple(row) for row in conditioning["halves"].tolist()]
    if (0.5, 0.5) in halves:
        os.kill(os.getpid(), signal.SIGKILL)
    if (0.5, 0.0) in halves:
        raise torch.OutOfMemoryError("no more")
    noise = toy.exact_noise(x, labels, conditioning)
    return check_items(noise * torch.nan if (0.5, -0.5) in halves else noise, "the network")


@dataclass(frozen=True, kw_only=True)
class ToyBatch(Batch):
    """A batch with the toy model, in any process."""

    model: str = "toy"
    kind: type[EditWork] = ToyWork

    @property
    def work(self) -> EditWork:
        return self.kind(**vars(super().work))

    def of_all(self) -> dict[str, Any]:
        return {"model": "toy"}


@dataclass(frozen=True, kw_only=True)
class Marks(Work):
    """Writes its process' number into `folder` for each row it begins; a name tells what becomes of a row.

    `kill`: its process is killed. `crash once`: the same, but only the first time. `memory`: memory runs out. `fail`:
    any error. Anything else is done.
    """

    folder: str

    def open(self, editor: Editor | None = None) -> Make:
        return self._make

    def _make(self, rows: Rows) -> Iterator[Outcome]:
        for row in rows:
            tries = Path(self.folder, f"{row['name']}.tries")
            with tries.open("a") as file:
                file.write(f"{os.getpid()}\n")
            yield self._done(row, len(tries.read_text().splitlines()))

    def _done(self, row: Mapping[str, Any], tries: int) -> Outcome:
        name = row["name"]
        if name.startswith("kill") or (name.startswith("crash") and tries == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("memory"):
            return failed(row, MemoryError("no more"))
        if name.startswith("fail"):
            return failed(row, ValueError("wrong"))
        return done(row, evaluations=1, process=os.getpid())


def forked(call: Callable[[], object]) -> int:
    """Begin to run a function in a fork of this process, and return its number; it ends with 0, or as `ended` says.

    A fork has everything imported, so that many of them can be killed in little time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of this process hold nothing it needs
        number = os.fork()
    if number:
        return number
    code = 1
    try:
        torch.set_num_threads(1)
        call()
        code = 0
    except WordbrushError as error:
        os.write(2, f"{error}\n".encode())
        code = error.exit_code
    finally:
        os._exit(code)


def ended(number: int) -> int:
    """Wait for a fork, and return its exit code; below zero the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
