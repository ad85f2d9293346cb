"""The guard: stands in front of every request, the page's, the API's, and our own.

One small function for each rule; each says which attack it answers. What passes
is handed on with its body whole and its answer dressed in the headers that tell browsers what the page may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from wordbrush.web.gate.addresses import UPLOADS, Addresses, is_unsafe
from wordbrush.web.gate.bodies import Bodies, Gone, Patience, Receive, Refusal, replay
from wordbrush.web.gate.rules import Head, Newcomers, host_rule, login_rule, names_of, origin_rule
from wordbrush.web.state.keys import COOKIE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wordbrush.web.options import Options
    from wordbrush.web.state.visitors import Visitors

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["HEALTH", "Guard", "content_policy"]

HEALTH = "/wordbrush/health"
"""Answered to everybody, as it says nothing but that the server runs."""

MULTIPART = 64 << 10
"""What a form may add to the file in it."""

OTHER_BODY = 8 << 20
"""Largest body that is not an upload: strokes travel in them as PNG."""

DRAIN_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that a browser reads the answer and not a reset."""

_WITH_BODY = frozenset({"POST", "DELETE"})
_BOUNCE = b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>wordbrush</title>'


class Guard:
    """The outermost ASGI application.

    Args:
        app: what is guarded.
        options: what the operator decided.
        visitors: who is known; the page is what makes a new one.
        files: the private folder; files below its `results` are handed out.
        patience: how long bodies may take.
    """

    def __init__(
        self, app: App, *, options: Options, visitors: Visitors, files: Path, patience: Patience | None = None
    ) -> None:
        self.app, self.options, self.visitors = app, options, visitors
        self.addresses = Addresses(files, mcp=options.mcp)
        self.newcomers = Newcomers()
        self.upload_bytes = options.limits.file_bytes + MULTIPART
        self.bodies = Bodies(max(self.upload_bytes, OTHER_BODY), patience or Patience())
        self.names = names_of(options)
        self.dress = [(name.encode(), value.encode()) for name, value in _headers(options).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(Head(scope), receive, send)
        else:  # nothing here speaks over web sockets
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, head: Head, receive: Receive, send: Send) -> None:
        if head.path == HEALTH and head.method in {"GET", "HEAD"}:
            await self.app(head.scope, receive, self._dressed(head, send))
            return
        refusal = next(filter(None, self.refusals(head)), None)
        if refusal is not None:
            await self._refuse(head, refusal, receive, send)
            return
        if head.method in _WITH_BODY:
            try:
                body = await self.bodies.take(receive, head.header("content-length"), self.limit(head))
            except Gone:
                return
            if isinstance(body, Refusal):
                await self._refuse(head, body, receive, send)
                return
            receive = replay(body, receive)
        elif head.path == "/" and head.method == "GET":
            cookie = self.welcome(head)
            if isinstance(cookie, Refusal):
                await self._refuse(head, cookie, receive, send)
                return
            send = _with_headers(send, cookie)
        await self.app(head.scope, receive, self._dressed(head, send))

    # ---- the rules

    def refusals(self, head: Head) -> Iterator[Refusal | None]:
        """Ask the rules, in order."""
        yield host_rule(head, self.names)
        yield login_rule(head, self.options.auth)
        yield origin_rule(head, embedded=self.options.embedded)
        yield self.route(head)

    def route(self, head: Head) -> Refusal | None:
        """Answers path traversal and everything that Gradio serves but nobody here needs; see `addresses`."""
        if not is_unsafe(head.path, head.raw) and self.addresses.allow(head.method, head.path):
            return None
        return Refusal(404, "there is no such thing, or it is not yours, or it was dropped")

    def limit(self, head: Head) -> int:
        """Return the most bytes this request's body may have; answers files that fill memory or disk."""
        return self.upload_bytes if UPLOADS.fullmatch(head.path) else OTHER_BODY

    def welcome(self, head: Head) -> Refusal | list[tuple[bytes, bytes]]:
        """Return the headers that give whoever opens the page a visitor's cookie, or none where they have one.

        Answers reading what others made: scripts cannot read the cookie, other sites' requests do not carry it, and a
        key that is not ours is never taken over. As a link on another site hides the cookie once, the page then asks
        the browser to come again by itself; else every such link would cost the visitor all work so far.
        """
        if self.visitors.of(head.visitor_key) is not None:
            return []
        if head.from_elsewhere and not self.options.embedded:
            return Refusal(200, "")
        if not self.newcomers.admit():
            busy = "too many visitors came within a minute; try again in a minute"
            return Refusal(503, busy, ((b"retry-after", b"60"),))
        parts = [f"{COOKIE}={self.visitors.welcome(None).key}", "Path=/", "HttpOnly"]
        if self.options.embedded:
            parts += ["SameSite=None", "Secure", "Partitioned"]
        else:
            parts += ["SameSite=Strict", *(["Secure"] if head.encrypted else [])]
        return [(b"set-cookie", "; ".join(parts).encode())]

    # ---- answers

    def _dressed(self, head: Head, send: Send) -> Send:
        """Put our headers on an answer, in the place of its own; those that share it with other sites are left out."""
        fixed = head.path.startswith(("/assets/", "/static/"))  # programs and fonts: the same for everybody
        ours = self.dress if fixed else [*self.dress, (b"cache-control", b"no-store")]
        return _with_headers(send, ours)

    async def _refuse(self, head: Head, refusal: Refusal, receive: Receive, send: Send) -> None:
        """Answer by a refusal, and read what the client still sends for a little while."""
        kind, body = b"application/json", json.dumps({"error": refusal.message}).encode()
        if refusal.status == 200:
            kind, body = b"text/html; charset=utf-8", _BOUNCE
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *refusal.headers]
        waits = head.method not in {"GET", "HEAD"} and head.header("expect") is None
        if waits:
            headers.append((b"connection", b"close"))
        send = self._dressed(head, send)
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head.method == "HEAD" else body, "more_body": waits})
        if waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drain(receive, 2 * self.upload_bytes), DRAIN_SECONDS)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive, most: int) -> None:
    more = True
    while more and most > 0:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        most -= len(message.get("body", b""))


def _with_headers(send: Send, ours: Iterable[tuple[bytes, bytes]]) -> Send:
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


def _headers(options: Options) -> dict[str, str]:
    """Return the headers of every answer: browsers guess no types, send no referrer, frame and share nothing."""
    return {
        "content-security-policy": content_policy(embedded=options.embedded),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
