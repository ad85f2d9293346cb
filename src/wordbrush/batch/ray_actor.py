"""What runs in each actor of a Ray cluster: the work, opened once it is sure to be the same as everywhere else."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.work import Make, Outcome, Row, Rows, Work, failed
from wordbrush.errors import ModelError, OutputError, WordbrushError

__all__ = ["STOP", "TOKEN", "RowActor", "Terms", "versions"]

TOKEN: Final = "token"  # noqa: S105 - a file's name
STOP: Final = "stop"
_STARTS: Final = 3
_PACKAGES: Final = ("wordbrush", "torch", "diffusers", "transformers")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the driver tells its actors.

    Attributes:
        work: what is to be done.
        folder: of the driver and its actors, within the folder of results; it goes when the run ends.
        token: what the file `TOKEN` holds there, so that an actor knows that it sees the driver's folder.
        facts: `work.facts()` of the driver.
        versions: of the packages that results depend on.
        threads: of torch.
        gpus: of each actor.
    """

    work: Work
    folder: str
    token: str
    facts: Any
    versions: dict[str, str]
    threads: int
    gpus: float

    def opened(self) -> Make:
        """Check that this machine has what the driver has, and open the work.

        Raises:
            OutputError: it does not see the driver's folder.
            ModelError: it has another model or other versions, or a process of this actor died here thrice.
            WordbrushError: whatever the work raises.
        """
        token = Path(self.folder, TOKEN)
        if not token.is_file() or token.read_text("utf-8") != self.token:
            folder = Path(self.folder).parent
            raise OutputError(f"{folder} is not the driver's folder there: results of a cluster need shared storage")
        other = {name: found for name, found in versions().items() if found != self.versions[name]}
        if other:
            name, found = next(iter(other.items()))
            raise ModelError(f"{name} is {found} there but {self.versions[name]} at the driver: install the same")
        with self._counted():
            if not self.gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = ""  # actors that asked for no GPU would all take the first
            if self.work.facts() != self.facts:
                raise ModelError("the model there is not the driver's: its files differ")
            make = self.work.open()
            torch = sys.modules.get("torch")  # work without it should not pay for it
            if torch is not None:
                torch.set_num_threads(self.threads)
            return make

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the starts of this actor that did not end, and refuse another one where it is no use."""
        import ray

        count = Path(self.folder, f"start-{ray.get_runtime_context().get_actor_id()}")
        begun = len(count.read_bytes()) if count.exists() else 0
        if begun >= _STARTS:
            raise ModelError(f"the process ended {begun} times while it loaded the model; out of memory?")
        count.write_bytes(b"." * (begun + 1))
        yield
        count.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Return the versions that results depend on; builds of one version (+cpu, +cu128) count as the same."""
    found = dict[str, str]()
    for name in _PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "missing"
    return found


class RowActor:
    """Runs bundles of rows; Ray Data makes one an actor.

    What ends the run is told like an outcome, as Ray Data itself would only drop the rows.

    Args:
        terms: of the driver.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.make: Make | None = None
        self.error: WordbrushError | None = None
        try:
            self.make = terms.opened()
        except Exception as error:
            self.error = error if isinstance(error, WordbrushError) else ModelError(f"the work cannot start: {error}")

    def __call__(self, batch: Any) -> Iterator[dict[str, list[Any]]]:
        """Yield what became of each row, a table of one row each.

        Args:
            batch: a pyarrow table with a column `rows`: lists of rows as JSON, those of one picture together.
        """
        for bundle in batch["rows"].to_pylist():
            yield from self._told(json.loads(bundle))

    def _told(self, bundle: list[Row]) -> Iterator[dict[str, list[Any]]]:
        if self.make is None:
            yield _row(fatal=self.error)
            return
        stop = Path(self.terms.folder, STOP)
        try:
            for outcome in self.make(Rows(bundle, stop.exists)):
                yield _row(outcome)
        except WordbrushError as error:
            yield _row(fatal=error)
        except Exception as error:  # a fault, it is not known of which row: the driver sends each again, alone
            if len(bundle) == 1:
                yield _row(failed(bundle[0], error))


def _row(outcome: Outcome | None = None, fatal: WordbrushError | None = None) -> dict[str, list[Any]]:
    """Return a table of one row: an outcome as JSON text, or an error that ends the run."""
    told = b"" if fatal is None else pickle.dumps(type(fatal)(f"on {socket.gethostname()}: {fatal}"))
    return {"outcome": [json.dumps(outcome)], "fatal": [told]}
