"""What the guard does with bodies, cookies and answers, by real requests over a socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.guarding import JOIN, PICTURE, UPLOAD, client, guarded, raw
from wordbrush.web.gate.bodies import Bodies, Patience, Refusal
from wordbrush.web.gate.guard import HEALTH, OTHER_BODY
from wordbrush.web.gate.rules import Newcomers
from wordbrush.web.options import Limits
from wordbrush.web.state.keys import COOKIE, new_key


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with client(tmp_path_factory.mktemp("private")) as made:
        yield made


# ---- bodies


def test_a_length_too_large_is_refused_before_the_body_comes(http: httpx.Client) -> None:
    for path, limit in [(UPLOAD, 1_000_000 + 65536), (PICTURE, 1_000_000 + 65536), (JOIN, OTHER_BODY)]:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {limit + 1}\r\n\r\n"
        begin = time.monotonic()
        status, answer = raw(http, head)
        assert status == 413
        assert time.monotonic() - begin < 1
        assert b"MB are not taken" in answer
        assert http.post(path, content=bytes(limit)).json()["bytes"] == limit


def test_a_body_too_large_is_read_to_its_end_by_browsers(http: httpx.Client) -> None:
    """What is too large is thrown away as it comes, so that the client sees an answer, not a broken line."""
    answer = http.post(PICTURE, content=bytes(2_000_000))
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("more than 1 MB")


def test_a_body_without_a_length_is_counted(http: httpx.Client) -> None:
    def parts(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(65536)

    assert http.post(PICTURE, content=parts(16)).json()["bytes"] == 16 * 65536
    assert http.post(PICTURE, content=parts(40)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣"])
def test_a_length_that_is_none_is_refused(http: httpx.Client, length: str) -> None:
    head = f"POST {JOIN} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ".encode() + length.encode() + b"\r\n\r\n"
    assert raw(http, head.decode("latin-1"))[0] == 400


def test_a_body_that_stalls_or_drips_is_cut_off(tmp_path: Path) -> None:
    with client(tmp_path, Patience(stall=0.3, whole=1.0)) as http:
        head = f"POST {PICTURE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        begin = time.monotonic()
        assert raw(http, head, b"abc")[0] == 408
        assert 0.2 < time.monotonic() - begin < 3

        def drip() -> Iterator[bytes]:
            for _ in range(40):
                yield b"a"
                time.sleep(0.1)

        begin = time.monotonic()
        assert http.post(PICTURE, content=drip()).status_code == 408
        assert time.monotonic() - begin < 8


def test_a_client_that_goes_away_is_let_go(http: httpx.Client) -> None:
    place = urlsplit(str(http.base_url))
    for _ in range(3):
        with socket.create_connection((place.hostname or "", place.port or 0)) as line:
            line.sendall(f"POST {PICTURE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc".encode())
    assert http.get("/config").status_code == 200


def test_memory_of_unfinished_bodies_is_bounded() -> None:
    """Many slow uploads: what does not fit is told that the server is busy, and room comes back when they end."""

    async def check() -> None:
        bodies, hold = Bodies(1000, Patience(stall=5, whole=5)), asyncio.Event()

        async def slow(parts: AsyncIterator[dict[str, Any]]) -> bytes | Refusal:
            return await bodies.take(lambda: anext(parts), None, 1000)

        async def parts() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": bytes(1000), "more_body": True}
            await hold.wait()
            yield {"type": "http.request", "body": b"", "more_body": False}

        waiting = [asyncio.create_task(slow(parts())) for _ in range(16)]
        await asyncio.sleep(0.05)
        refused = await slow(parts())
        assert isinstance(refused, Refusal)
        assert refused.status == 503
        hold.set()
        assert [len(body) for body in await asyncio.gather(*waiting) if isinstance(body, bytes)] == [1000] * 16
        assert len(await slow(parts())) == 1000  # type: ignore[arg-type]

    asyncio.run(check())


# ---- the visitor's cookie


def attributes(answer: httpx.Response) -> dict[str, str]:
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == COOKIE
    key, *parts = rest.split("; ")
    pairs = {part.partition("=")[0]: part.partition("=")[2] for part in parts}
    return {"key": key, **pairs}


def test_the_page_makes_a_visitor_and_nothing_else_does(tmp_path: Path) -> None:
    with client(tmp_path) as http:
        others = [("HEAD", "/"), ("GET", "/config"), ("POST", JOIN), ("GET", "/wordbrush/x"), ("GET", HEALTH)]
        for method, path in others:
            assert "set-cookie" not in http.request(method, path).headers
        first = attributes(http.get("/"))
        key = first.pop("key")
        assert len(key) == 43
        assert first == {"Path": "/", "HttpOnly": "", "SameSite": "Strict"}
        assert "set-cookie" not in http.get("/").headers  # the client sends it now
        assert "set-cookie" not in http.get("/", headers={"Cookie": f"a=b; {COOKIE}={key}; c=d"}).headers


def test_a_key_that_is_not_ours_is_not_taken_over(http: httpx.Client) -> None:
    for wrong in (new_key(), "", "admin", "a" * 10_000):
        http.cookies.clear()
        given = attributes(http.get("/", headers={"Cookie": f"{COOKIE}={wrong}"}))["key"]
        assert given != wrong
    http.cookies.clear()


def test_the_cookie_is_secure_over_https(http: httpx.Client) -> None:
    http.cookies.clear()
    told = attributes(http.get("/", headers={"X-Forwarded-Proto": "https"}))
    assert "Secure" in told
    assert told["SameSite"] == "Strict"
    http.cookies.clear()


def test_a_framed_page_has_a_cookie_of_its_frame(tmp_path: Path) -> None:
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    with client(tmp_path, embedded=True) as http:
        answer = http.get("/", headers=framed)
        told = attributes(answer)
        told.pop("key")
        assert told == {"Path": "/", "HttpOnly": "", "SameSite": "None", "Secure": "", "Partitioned": ""}
        assert "frame-ancestors https:" in answer.headers["content-security-policy"]
        assert http.post(JOIN, headers=framed).status_code == 403


def test_a_link_on_another_site_costs_no_visitor(http: httpx.Client) -> None:
    """The browser hides a strict cookie from the first request; the page asks it to come again by itself."""
    http.cookies.clear()
    answer = http.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert 'http-equiv="refresh"' in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_a_flood_does_not_push_out_who_is_active(tmp_path: Path) -> None:
    guard = guarded(tmp_path, limits=Limits())
    active = guard.visitors.welcome(None)
    made = 0
    for number in range(10_000):
        address = f"192.0.2.{number % 200}"
        made += guard.newcomers.admit(address) and bool(guard.visitors.welcome(None, address))
    assert made == 60
    assert guard.visitors.of(active.key) is active


def test_newcomers_are_let_in_again_after_a_minute() -> None:
    now = [0.0]
    newcomers = Newcomers(most=2, seconds=60, clock=lambda: now[0])
    assert [newcomers.admit(address) for address in "abc"] == [True, True, False]
    now[0] = 59.0
    assert not newcomers.admit("d")
    now[0] = 60.0
    assert newcomers.admit("d")


def test_one_address_is_half_of_the_newcomers_at_most() -> None:
    newcomers = Newcomers(most=60, clock=lambda: 0.0)
    assert sum(newcomers.admit("192.0.2.1") for _ in range(100)) == 30
    assert sum(newcomers.admit("192.0.2.2") for _ in range(100)) == 30
    assert not newcomers.admit("192.0.2.3")


def test_the_newcomer_too_many_is_told_when_to_come_again(tmp_path: Path) -> None:
    with client(tmp_path, proxies=("127.0.0.1",)) as http:
        answers = []
        for number in range(61):
            http.cookies.clear()
            answers.append(http.get("/", headers={"X-Forwarded-For": f"192.0.2.{number}"}))
        assert [answer.status_code for answer in answers] == [200] * 60 + [503]
        assert answers[-1].headers["retry-after"] == "60"


def test_a_flood_from_one_address_lets_others_in(tmp_path: Path) -> None:
    with client(tmp_path, proxies=("127.0.0.1",)) as http:
        flood = []
        for _ in range(40):
            http.cookies.clear()
            flood.append(http.get("/", headers={"X-Forwarded-For": "2001:db8::1"}).status_code)
        assert flood == [200] * 30 + [503] * 10
        http.cookies.clear()
        assert http.get("/", headers={"X-Forwarded-For": "2001:db8::2"}).status_code == 503  # the same network
        assert http.get("/", headers={"X-Forwarded-For": "2001:db8:1::1"}).status_code == 200


# ---- headers


def test_every_answer_carries_the_headers(http: httpx.Client) -> None:
    for method, path in [("GET", "/"), ("GET", "/config"), ("GET", "/none"), ("OPTIONS", "/"), ("POST", JOIN),
                         ("GET", HEALTH), ("GET", "/assets/a.js")]:  # fmt: skip
        answer = http.request(method, path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in answer.headers["permissions-policy"]
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'self'", "connect-src 'self'", "object-src 'none'", "frame-ancestors 'none'",
                     "form-action 'none'", "base-uri 'self'", "img-src 'self' data: blob:"):  # fmt: skip
            assert rule in policy.split("; ")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cache-control"] == ("public" if path == "/assets/a.js" else "no-store")
        assert len(answer.headers.get_list("cache-control")) == 1


def test_web_sockets_are_closed(http: httpx.Client) -> None:
    head = "GET /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    status, _ = raw(http, head + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert status == 404
