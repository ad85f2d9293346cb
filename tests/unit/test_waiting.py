"""How often the walks wait for a device: the values that are read from its tensors, counted by torch's profiler."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from tests.support import tiny
from wordbrush.editor import Editor
from wordbrush.models import load_model

READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
"""What `item`, `bool`, `int`, `float` and `equal` of a tensor do: each waits until a device has computed it."""


def test_a_call_of_the_network_is_waited_for_once() -> None:
    """Whether its answer is finite is read, and nothing else. Making the levels reads numbers of the schedule, which
    are in main memory: one a level more for 12 steps than for 4."""
    editor = Editor(load_model(tiny.pipeline("sd1")))
    picture = np.zeros((32, 32, 3), np.uint8)
    mask = np.pad(np.full((16, 16), 255, np.uint8), 8)
    plain: dict[str, Any] = {"solver": "ddim", "spacing": "model", "inversion_stride": 1, "guidance_low": 0.0}

    def counted(steps: int) -> tuple[int, Counter[str]]:
        session, before = editor.open(picture, resolution=32), editor.driver.calls
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
            session.edit("a red car", "a dog", mask=mask, steps=steps, ratio=1.0, **plain)
        return editor.driver.calls - before, Counter(event.name for event in trace.events() if event.name in READS)

    counted(1)
    (few, reads), (many, more) = counted(4), counted(12)
    levels = 8
    assert many - few == 16
    assert sum(more.values()) - sum(reads.values()) == (many - few) + levels
