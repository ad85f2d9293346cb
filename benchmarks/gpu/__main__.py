"""Run the parts and write down what they tell.

    python -m benchmarks.gpu [--device cuda] [--budget SECONDS] [--part NAME ...] [--json FILE]

Each part is a process of its own, so that one that fails, hangs or breaks the device leaves the others alone. All run
at once, as most of their time is not the device's; what is timed on the device waits for its turn. FILE is written
again whenever a part has told something. With `--device cpu` the parts themselves are tried, at toy size.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Final

from wordbrush.files import write_atomic

Facts = dict[str, Any]
LIMITS: Final[dict[str, int]] = {
    "precision": 60,
    "waiting": 60,
    "compiling": 92,
    "forwards-bfloat16": 92,
    "forwards-float16": 92,
    "many": 70,
    "offload": 60,
    "families": 85,
    "memory": 60,
    "machine": 40,
}
"""The most seconds of each part, in the order in which they begin."""

_PATIENCE = 3


def one_part(name: str, device: str, file: Path | None, lock: Path | None) -> Facts:
    """Run one part in this process, and return its facts; an error is one of them."""
    import torch

    from benchmarks.gpu.parts import PARTS
    from benchmarks.gpu.probes import Case
    from wordbrush.speed import compiled

    case, begin = Case(device, toy=device == "cpu", file=file, lock=lock), time.monotonic()
    if case.toy:
        compiled.Compiled.__init__.__defaults__ = ("eager",)  # traced, but not made machine code of
    else:
        torch.set_num_threads(4)
    try:
        PARTS[name](case)
        case.tell(status="done")
    except BaseException as error:  # an alarm, too: what was found so far is kept
        case.tell(status=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    case.tell(took_s=round(time.monotonic() - begin, 1))
    return case.facts


class Late(BaseException):
    """A part's time is over; no library that catches errors takes this for one of its own."""


def _alarmed(seconds: int) -> None:
    """Raise `Late` in this process after so many seconds."""

    def ring(*_: Any) -> None:
        raise Late(f"over {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)


class Run:
    """Parts that run at once, and the file that tells of all."""

    def __init__(self, names: list[str], device: str, target: Path, budget: float) -> None:
        self.target, self.end = target, time.monotonic() + budget
        self.limits = {name: min(LIMITS[name], int(budget)) for name in names}
        self._scratch = tempfile.TemporaryDirectory(prefix="wordbrush-gpu-")
        self.folder = Path(self._scratch.name)
        self.files = {name: self.folder / f"{number}.json" for number, name in enumerate(names)}
        self.processes = {name: self._started(name, device) for name in names}

    def _started(self, name: str, device: str) -> subprocess.Popen[bytes]:
        told = ["--one", name, "--device", device, "--facts", str(self.files[name])]
        limits = ["--limit", str(self.limits[name]), "--lock", str(self.folder / "turn")]
        with self.files[name].with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu", *told, *limits],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "6", "HF_HUB_OFFLINE": "1"},
            )

    def watch(self) -> Facts:
        """Wait for the parts, write down what they tell, and end those that take too long."""
        begin = time.monotonic()
        while any(process.poll() is None for process in self.processes.values()):
            time.sleep(0.5)
            self.write()
            for name, process in self.processes.items():
                late = time.monotonic() > min(self.end, begin + self.limits[name]) + _PATIENCE
                if process.poll() is None and late:
                    os.killpg(process.pid, signal.SIGKILL)
        try:
            return self.write()
        finally:
            self._scratch.cleanup()

    def write(self) -> Facts:
        """Write down what all parts have told, with the end of the output of those that did not end well."""
        parts: Facts = {}
        for name, file in self.files.items():
            told = json.loads(file.read_text("utf-8")) if file.is_file() else {}
            if told.get("status") != "done" and self.processes[name].poll() is not None:
                told.setdefault("status", f"ended by itself with {self.processes[name].returncode}")
                told["output"] = file.with_suffix(".log").read_text("utf-8", "replace")[-4000:]
            parts[name] = told
        facts = {"schema": 1, "parts": parts}
        write_atomic(self.target, (json.dumps(facts, indent=1) + "\n").encode(), force=True)
        return facts


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="what a GPU does with wordbrush")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=95.0, help="seconds; what is not done by then is ended")
    parser.add_argument("--part", nargs="+", choices=LIMITS, help="by default all")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    for inner in ("--one", "--facts", "--lock", "--limit"):  # of the process of a part
        parser.add_argument(inner, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Run, and print what was found without its tracebacks."""
    flags = parsed(words)
    if flags.one:
        _alarmed(int(flags.limit))
        one_part(flags.one, flags.device, Path(flags.facts), Path(flags.lock))
        return
    found = Run(flags.part or list(LIMITS), flags.device, flags.json, flags.budget).watch()
    for name, facts in found["parts"].items():
        print(f"== {name}")
        for key, value in facts.items():
            if key not in {"traceback", "output"}:
                print(f"{key}: {str(value)[:600]}")


if __name__ == "__main__":
    main()
