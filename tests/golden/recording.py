"""Recordings: what a golden case gave, to the byte, and the machine it was recorded on.

`recorded/MODEL/NAME.npz` holds the arrays of a case, `NAME.json` beside it their digests, the evaluations, what was
reused, the settings and the fingerprint of the machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

import wordbrush as wb
from tests.golden.cases import Case, editor_of

__all__ = ["RECORDED", "Recording", "fingerprint", "record", "torch_threads"]

RECORDED = Path(__file__).with_name("recorded")
PACKAGES = ("torch", "numpy", "scipy", "pillow", "diffusers", "transformers")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Recording:
    """What one case gave.

    Attributes:
        facts: `fingerprint`, and `results`: for each the evaluations, what was reused, the settings and the like.
        arrays: for result k `k.image` (height, width[, channel]) bytes, `k.mask` and `k.cells` (height, width)
            float32, `k.contrast` the raw map, left out where the user gave the mask.
    """

    facts: dict[str, Any]
    arrays: Arrays

    @classmethod
    def load(cls, name: str) -> Recording:
        """Read the recording of a case.

        Raises:
            ValueError: the arrays are not those that were recorded.
        """
        facts = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
        try:
            with np.load(RECORDED / f"{name}.npz", allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
        except (BadZipFile, zlib.error) as error:
            raise ValueError(f"{name}: the recorded arrays cannot be read: {error}") from error
        if facts["sha256"] != digests(arrays):
            raise ValueError(f"{name}: the recorded arrays are not those that the digests beside them were made of")
        return cls(facts, arrays)

    def save(self, name: str) -> None:
        """Write the recording of a case; the same recording gives the same bytes."""
        target = RECORDED / f"{name}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(target, allow_pickle=False, **self.arrays)
        target.with_suffix(".json").write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """Return facts and digests as they are written: a line for each result."""
        head = {"fingerprint": self.facts["fingerprint"], "sha256": digests(self.arrays)}
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        results = ",\n".join(json.dumps(result) for result in self.facts["results"])
        return "{\n" + ",\n".join(lines) + ',\n"results": [\n' + results + "\n]\n}\n"


def digests(arrays: Arrays) -> dict[str, str]:
    """Return the SHA-256 of each array's dtype, shape and bytes."""
    return {
        key: hashlib.sha256(f"{value.dtype.str}{value.shape}".encode() + value.tobytes()).hexdigest()
        for key, value in arrays.items()
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    pairs = (line.partition(":")[::2] for line in lines)
    known = {key.strip(): value.strip() for key, value in reversed(list(pairs))}
    return " ".join(known[key] for key in ("model name", "cpu family", "model", "stepping") if key in known)


def fingerprint(*, threads: bool = True) -> dict[str, Any]:
    """Return what bytes depend on; `threads` says whether the count of torch's threads belongs to it."""
    found: dict[str, Any] = {name: version(name) for name in PACKAGES}
    found |= {"cpu": _processor(), "capability": torch.backends.cpu.get_cpu_capability()}
    return found | ({"threads": torch.get_num_threads()} if threads else {})


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def record(case: Case, *, threads: int = 1) -> Recording:
    """Make the edits of a case with so many torch threads.

    The toy computes each value by itself, so its recordings hold for any number of threads.
    """
    with torch_threads(threads):
        made = case.run(editor_of(case.model, case.batch_limit))
        mark = fingerprint(threads=case.model != "toy")
    arrays: Arrays = {}
    for number, result in enumerate(made):
        arrays |= {f"{number}.{key}": value for key, value in _arrays(result).items()}
    return Recording({"fingerprint": mark, "results": [_facts(result) for result in made]}, arrays)


def _arrays(result: wb.EditResult) -> Arrays:
    found: Arrays = {
        "image": np.asarray(result.image),
        "mask": np.asarray(result.mask.values),
        "cells": np.asarray(result.cells.values),
    }
    if result.contrast is not None:
        found["contrast"] = np.asarray(result.contrast.raw)
    return found


def _facts(result: wb.EditResult) -> dict[str, Any]:
    report, provenance = result.report, result.provenance
    return {
        "query": provenance.query,
        "seed": report.seed,
        "mode": result.image.mode,
        "evaluations": dict(report.evaluations),
        "reused": list(report.reused),
        "reconstruction_error": report.reconstruction_error,
        "settings": dict(provenance.settings),
    }
