"""Measure the memory of a piece of work: the largest growth of the process, sampled while it runs.

What is measured is the resident set (RSS) of the whole process, read by a thread every few milliseconds, minus what it
was at the start. So the figure

- counts everything, whoever allocates it (torch, NumPy, Pillow), and shared libraries that are loaded on the way: run
  the work once before measuring it;
- is a lower bound, as a peak shorter than the sampling period can be missed;
- would miss memory that the allocator still holds from earlier work and gives out again. Garbage is therefore collected
  and, where the C library can (glibc), free pages are given back to the system first.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

__all__ = ["MemoryProbe", "memory_probe"]

PERIOD = 0.002


@dataclass
class MemoryProbe:
    """The process's memory, in bytes.

    Attributes:
        before: resident set at the start.
        peak: largest resident set so far.
    """

    before: int
    peak: int

    @property
    def growth(self) -> int:
        """Largest growth since the start, in bytes; never below 0."""
        return max(0, self.peak - self.before)


@contextmanager
def memory_probe(period: float = PERIOD) -> Iterator[MemoryProbe]:
    """Watch the memory of this process inside the block.

    Args:
        period: seconds between two samples.

    Yields:
        The probe; its figures are complete when the block has ended.
    """
    gc.collect()
    _trim()
    process = psutil.Process()
    before = process.memory_info().rss
    probe, done = MemoryProbe(before, before), threading.Event()

    def sample() -> None:
        while not done.wait(period):
            probe.peak = max(probe.peak, process.memory_info().rss)

    thread = threading.Thread(target=sample, name="memory-probe", daemon=True)
    thread.start()
    try:
        yield probe
    finally:
        probe.peak = max(probe.peak, process.memory_info().rss)
        done.set()
        thread.join()


def _trim() -> None:
    """Give free pages back to the system; only glibc can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library
        return
