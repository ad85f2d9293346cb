"""The guard: stands in front of every request, the page's, the API's, and our own.

One small function for each rule; each says which attack it answers. What passes
is handed on with its body whole and its answer dressed in the headers that tell browsers what the page may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from wordbrush.web.gate.addresses import UPLOADS, Addresses, is_unsafe
from wordbrush.web.gate.bodies import Bodies, Gone, Patience, Receive, Refusal, replay
from wordbrush.web.gate.headers import dress_of, with_headers
from wordbrush.web.gate.hosts import bucket_of
from wordbrush.web.gate.log import SORRY, fault
from wordbrush.web.gate.proxies import Proxies
from wordbrush.web.gate.rules import Head, Newcomers, host_rule, login_rule, names_of, origin_rule
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.state.share import CALLER, Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wordbrush.web.options import Options
    from wordbrush.web.state.visitors import Visitors

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Examine = Callable[[str, Caller, bytes], Refusal | None]
    Watch = Callable[[str, bytes], contextlib.AbstractContextManager[None]]

__all__ = ["HEALTH", "Guard"]

HEALTH = "/wordbrush/health"
"""Answered to everybody, as it says nothing but that the server runs."""

MULTIPART = 64 << 10
"""What a form may add to the file in it."""

OTHER_BODY = 8 << 20
"""Largest body that is not an upload: strokes travel in them as PNG."""

DRAIN_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that a browser reads the answer and not a reset."""

_WITH_BODY = frozenset({"POST", "DELETE"})
_PLAIN = frozenset({"/", "/config"})
_EXPECTED = (HTTPException, ClientDisconnect)
_BOUNCE = b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>wordbrush</title>'


class Guard:
    """The outermost ASGI application.

    Args:
        app: what is guarded.
        options: what the operator decided.
        visitors: who is known; the page is what makes a new one.
        files: the private folder; files below its `results` are handed out.
        patience: how long bodies may take.
        examine: says of a body, by its address and who sent it, why it is not passed on, or None.
        watch: gives a block within which the request with this path and query is answered.
    """

    def __init__(
        self,
        app: App,
        *,
        options: Options,
        visitors: Visitors,
        files: Path,
        patience: Patience | None = None,
        examine: Examine | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.app, self.options, self.visitors = app, options, visitors
        self.addresses = Addresses(files, mcp=options.mcp)
        self.newcomers, self.proxies = Newcomers(), Proxies(options.proxies)
        self.upload_bytes = options.limits.file_bytes + MULTIPART
        self.bodies = Bodies(max(self.upload_bytes, OTHER_BODY), patience or Patience())
        self.names = names_of(options)
        self.dress = dress_of(options)
        self.examine, self.watch = examine, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            settled = self.proxies.settle(scope)
            if isinstance(settled, Refusal):
                await self._refuse(Head(scope), settled, receive, send)
            else:
                await self._http(Head(settled), receive, send)
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
        caller = head.scope[CALLER] = self.caller(head)
        if head.path in _PLAIN:
            head.scope["query_string"] = b""  # Gradio takes other pages and saved states of itself from there
        if head.method in _WITH_BODY:
            body = await self._body(head, caller, receive, send)
            if body is None:
                return
            receive = replay(body, receive)
        elif head.path == "/" and head.method == "GET":
            cookie = self.welcome(head, caller.address)
            if isinstance(cookie, Refusal):
                await self._refuse(head, cookie, receive, send)
                return
            send = with_headers(send, cookie)
        await self._serve(head, receive, send)

    async def _body(self, head: Head, caller: Caller, receive: Receive, send: Send) -> bytes | None:
        """Return the body of a request, or None where it was refused or the client went away."""
        try:
            body = await self.bodies.take(receive, head.header("content-length"), self.limit(head))
        except Gone:
            return None
        if isinstance(body, Refusal):
            await self._refuse(head, body, receive, send)
            return None
        refusal = self.examine(head.path, caller, body) if self.examine and head.method == "POST" else None
        if refusal is not None:
            await self._refuse(head, refusal, receive, send, whole=True)
            return None
        return body

    async def _serve(self, head: Head, receive: Receive, send: Send) -> None:
        """Hand a request on; what goes wrong is told in one line of the log, and the connection stays usable.

        Answers whoever fills the log: the server below would print a traceback with what the request held.
        """
        begun, more = False, True

        async def noted(message: Message) -> None:
            nonlocal begun, more
            begun, more = True, message.get("more_body", message["type"] == "http.response.start")
            await send(message)

        watch = self.watch(head.path, head.scope["query_string"]) if self.watch else contextlib.nullcontext()
        try:
            with watch:
                await self.app(head.scope, receive, self._dressed(head, noted))
        except Exception as error:
            if not isinstance(error, _EXPECTED) and not isinstance(error.__cause__, _EXPECTED):
                fault("a request", error)
            if not begun:
                await self._refuse(head, Refusal(500, SORRY), receive, send, whole=True)
            elif more:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

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

    def caller(self, head: Head) -> Caller:
        """Return who sent a request: the visitor where the cookie's key is one that was given out, and the address.

        Answers cookies that anybody makes up to be counted as somebody else each time.
        """
        known = self.visitors.of(head.visitor_key)
        client = head.scope.get("client") or ("", 0)
        return Caller(bucket_of(client[0]), known.key if known else None)

    def welcome(self, head: Head, address: str) -> Refusal | list[tuple[bytes, bytes]]:
        """Return the headers that give whoever opens the page a visitor's cookie, or none where they have one.

        Answers reading what others made: scripts cannot read the cookie, other sites' requests do not carry it, and a
        key that is not ours is never taken over. As a link on another site hides the cookie once, the page then asks
        the browser to come again by itself; else every such link would cost the visitor all work so far.
        """
        if self.visitors.of(head.visitor_key) is not None:
            return []
        if head.from_elsewhere and not self.options.embedded:
            return Refusal(200, "")
        if not self.newcomers.admit(address):
            busy = "too many visitors came within a minute; try again in a minute"
            return Refusal(503, busy, ((b"retry-after", b"60"),))
        parts = [f"{COOKIE}={self.visitors.welcome(None, address).key}", "Path=/", "HttpOnly"]
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
        return with_headers(send, ours)

    async def _refuse(
        self, head: Head, refusal: Refusal, receive: Receive, send: Send, *, whole: bool = False
    ) -> None:
        """Answer by a refusal, and read what the client still sends for a little while, unless its body was `whole`."""
        kind, body = b"application/json", json.dumps(refusal.contents()).encode()
        if refusal.status == 200:
            kind, body = b"text/html; charset=utf-8", _BOUNCE
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *refusal.headers]
        waits = not whole and head.method not in {"GET", "HEAD"} and head.header("expect") is None
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
