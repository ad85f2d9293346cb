"""Events: how the core tells what it is doing, and how it is stopped.

The core draws no progress bars. It calls one callback with an `Event` after every step; a callback that raises
`Cancelled` stops the work there, and the session it came from stays usable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Callback", "Event", "Stage"]

Stage = Literal["encode", "contrast", "invert", "check", "decode", "compose"]
"""encode: picture and texts; contrast: maps; invert: steps up; check: the reconstruction measured; decode: steps down;
compose: latents back to pixels."""


@dataclass(frozen=True)
class Event:
    """One step is done.

    Attributes:
        stage: which stage.
        step: how many of its steps are done, 1 ... `steps`.
        steps: how many it has.
        preview: decodes the present estimate of the first item, in the working size; costs a codec decode when called.
    """

    stage: Stage
    step: int
    steps: int
    preview: Callable[[], Image.Image] | None = field(default=None, compare=False)


Callback = Callable[[Event], None]
