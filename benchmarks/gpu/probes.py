"""Facts that are written as they come, turns on the device, and what is measured: time, syncs, likeness of edits."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wordbrush import EditResult
from wordbrush.files import write_atomic

__all__ = ["Case", "compared", "milliseconds", "syncs", "traced"]

_RUNS, _WARM = 10, 3
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaGraphLaunch")
_WAITING_OPS = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero")


@dataclass
class Case:
    """What a part is told, and where its facts go.

    Attributes:
        device: `cuda`, or `cpu` to try the part itself.
        toy: few steps of small networks, nothing compiled to machine code.
        file: the facts so far, as JSON, after every one; None keeps them in `facts` alone.
        lock: a file; whoever times something on the device holds it meanwhile.
    """

    device: str
    toy: bool = False
    file: Path | None = None
    lock: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one of CUDA."""
        return self.device.startswith("cuda")

    def tell(self, **facts: Any) -> None:
        """Add facts and write all down."""
        self.facts |= facts
        if self.file is not None:
            write_atomic(self.file, json.dumps(self.facts, indent=1, default=str).encode(), force=True)

    @contextmanager
    def trying(self, name: str) -> Iterator[dict[str, Any]]:
        """Gather the facts of one attempt in a dictionary; a failure is told in it, and the part goes on."""
        found: dict[str, Any] = {}
        try:
            yield found
        except Exception as error:  # of whatever kind: the rest may still work
            found["error"] = f"{type(error).__name__}: {error}"
            found["traceback"] = traceback.format_exc()
        finally:
            self.tell(**{name: found})

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the device alone, among the parts of one run."""
        with nullcontext() if self.lock is None else self.lock.open("w") as file:
            if file is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
            self.wait()

    def wait(self) -> None:
        """Wait until the device has done what it was asked for."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Return the seconds of a piece of work on the device, and what it returned."""
        with self.turn():
            self.wait()
            begin = time.perf_counter()
            answer = work()
            self.wait()
            return round(time.perf_counter() - begin, 4), answer


def milliseconds(case: Case, work: Callable[[], Any]) -> float:
    """Return the median milliseconds of ten runs after three, by CUDA events on a GPU."""
    times = list[float]()
    with case.turn():
        for _ in range(1 if case.toy else _WARM):
            work()
        case.wait()
        for _ in range(1 if case.toy else _RUNS):
            if case.on_gpu:
                begin, end = (_event() for _ in range(2))
                begin.record()
                work()
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end))
            else:
                start = time.perf_counter()
                work()
                times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 4)


def _event() -> Any:
    of_cuda: Any = torch.cuda
    return of_cuda.Event(enable_timing=True)


def compared(made: EditResult, wanted: EditResult) -> dict[str, Any]:
    """Return how much two edits of one picture agree: masks, levels of 255, and the background with the input."""
    masks = made.mask.values, wanted.mask.values
    inside = [mask > 0.5 for mask in masks]
    union = int((inside[0] | inside[1]).sum())
    levels = np.abs(np.asarray(made.image, int) - np.asarray(wanted.image, int))
    kept = masks[0] == 0
    return {
        "mask_iou": round(float((inside[0] & inside[1]).sum() / union), 5) if union else 1.0,
        "mask_difference": float(np.abs(masks[0] - masks[1]).max()),
        "mask_area": float(inside[0].mean()),
        "levels_mean": float(levels.mean()),
        "levels_max": int(levels.max()),
        "background_is_the_input": bool(np.array_equal(np.asarray(made.image)[kept], made.picture.srgb[kept])),
        "warnings": list(made.report.warnings),
    }


def traced(case: Case, work: Callable[[], Any]) -> dict[str, Any]:
    """Return counts of waits and copies in one run, and the milliseconds of its kernels, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if case.on_gpu else [])]
    with case.turn(), profile(activities=activities, acc_events=True) as profiler:
        work()
        case.wait()
    counts, on_device = Counter[str](), Counter[str]()
    recorded: Any = profiler.profiler
    for event in recorded.kineto_results.events():
        name, device = event.name(), str(event.device_type())
        if "CUDA" in device:
            kind = name if name.startswith(("Memcpy", "Memset")) else "kernels"
            counts[kind] += 1
            on_device[kind] += event.duration_ns()
        elif name in _WAITS or name in _WAITING_OPS or name.startswith(("cudaMemcpy", "cudaLaunch")):
            counts[name] += 1
    return {"counts": dict(counts), "device_ms": {name: round(ns / 1e6, 3) for name, ns in on_device.items()}}


def syncs(case: Case, work: Callable[[], Any]) -> Mapping[str, int]:
    """Return how often each line made the processor wait for the device in one run, as torch itself tells.

    A line is the innermost of wordbrush, with the innermost of all.
    """
    lines = Counter[str]()

    def heard(message: Warning | str, *_: Any, **__: Any) -> None:
        if "synchroniz" not in str(message):
            return
        stack = [frame for frame in traceback.extract_stack() if not frame.filename.endswith("probes.py")]
        own = [frame for frame in stack if f"{os.sep}wordbrush{os.sep}" in frame.filename]
        places = dict.fromkeys(_place(frames[-1]) for frames in (own, stack) if frames)
        lines[" <- ".join(places)] += 1

    with case.turn(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = heard
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return dict(lines.most_common(20))


def _place(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}:{frame.lineno} {(frame.line or '')[:90]}"
