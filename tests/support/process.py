"""A workbench as people run it: a process of its own, whose standard streams go to files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.calls import ROOT
from tests.support.workbench import free_port

__all__ = ["Process", "started"]


@dataclass(frozen=True)
class Process:
    """A running server.

    Attributes:
        address: where it is.
        folder: its standard output and error are files there.
        pid: of the process.
    """

    address: str
    folder: Path
    pid: int

    @property
    def log(self) -> str:
        """What it wrote to its standard streams so far."""
        return "".join((self.folder / name).read_text("utf-8", "replace") for name in ("out", "err"))


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Process]:
    """Run `wordbrush ui` on a free port of this machine while the block runs."""
    port = free_port()
    command = [sys.executable, "-m", "wordbrush", "ui", "--port", str(port), *flags]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        try:
            found = Process(f"http://127.0.0.1:{port}", folder, process.pid)
            deadline = time.monotonic() + 90
            while not _answers(found.address):
                assert process.poll() is None, found.log
                assert time.monotonic() < deadline, found.log
                time.sleep(0.1)
            yield found
        finally:
            process.terminate()
            process.wait(20)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/wordbrush/health", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
