"""Request bodies, taken within bounds of size and time before anything behind sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Bodies", "Gone", "Patience", "Receive", "Refusal", "replay"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

HELD = 16
"""Most bytes of unfinished bodies held at one time, as a multiple of the largest body."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not passed on.

    Attributes:
        status: of the HTTP answer.
        message: one sentence for whoever asked.
        headers: further ones of the answer.
    """

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def contents(self) -> dict[str, Any]:
        """Return the JSON of the answer: the sentence, and once more where FastAPI's and Gradio's clients look."""
        part = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": self.message}
        return {"error": self.message, "detail": [part] if self.status == 422 else self.message}


class Gone(Exception):  # noqa: N818 - not a fault
    """The client went away before its body was whole."""


@dataclass(frozen=True)
class Patience:
    """How long a body may take, in seconds.

    Attributes:
        stall: without a byte arriving.
        whole: from the first to the last byte.
    """

    stall: float = 30.0
    whole: float = 120.0


class Bodies:
    """Reads request bodies whole, within bounds.

    Answers three attacks: a body too large (counted while it comes, as a length may be left out or be a lie), a body
    that never ends or comes a byte a minute to hold a connection, and many such bodies at once to fill the memory.

    Args:
        most: bytes of the largest body that is ever allowed.
        patience: see `Patience`.
    """

    def __init__(self, most: int, patience: Patience) -> None:
        self.patience = patience
        self._room = HELD * most

    async def take(self, receive: Receive, length: str | None, limit: int) -> bytes | Refusal:
        """Return a whole body, or why it is not taken.

        Args:
            receive: gives the parts.
            length: the Content-Length header, None where there is none.
            limit: most bytes.

        Raises:
            Gone: the client went away.
        """
        too_large = Refusal(413, f"more than {limit / 1e6:.0f} MB are not taken; save it smaller")
        if length is not None and not (length.isascii() and length.isdigit()):
            return Refusal(400, "the Content-Length header is not a number")
        if length is not None and int(length[:20]) > limit:
            return too_large
        body, end = bytearray(), time.monotonic() + self.patience.whole
        try:
            while True:
                left = min(self.patience.stall, end - time.monotonic())
                message = await asyncio.wait_for(receive(), max(left, 0.0))
                if message["type"] == "http.disconnect":
                    raise Gone
                part = message.get("body", b"")
                if len(body) + len(part) > limit:
                    return too_large
                if len(part) > self._room:
                    return Refusal(503, "the server is busy with other uploads; try again soon")
                self._room -= len(part)
                body += part
                if not message.get("more_body", False):
                    return bytes(body)
        except TimeoutError:
            return Refusal(408, "the upload took too long; check the connection and try again")
        finally:
            self._room += len(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body taken before, and then whatever comes, such as the disconnect."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
