"""Comparing a case with its recording: to the byte on the machine it was recorded on, within tolerances elsewhere.

Elsewhere, another processor or another torch rounds otherwise, so

- at most `PIXELS` of an image's pixels may be off by more than `LEVELS` of its 256 levels;
- masks and cells overlap by at least `OVERLAP`: sum of the smaller over sum of the larger values;
- a contrast is off by at most `CONTRAST` times its largest value, and so is a reconstruction error.

The number of results, their texts and seeds, evaluations, what was reused and every recorded setting are the same
everywhere; settings that came later are not looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.golden.recording import Recording

__all__ = ["differences", "is_exact"]

PIXELS = 0.01
LEVELS = 2
OVERLAP = 0.98
CONTRAST = 1e-3

Array = NDArray[Any]


def is_exact(made: Recording, recorded: Recording) -> bool:
    """Return whether both were made on a machine of the same fingerprint."""
    return bool(made.facts["fingerprint"] == recorded.facts["fingerprint"])


def differences(made: Recording, recorded: Recording) -> list[str]:
    """Say what differs and by how much, a line each; nothing where the case gave what was recorded."""
    exact = is_exact(made, recorded)
    now, before = made.facts["results"], recorded.facts["results"]
    if len(now) != len(before):
        return [f"{len(now)} results instead of {len(before)}"]
    found = []
    for number, (one, other) in enumerate(zip(now, before, strict=True)):
        found += [f"result {number}: {line}" for line in _facts(one, other, exact)]
    for key in sorted(made.arrays.keys() ^ recorded.arrays.keys()):
        found.append(f"result {key}: {'is new' if key in made.arrays else 'is gone'}")
    for key in sorted(made.arrays.keys() & recorded.arrays.keys()):
        line = _array(key.partition(".")[2], made.arrays[key], recorded.arrays[key], exact)
        found += [f"result {key}: {line}"] if line else []
    return found


def _facts(now: dict[str, Any], before: dict[str, Any], exact: bool) -> list[str]:
    found = []
    for key, value in before.items():
        if key == "settings":
            found += [
                f"setting {name} {now[key].get(name, 'is gone')!r} instead of {was!r}"
                for name, was in value.items()
                if name not in now[key] or now[key][name] != was
            ]
        elif key == "reconstruction_error" and not exact and value is not None and now[key] is not None:
            if abs(now[key] - value) > CONTRAST * value:
                found.append(f"{key} {now[key]} instead of {value}")
        elif now[key] != value:
            found.append(f"{key} {now[key]} instead of {value}")
    return found


def _array(kind: str, now: Array, before: Array, exact: bool) -> str:
    """Return what is wrong with one array, or nothing."""
    if (now.shape, now.dtype) != (before.shape, before.dtype):
        return f"{now.dtype} {now.shape} instead of {before.dtype} {before.shape}"
    if now.tobytes() == before.tobytes():
        return ""
    off = np.abs(now.astype(np.float64) - before.astype(np.float64))
    told = f"{np.count_nonzero(off)} of {off.size} values differ, by {off.max():.3g} at most, {off.mean():.3g} in mean"
    if exact:
        return told
    if kind == "image":
        share = float((off.reshape(*off.shape[:2], -1).max(axis=2) > LEVELS).mean())
        return f"{told}; {share:.2%} of the pixels by more than {LEVELS}" if share > PIXELS else ""
    if kind == "contrast":
        return told if off.max() > CONTRAST * float(before.max()) else ""
    overlap = float(np.minimum(now, before).sum()) / float(np.maximum(now, before).sum())
    return f"{told}; overlap {overlap:.4f}" if overlap < OVERLAP else ""
