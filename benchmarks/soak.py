"""Soak of the workbench: visitors who open, find, move sliders, paint, look and leave, for minutes, on one server.

`python -m benchmarks.soak --visitors 8 --minutes 10 --out soak.json` starts a server of its own, watches its memory,
and reports latency percentiles of every kind of request. It fails (exit 1) on any error, and where memory of the last
fifth lies more than 10 % above that of the second fifth: the first is for warming up.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.support.workbench import Visit, free_port
from wordbrush.picture.samples import load_samples

GROWTH = 0.10
PERCENTILES = (50, 90, 99)


class Log:
    """The seconds of all requests by kind, and the errors."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.busy = 0
        self.lock = threading.Lock()

    def timed(self, kind: str, action: Any) -> Any:
        """Run and time one request; an error is logged."""
        begin = time.perf_counter()
        try:
            value = action()
        except httpx.HTTPStatusError as error:
            with self.lock:
                if error.response.status_code == 503:
                    self.busy += 1
                else:
                    self.errors.append(f"{kind}: {error.response.status_code} {error.response.text[:200]}")
            return None
        except Exception as error:
            with self.lock:
                self.errors.append(f"{kind}: {type(error).__name__}: {error}")
            return None
        with self.lock:
            self.seconds[kind].append(time.perf_counter() - begin)
        return value


def visit(address: str, number: int, until: float, log: Log) -> None:
    """Play one visitor after another, each with a few edits, until the time is up."""
    chance, samples = random.Random(number), load_samples()  # noqa: S311 - which slider moves is no secret
    while time.monotonic() < until:
        with Visit.to(address, f"soak{number}") as me:
            for _ in range(3):
                if time.monotonic() < until:
                    one_edit(me, chance, chance.choice(samples), log)


def one_edit(me: Visit, chance: random.Random, sample: Any, log: Log) -> None:
    """Open a sample, find the region, move the threshold, paint twice, look at the result."""
    log.timed("open", lambda: me.upload(sample.path))
    texts = {"query": sample.query, "reference": sample.reference}
    region = log.timed("find", lambda: me.call("find", "click", [me.stage, *me.controls(**texts)]))
    _note_failure("find", region, 1, log)
    for _ in range(4):
        moved = me.controls(**texts, threshold=round(chance.uniform(0.1, 0.6), 2))
        cut = log.timed("cut", lambda moved=moved: me.call("threshold", "input", [me.stage, *moved]))
        _note_failure("cut", cut, 1, log)
    listed: Any = {"versions": [], "left": None, "right": None}
    for seed in chance.sample(range(100), 2):
        order = me.controls(**texts, seeds=str(seed))
        data = [me.stage, listed, *order]
        painted = log.timed("paint", lambda data=data: me.call("paint", "click", data))
        _note_failure("paint", painted, 1, log)
        if painted:
            listed = painted[2]
            card = listed["versions"][0]
            log.timed("download", lambda card=card: me.client.get(card["url"]).raise_for_status())


def _note_failure(kind: str, outputs: Any, place: int, log: Log) -> None:
    """Log an error where the page would show a failure."""
    state = outputs[place] if outputs else None
    if isinstance(state, dict) and state.get("state") == "failed":
        with log.lock:
            log.errors.append(f"{kind}: {state['note']}")


def quiet_cuts(address: str, count: int = 40) -> dict[str, Any]:
    """Time moves of the threshold on an idle server, on a sample and on the same sample at 12 megapixels."""
    sample, timings = load_samples()[0], {}
    with tempfile.TemporaryDirectory() as folder, Image.open(sample.path) as image:
        large = Path(folder) / "large.png"
        image.convert("RGB").resize((4000, 3000)).save(large)
        for name, path in {"sample": sample.path, "12 megapixels": large}.items():
            log = Log()
            with Visit.to(address) as me:
                me.upload(path)
                texts = {"query": sample.query, "reference": sample.reference}
                me.call("find", "click", [me.stage, *me.controls(**texts)])
                for step in range(count + 1):
                    data = [me.stage, *me.controls(**texts, threshold=round(0.1 + step / 100, 2))]
                    log.timed("cut", lambda data=data: me.call("threshold", "input", data))
            log.seconds["cut"].pop(0)  # the first makes the copy that the others are cut on
            timings[name] = percentiles(log.seconds["cut"])
    return timings


def percentiles(seconds: list[float]) -> dict[str, Any]:
    """Return the number of timings and their percentiles in seconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {"count": len(seconds), **{f"p{p}": round(cuts[p - 1], 3) for p in PERCENTILES}}


def watch(process: psutil.Process, until: float, memory: list[tuple[float, int]]) -> None:
    """Record the server's memory every second."""
    begin = time.monotonic()
    while time.monotonic() < until:
        memory.append((time.monotonic() - begin, process.memory_info().rss))
        time.sleep(1)


def summary(log: Log, memory: list[tuple[float, int]]) -> dict[str, Any]:
    """Return counts, percentiles in seconds, and memory in MiB."""
    kinds = {kind: percentiles(seconds) for kind, seconds in sorted(log.seconds.items())}
    fifth = max(1, len(memory) // 5)
    early = statistics.median(rss for _, rss in memory[fifth : 2 * fifth])
    late = statistics.median(rss for _, rss in memory[-fifth:])
    return {
        "requests": kinds,
        "errors": log.errors,
        "busy": log.busy,
        "memory_mib": {
            "second_fifth": round(early / 2**20, 1),
            "last_fifth": round(late / 2**20, 1),
            "peak": round(max(rss for _, rss in memory) / 2**20, 1),
            "growth": round(late / early - 1, 4),
        },
    }


def main() -> int:
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "wordbrush", "ui", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    complaints: list[str] = []
    threading.Thread(target=lambda: complaints.extend(server.stderr or ()), daemon=True).start()
    try:
        address = f"http://127.0.0.1:{port}"
        _await_server(address)
        quiet = quiet_cuts(address)
        report = soak(address, psutil.Process(server.pid), chosen.visitors, 60 * chosen.minutes)
    finally:
        server.terminate()
        server.wait(30)
    report["server_said"] = [line.strip() for line in complaints if "Traceback" in line or "Error" in line]
    text = json.dumps({"visitors": chosen.visitors, "minutes": chosen.minutes, "quiet": quiet, **report}, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    failed = report["errors"] or report["server_said"] or report["memory_mib"]["growth"] > GROWTH
    return 1 if failed else 0


def _await_server(address: str) -> None:
    for _ in range(600):
        try:
            httpx.get(address + "/wordbrush/health", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server does not answer")


def soak(address: str, process: psutil.Process, visitors: int, seconds: float) -> dict[str, Any]:
    """Send visitors to a server and watch it; returns the summary."""
    log, memory, until = Log(), list[tuple[float, int]](), time.monotonic() + seconds
    threads = [threading.Thread(target=visit, args=(address, n, until, log)) for n in range(visitors)]
    watcher = threading.Thread(target=watch, args=(process, until, memory))
    for thread in (*threads, watcher):
        thread.start()
    for thread in (*threads, watcher):
        thread.join()
    return summary(log, memory)


if __name__ == "__main__":
    sys.exit(main())
