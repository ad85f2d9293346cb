"""Work in the device's one thread: it reports every step, and can be stopped between two steps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wordbrush.errors import Cancelled
from wordbrush.web.state.png import data_address, png_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from wordbrush.engine.events import Event

__all__ = ["LABELS", "Done", "Work", "run_work"]

T = TypeVar("T")

LABELS = {
    "encode": "Encode the picture",
    "contrast": "Contrast the texts",
    "invert": "Invert into the noise",
    "check": "Check the inversion",
    "decode": "Paint under the new text",
    "compose": "Compose the pixels",
}
PREVIEW_SHARE = 8
"""A preview is decoded when this many times its own cost went by since the last one."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """The last thing `run_work` yields: what the work returned."""

    value: T


@dataclass(eq=False)
class Work:
    """The progress of running work: a title, how far each stage is, and a look at the picture that grows.

    Attributes:
        put: takes each state, from any thread.
        stop: set to stop the work.
        previews: whether to decode looks at the picture on the way.
    """

    put: Callable[[dict[str, Any]], None]
    stop: threading.Event = field(default_factory=threading.Event)
    previews: bool = True
    title: str = ""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    preview: str | None = None
    _due: float = 0.0

    def start(self, title: str) -> None:
        """Begin a new round of stages, such as another seed.

        Raises:
            Cancelled: it was stopped.
        """
        self.check()
        self.title, self.stages = title, {}
        self.tell()

    def check(self) -> None:
        """Raise Cancelled where the work was stopped."""
        if self.stop.is_set():
            raise Cancelled("stopped")

    def on_event(self, event: Event) -> None:
        """Take an event of the core; this is the callback of an edit.

        Raises:
            Cancelled: it was stopped.
        """
        self.check()
        self.stages[event.stage] = {"label": LABELS[event.stage], "done": event.step, "total": event.steps}
        if event.stage == "decode" and self.previews and event.preview is not None and time.monotonic() >= self._due:
            begin = time.monotonic()
            image = event.preview()
            image.thumbnail((256, 256))
            self.preview = data_address(png_of(image))
            end = time.monotonic()
            self._due = end + PREVIEW_SHARE * (end - begin)
        self.tell()

    def tell(self) -> None:
        """Report the present state."""
        stages = [dict(stage) for stage in self.stages.values()]
        self.put({"title": self.title, "stages": stages, "preview": self.preview, "note": "", "state": "running"})


async def run_work(
    device: Executor,
    function: Callable[[Work], T],
    stop: threading.Event,
    *,
    on_end: Callable[[], None] = lambda: None,
    previews: bool = True,
) -> AsyncGenerator[dict[str, Any] | Done[T], None]:
    """Run a function in the device's thread; yields its newest state now and then, and last what it returned.

    Closing the iterator stops the work at its next step.

    Args:
        device: runs one thing at a time.
        function: takes the work, which it tells its states and asks whether to stop.
        stop: set to stop the work, also before it begins.
        on_end: called when the work has ended, which may be after the iterator is closed.
        previews: see `Work`.

    Raises:
        WordbrushError: whatever the function raised; `Cancelled` where it was stopped.
    """
    loop, updates = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def put(state: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(updates.put_nowait, state)

    work = Work(put, stop, previews)

    def run() -> T:
        try:
            work.check()
            return function(work)
        finally:
            put(None)

    future = loop.run_in_executor(device, run)
    future.add_done_callback(lambda _: on_end())
    try:
        ended = False
        while not ended:
            state, ended = await _newest(updates)
            if state is not None:
                yield state
            if not ended:
                await asyncio.sleep(0.05)
        yield Done(await future)
    finally:
        stop.set()
        future.cancel()


async def _newest(updates: asyncio.Queue[dict[str, Any] | None]) -> tuple[dict[str, Any] | None, bool]:
    """Wait for updates; return the newest state, if one came, and whether the end came, which is None."""
    news = [await updates.get()]
    while not updates.empty():
        news.append(updates.get_nowait())
    states = [state for state in news if state is not None]
    return (states[-1] if states else None), news[-1] is None  # nothing comes after the end
