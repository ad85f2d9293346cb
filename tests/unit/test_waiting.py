"""How often the walks wait for a device: the values that are read from tensors, counted as torch is asked for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support import tiny
from wordbrush.editor import Editor
from wordbrush.models import load_model

READS = ("_local_scalar_dense", "nonzero", "equal")
"""What `item`, `bool`, `int`, `float` and `equal` of a tensor do: each waits until a device has computed it."""


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has none here
    """Counts reads inside the block."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.__name__.split(".")[0] in READS
        return func(*args, **(kwargs or {}))


def test_a_call_of_the_network_is_waited_for_once() -> None:
    """Whether its answer is finite is read, and nothing else. Making the levels reads numbers of the schedule, which
    are in main memory: one a level more for 6 steps than for 2."""
    editor = Editor(load_model(tiny.pipeline("sd1")))
    picture = np.zeros((32, 32, 3), np.uint8)
    mask = np.pad(np.full((16, 16), 255, np.uint8), 8)
    plain: dict[str, Any] = {"solver": "ddim", "spacing": "model", "inversion_stride": 1, "guidance_low": 0.0}
    plain["retry"] = False  # one more, once an edit

    def counted(steps: int) -> tuple[int, int]:
        session, before = editor.open(picture, resolution=32), editor.driver.calls
        with Reads() as reads:  # type: ignore[no-untyped-call]
            session.edit("a red car", "a dog", mask=mask, steps=steps, ratio=1.0, **plain)
        return editor.driver.calls - before, reads.count

    counted(2)  # encodes the texts
    (few, reads), (many, more) = counted(2), counted(6)
    levels = 4
    assert many - few == 8
    assert more - reads == (many - few) + levels
