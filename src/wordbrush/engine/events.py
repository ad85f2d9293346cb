"""Events: the driver's reports of its steps, to a callback that may also stop it.

The core draws no progress bars. The driver calls one callback with an `Event` after every step; a callback that raises
`Cancelled` stops the edit whose step it was, and the session it came from stays usable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wordbrush.diffusion.ask import Stage

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Callback", "Event", "Stage"]


@dataclass(frozen=True)
class Event:
    """One step is done.

    Attributes:
        stage: which stage.
        step: how many of its steps are done, 1 ... `steps`.
        steps: how many it has.
        preview: decodes the present estimate in the working size; costs a codec decode when called.
        item: which edit of the call, counted from 0.
    """

    stage: Stage
    step: int
    steps: int
    preview: Callable[[], Image.Image] | None = field(default=None, compare=False)
    item: int = field(default=0, compare=False)


Callback = Callable[[Event], None]
