"""The private folder: old files go, and beyond what it may hold the oldest ones."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

__all__ = ["YOUNG_SECONDS", "shrink", "sweep"]

YOUNG_SECONDS = 60.0
"""Files younger than this are kept in any case, as the call that they were sent for is on its way."""


def sweep(folder: Path, before: float) -> None:
    """Delete the files below a folder that were last written before a time, and the folders that are empty then.

    Args:
        folder: it stays.
        before: seconds since the epoch.
    """
    for place, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *folders):
            path = Path(place, name)
            remove = path.rmdir if name in folders else path.unlink  # a folder goes only when it is empty
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < before:
                    remove()


def shrink(folder: Path, most: int, coming: int = 0) -> bool:
    """Delete the oldest files below a folder until those left and what is coming take no more than `most` bytes.

    Returns:
        Whether they do: young files are kept.
    """
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with contextlib.suppress(OSError):
                state = path.lstat()
                found.append((state.st_mtime, state.st_size, path))
    held, young = coming + sum(size for _, size, _ in found), time.time() - YOUNG_SECONDS
    for written, size, path in sorted(found):
        if held <= most or written > young:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            held -= size
    return held <= most
