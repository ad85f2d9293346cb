"""The rules that look at who asks, by which name, and from where; each says which attack it answers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wordbrush.errors import SettingsError
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.gate.hosts import name_of
from wordbrush.web.options import is_loopback
from wordbrush.web.state.keys import COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from wordbrush.web.options import Options

__all__ = ["Head", "Newcomers", "host_rule", "login_rule", "names_of", "origin_rule"]


class Head:
    """One request: what the rules look at."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw: bytes = scope.get("raw_path") or self.path.encode("utf-8", "surrogateescape")
        self._headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name, text = key.decode("latin-1").lower(), value.decode("latin-1")
            self._headers[name] = f"{self._headers[name]}, {text}" if name in self._headers else text

    def header(self, name: str) -> str | None:
        """Return a header, or None where it is missing; given twice, it is joined and will match nothing."""
        return self._headers.get(name)

    @property
    def visitor_key(self) -> str | None:
        """The key in the visitor's cookie."""
        for part in (self.header("cookie") or "").replace(",", ";").split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and name == COOKIE:
                return value
        return None

    @property
    def encrypted(self) -> bool:
        """Whether the browser spoke HTTPS, to us or to any proxy before us. Whoever lies spoils their own cookie."""
        return bool(self.scope.get("wordbrush.encrypted")) or self.scope.get("scheme") == "https"

    @property
    def from_elsewhere(self) -> bool:
        """Whether the browser says that a page of another origin sent the request."""
        return self.header("sec-fetch-site") in {"cross-site", "same-site"}


class Newcomers:
    """Counts new visitors.

    Answers a flood of requests for the page, each of which would make a visitor and push out the one idle longest. No
    more than `most` a minute are made, fewer than the registry holds by default: who did anything within the last
    minute is not pushed out by a flood. An address has half of them at most, so that a flood from one address keeps
    nobody else out; one from many keeps newcomers out while it lasts.
    """

    def __init__(self, most: int = 60, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._times: deque[tuple[float, str]] = deque(maxlen=most)
        self._seconds, self._clock = seconds, clock
        self._each = max(most // 2, 1)

    def admit(self, address: str) -> bool:
        """Count one more visitor of an address; False where there were too many."""
        now = self._clock()
        while self._times and now - self._times[0][0] >= self._seconds:
            self._times.popleft()
        near = sum(other == address for _, other in self._times)
        if len(self._times) == self._times.maxlen or near >= self._each:
            return False
        self._times.append((now, address))
        return True


def host_rule(head: Head, names: frozenset[str] | None) -> Refusal | None:
    """Answers DNS rebinding: another site's name that is made to point here, whose scripts could then read all.

    Such a request carries that name in its Host header. Where any name is taken, it must still be a name.
    """
    name = name_of(head.header("host") or "")
    if name is not None and (names is None or name in names):
        return None
    return Refusal(421, "this server does not go by that name; its operator can allow it with --allow-host")


def login_rule(head: Head, auth: tuple[str, str] | None) -> Refusal | None:
    """Answers strangers: nothing is served without the user and password, compared in constant time."""
    if auth is None:
        return None
    kind, _, coded = (head.header("authorization") or "").partition(" ")
    with contextlib.suppress(ValueError, binascii.Error):
        answer = base64.b64decode(coded.strip(), validate=True)
        # Digests are of one length, so that the time tells nothing of the secret's.
        pair = [hashlib.sha256(text).digest() for text in (answer, ":".join(auth).encode())]
        if hmac.compare_digest(*pair) and kind.lower() == "basic":
            return None
    challenge = (b"www-authenticate", b'Basic realm="wordbrush", charset="UTF-8"')
    return Refusal(401, "a user and a password are needed", (challenge,))


def origin_rule(head: Head, *, embedded: bool) -> Refusal | None:
    """Answers cross-site requests: another site's page in the visitor's browser that acts or reads here.

    Only following a link to the page itself is open to other sites, and framing it where that is allowed. Nothing is
    shared across origins, so preflights are refused, too.
    """
    refusal = Refusal(403, "requests from other sites are not answered")
    if head.method == "OPTIONS":
        return refusal
    origin = head.header("origin")
    if origin is not None:
        place = urlsplit(origin).netloc.lower()
        if not place or place != (head.header("host") or "").lower():
            return refusal
    if not head.from_elsewhere:
        return None
    ways = {None, "document", "iframe"} if embedded else {None, "document"}
    visits = head.path == "/" and head.method in {"GET", "HEAD"}
    return None if visits and head.header("sec-fetch-dest") in ways else refusal


def names_of(options: Options) -> frozenset[str] | None:
    """Return the names the server goes by, or None where it takes any.

    Raises:
        SettingsError: one of the names is none.
    """
    if options.hosts:
        return frozenset(_named(name) for name in options.hosts)
    return frozenset({"localhost", "127.0.0.1", "[::1]", _named(options.host)}) if is_loopback(options.host) else None


def _named(host: str) -> str:
    name = name_of(f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host)
    if name is None:
        raise SettingsError(f"--allow-host {host[:60]!r} is no name of a host, as browsers send it")
    return name
