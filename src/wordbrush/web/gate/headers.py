"""The headers of answers, which tell browsers what the page may do and who may have what it says."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wordbrush.web.options import Options

    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["content_policy", "dress_of", "with_headers"]


def with_headers(send: Send, ours: Iterable[tuple[bytes, bytes]]) -> Send:
    """Return a `send` that puts these headers on an answer, in the place of its own; those that share it go."""
    headers = list(ours)
    names = {name for name, _ in headers} - {b"set-cookie"}

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            theirs = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.lower() not in names and not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*theirs, *headers]}
        await send(message)

    return dressed


def content_policy(*, embedded: bool) -> str:
    """Return the Content-Security-Policy: where the page may load from, and who may frame it.

    Answers text that finds its way into the page as a script: it could load nothing and send nothing anywhere else.
    Gradio builds parts of its page by scripts in the page and from text, hence the two `unsafe` words; it loads nothing
    from elsewhere.
    """
    rules = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'none'",
        "frame-src": "'none'",
        "object-src": "'none'",
        "base-uri": "'self'",  # the page has a base element
        "form-action": "'none'",
        "frame-ancestors": "https:" if embedded else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def dress_of(options: Options) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer: browsers guess no types, send no referrer, frame and share nothing."""
    headers = {
        "content-security-policy": content_policy(embedded=options.embedded),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]
