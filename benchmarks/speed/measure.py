"""Sides that take turns, their counts and their medians; the time there is; the machine and its bound."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import psutil
import torch

from wordbrush.evaluation.flops import count_tflop
from wordbrush.evaluation.memory_probe import memory_probe

__all__ = ["Budget", "Clock", "Counter", "Side", "counted", "gemm_bound", "machine", "ratios", "take_turns"]

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
_GEMM = 2048


@dataclass
class Budget:
    """The time there is.

    Attributes:
        minutes: of it.
    """

    minutes: float
    _begin: float = field(default_factory=time.monotonic)

    def allows(self, seconds: float = 0.0) -> bool:
        """Say whether work of so many seconds ends in time."""
        return time.monotonic() - self._begin + seconds < 60 * self.minutes


@dataclass
class Counter:
    """Passes through the shared modules since the last reset: rows and calls of the network, pictures, texts."""

    evaluations: int = 0
    calls: int = 0
    encodes: int = 0
    decodes: int = 0
    texts: int = 0

    @contextmanager
    def watching(self, unet: Any, vae: Any, text_encoder: Any) -> Iterator[None]:
        """Count inside the block, on the modules themselves, so that all sides are counted alike."""

        def network(_module: Any, args: Any, keywords: Any) -> None:
            self.evaluations += len(args[0] if args else keywords["sample"])
            self.calls += 1

        def adding(name: str) -> Callable[[Any, Any, Any], None]:
            def add(_module: Any, args: Any, keywords: Any) -> None:
                setattr(self, name, getattr(self, name) + len(args[0] if args else keywords["input_ids"]))

            return add

        hooks = {unet: network, vae.encoder: adding("encodes"), vae.decoder: adding("decodes")}
        hooks[text_encoder] = adding("texts")
        with ExitStack() as stack:
            for module, hook in hooks.items():
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def reset(self) -> None:
        """Set all counts to 0."""
        self.evaluations = self.calls = self.encodes = self.decodes = self.texts = 0


@dataclass
class Side:
    """One way to do a piece of work, and what its runs took.

    Attributes:
        name: of the way.
        prepare: does what is not measured and returns the work. The work may return seconds by stage.
        rounds: seconds of a run, the mean of the two in each round.
        stages: seconds by stage of each run, where the work tells them.
        facts: counts and the like.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    rounds: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def timed(self, clock: Clock) -> float:
        """Run once and return the seconds."""
        work = self.prepare()
        begin = clock()
        told = work()
        seconds = clock() - begin
        if isinstance(told, dict):
            self.stages.append(told)
        return seconds


def counted(side: Side, counter: Counter, *, operations: bool = True, memory: bool = True) -> None:
    """Run a side before it is timed: once for its counts and operations, once more for its memory.

    A first run pays for lazily made things, too. What fails is told in the facts, and the side is left out.
    """
    try:
        work = side.prepare()
        counter.reset()
        if operations:
            side.facts["tflop"] = count_tflop(work)
        else:
            work()
        side.facts |= vars(counter)
        if memory:
            work = side.prepare()
            with memory_probe() as probe:
                work()
            side.facts["memory"] = probe.growth
    except Exception as error:  # a peer on a network of another shape: one row, not the run
        side.facts["status"] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"


def take_turns(sides: Sequence[Side], rounds: int, clock: Clock, budget: Budget) -> int:
    """Time sides in rounds, each there and back (A B C C B A); after the first, none that would not end in time.

    Returns:
        How many rounds there were.
    """
    able, took = [side for side in sides if "status" not in side.facts], 0.0
    for done in range(rounds):
        if not able or (done and not budget.allows(took)):
            return done
        begin = time.monotonic()
        there = [side.timed(clock) for side in able]
        back = [side.timed(clock) for side in reversed(able)]
        for side, first, second in zip(able, there, reversed(back), strict=True):
            side.rounds.append((first + second) / 2)
        took = time.monotonic() - begin
    return rounds


def ratios(side: Side, yardstick: Side) -> tuple[float, float, float] | None:
    """Return the median, the least and the largest ratio to the yardstick in the same round; None without rounds."""
    several = [own / other for own, other in zip(side.rounds, yardstick.rounds, strict=False)]
    return (statistics.median(several), min(several), max(several)) if several else None


def gemm_bound(clock: Clock) -> float:
    """Return the GFLOP/s of the best of ten products of two large float32 matrices: no network here is faster."""
    left, right = (torch.rand(_GEMM, _GEMM) for _ in range(2))
    seconds = []
    for _ in range(10):
        begin = clock()
        torch.mm(left, right)
        seconds.append(clock() - begin)
    return 2 * _GEMM**3 / min(seconds) / 1e9


def machine() -> dict[str, Any]:
    """Return the class of the machine, never its name, with the date and the versions that matter."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "architecture": platform.machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "versions": {name: metadata.version(name) for name in ("torch", "diffusers", "transformers")},
    }
