"""The queue: nobody may fill it alone, and who stops leaves it at once. What Gradio's own queue lacks is added here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.server_messages import ProcessCompletedMessage

from wordbrush.web.state.keys import COOKIE

if TYPE_CHECKING:
    from wordbrush.web.options import Limits

__all__ = ["DEVICE", "device_events", "leave_queue", "limit_queue"]

DEVICE = "device"
"""The queue of all work that runs a network."""


def limit_queue(page: gr.Blocks, limits: Limits) -> None:
    """Bound what a page holds: its tabs, and the work that runs or waits, of all visitors together and of each one.

    Work beyond that is refused at once. Gradio bounds what waits, for all visitors together; what this adds stands
    between it and the queue's own `push`.

    Args:
        page: whose queue.
        limits: `queue`, `in_flight` and `visitors` of them.
    """
    page.state_session_capacity = 4 * limits.visitors  # Gradio's own would be ten thousand
    page.queue(default_concurrency_limit=16, api_open=False)
    queue = page._queue
    push = queue.push

    async def fair_push(body: Any, request: Any, username: Any) -> Any:
        handler = page.fns.get(body.fn_index)
        if handler is not None and handler.concurrency_id == DEVICE:
            present = device_events(page)
            if len(present) >= limits.queue:
                return False, f"Busy: {len(present)} jobs run or wait. Try again in a minute.", "queue_full"
            mine = sum(_owner(event.request) == _owner(request) for event in present)
            if mine >= limits.in_flight:
                return False, f"Busy: {mine} of your own jobs run or wait.", "queue_full"
        return await push(body, request, username)

    queue.push = fair_push  # type: ignore[method-assign]


async def leave_queue(page: gr.Blocks, tab: str) -> int:
    """Take what a tab waits for out of the queue, as if it had ended with nothing to show.

    Args:
        page: whose queue.
        tab: a session hash.

    Returns:
        How many there were.
    """
    queue, left = page._queue, 0
    for line in list(queue.event_queue_per_concurrency_id.values()):
        for event in [event for event in line.queue if event.session_hash == tab and event.concurrency_id == DEVICE]:
            await queue.remove_from_queue(event._id)
            unchanged = [{"__type__": "update"} for _ in event.fn.outputs]
            queue.send_message(event, ProcessCompletedMessage(output={"data": unchanged}, success=True))
            left += 1
    return left


def device_events(page: gr.Blocks) -> list[Any]:
    """Return the events of the page that run on the device or wait for it."""
    running = [event for batch in page._queue.active_jobs if batch for event in batch]
    waiting = [event for line in page._queue.event_queue_per_concurrency_id.values() for event in line.queue]
    return [event for event in (*running, *waiting) if event.concurrency_id == DEVICE]


def _owner(request: Any) -> str:
    """Return whose request it is: the cookie's key, else the client's address."""
    client = getattr(request, "client", None)
    return request.cookies.get(COOKIE) or (client.host if client else "")
