"""The queue: nobody may fill it alone, who stops leaves it at once, and so does what nobody waits for any more.

What Gradio's own queue lacks is added here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.server_messages import ProcessCompletedMessage
from gradio.utils import LRUCache

from wordbrush.web.state.share import CALLER, Caller, Share, in_turn

if TYPE_CHECKING:
    from wordbrush.web.options import Limits

__all__ = ["ALONE_SECONDS", "DEVICE", "Attendance", "device_events", "leave_queue", "limit_queue"]

DEVICE = "device"
"""The queue of all work that runs a network."""

ALONE_SECONDS = 15.0
"""How long a job stays that nobody listens to: between asking for it and asking what became of it, or afterwards."""

LOOK_SECONDS = 1.0
"""How often jobs are looked for that nobody listens to."""

_ANSWERS = re.compile(r"/gradio_api/call/(?:v2/)?[^/]+/([^/]+)|/gradio_api/queue/data")


def limit_queue(page: gr.Blocks, limits: Limits, share: Share) -> None:
    """Bound what a page holds: its tabs, and the work that runs or waits, of all visitors together and of each one.

    Work beyond that is refused at once, and so is what does not belong into the queue. Gradio bounds what waits, for
    all visitors together; what this adds stands between it and the queue's own `push`.

    Args:
        page: whose queue.
        limits: `visitors` of them.
        share: who may have how much; it is told of the jobs of this page.
    """
    page.state_session_capacity = 4 * limits.visitors  # Gradio's own would be ten thousand
    page.queue(default_concurrency_limit=16, api_open=False)
    share.sources.append(lambda: map(_caller_of, device_events(page)))
    queue: Any = page._queue
    queue.pending_messages_per_session = LRUCache(20_000)  # of 2,000, a flood would push out who waits
    queue.sleep_when_free = 0.02  # it looks for work a thousand times a second otherwise
    queue.compute_analytics_summary = lambda records: {}  # figures for a page that is not served
    push, send = queue.push, queue.send_message

    async def fair_push(body: Any, request: Any, username: Any) -> Any:
        handler = page.fns.get(body.fn_index)
        if handler is None or handler.concurrency_id != DEVICE:
            return False, "this is not asked for by way of the queue", "error"
        refusal = share.refusal(request.scope[CALLER])
        if refusal is not None:
            return False, refusal, "queue_full"
        answer = await push(body, request, username)
        line = queue.event_queue_per_concurrency_id[DEVICE].queue
        line[:] = in_turn(line, map(_caller_of, _running(page)), _caller_of)
        return answer

    def send_if_there(event: Any, message: Any) -> None:
        if event.session_hash in queue.pending_messages_per_session:  # else the whole queue would end with an error
            send(event, message)

    queue.push, queue.send_message = fair_push, send_if_there


async def leave_queue(page: gr.Blocks, tab: str) -> int:
    """Take what a tab waits for out of the queue, as if it had ended with nothing to show.

    Args:
        page: whose queue.
        tab: a session hash.

    Returns:
        How many there were.
    """
    queue, left = page._queue, 0
    for event in [event for event in _waiting(page) if event.session_hash == tab]:
        await queue.remove_from_queue(event._id)
        unchanged = [{"__type__": "update"} for _ in event.fn.outputs]
        queue.send_message(event, ProcessCompletedMessage(output={"data": unchanged}, success=True))
        left += 1
    return left


def device_events(page: gr.Blocks) -> list[Any]:
    """Return the events of the page that run on the device or wait for it."""
    return [*_running(page), *_waiting(page)]


def _running(page: gr.Blocks) -> list[Any]:
    return [event for batch in page._queue.active_jobs for event in batch or () if event.concurrency_id == DEVICE]


def _waiting(page: gr.Blocks) -> list[Any]:
    line = page._queue.event_queue_per_concurrency_id.get(DEVICE)
    return list(line.queue) if line else []


def _caller_of(event: Any) -> Caller:
    caller: Caller = event.request.scope[CALLER]
    return caller


class Attendance:
    """Who listens to which jobs; a job that nobody listens to leaves the queue, or stops at its next step.

    Answers whoever asks for work and goes away: it would be done for nobody, and everybody else would wait.

    Args:
        page: whose queue.
    """

    def __init__(self, page: gr.Blocks) -> None:
        self._page = page
        self._listening, self._left = Counter[str](), dict[str, float]()

    @contextlib.contextmanager
    def listening(self, path: str, query: bytes) -> Iterator[None]:
        """Note that somebody listens to the jobs that a request for answers names, while the block runs."""
        found = _ANSWERS.fullmatch(path)
        if found is None:
            yield
            return
        name = found[1] or parse_qs(query.decode("latin-1")).get("session_hash", [""])[0]
        self._listening[name] += 1
        try:
            yield
        finally:
            self._listening[name] -= 1
            if not self._listening[name]:
                del self._listening[name]
                self._left[name] = time.monotonic()

    async def keep_looking(self) -> None:
        """Look for jobs that nobody listens to until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look(time.monotonic() - ALONE_SECONDS)

    async def look(self, since: float) -> None:
        """Give up the jobs to which nobody has listened since then, on the monotonic clock."""
        self._left = {name: left for name, left in self._left.items() if left > since}
        for event in device_events(self._page):
            names = event.session_hash, event._id
            heard = any(name in self._listening or name in self._left for name in names)
            if event.alive and not heard and event.enqueue_time <= since:
                await self._give_up(event)
        queue = self._page._queue
        for session in queue.pending_event_ids_session.keys() - queue.pending_messages_per_session.keys():
            del queue.pending_event_ids_session[session]

    async def _give_up(self, event: Any) -> None:
        queue = self._page._queue
        told = queue.pending_messages_per_session.get(event.session_hash)
        while told is not None and not told.empty():
            told.get_nowait()
        error = f"nobody asked for the answer within {ALONE_SECONDS:.0f} seconds; call again, and then ask at once"
        queue.send_message(event, ProcessCompletedMessage(output={"error": error}, success=False))
        await queue.clean_events(event_id=event._id)
