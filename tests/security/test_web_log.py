"""The log of the workbench: whatever is sent, it stays short and never holds what a request held."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.calls import FOX, META, TEXTS
from tests.support.process import Process, started

MARK = "Zq7secretZq7"
LONG = MARK * 200_000
API = "/gradio_api"

pytestmark = pytest.mark.slow  # a process of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with started(tmp_path_factory.mktemp("log"), "--mcp") as process:
        yield process


@pytest.fixture
def http(server: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, trust_env=False, timeout=60) as made:
        yield made


FILES: list[Any] = [
    {"path": "/" + LONG, "meta": META}, {"path": f"data:image/png;base64,{LONG}", "meta": META},
    {"path": "/x", "url": LONG, "meta": META}, {"path": "/x", "orig_name": LONG, "meta": META},
    {"path": "/x", "mime_type": LONG, "meta": META}, {"path": "/x", "meta": {"_type": LONG}},
    {"path": "/x", "meta": LONG}, {"path": [LONG], "meta": META}, {"path": {"path": LONG, "meta": META}, "meta": META},
    {"path": "/x", "size": MARK, "meta": META}, {"path": "/x", "is_stream": MARK, "meta": META}, [LONG],
    [[{"path": MARK}]], {MARK: MARK}, MARK, 5, True, 1e300, [], {}, f"{MARK}\0", {"path": f"/x/{MARK}\0", "meta": META},
    {"path": f"/{MARK}\ud800", "meta": META}, {"path": "/x", "meta": {**META, "more": LONG}},
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(FILES)))
def test_nothing_in_the_place_of_a_file_reaches_the_log(server: Process, http: httpx.Client, place: int) -> None:
    given, before = FILES[place], server.log
    for name in ("picture", "mask"):
        values = {"picture": {"path": "/x", "meta": META}, **TEXTS, name: given}
        body = json.dumps(values).encode()
        answer = http.post(f"{API}/call/v2/edit", content=body, headers={"Content-Type": "application/json"})
        told = answer.json().get("error")
        if answer.status_code == 200:
            told = http.get(f"{API}/call/edit/{answer.json()['event_id']}").text
        else:
            assert answer.status_code == 422
        assert "upload the file" in told or "known are path" in told
        assert len(told) < 500
    assert server.log == before


BODIES: list[tuple[str, bytes]] = [
    (f"{API}/{place}", body)
    for place in ("call/v2/edit", "call/edit", "queue/join", "run/predict", "cancel", "reset", "mcp")
    for body in (
        b"", b"{", b"[]", b"null", f'"{MARK}"'.encode(), b"[" * 100_000, b'{"data":' * 5000 + b"1" + b"}" * 5000,
        b'{"data": [' + b"0," * 1_000_000 + b"0]}", b"\xff\xfe" + MARK.encode(), json.dumps({"data": MARK}).encode(),
        json.dumps({"data": [LONG], "fn_index": 3, "session_hash": "a"}).encode(), b'{"seed": ' + b"9" * 6000 + b"}",
        json.dumps({"data": [], "fn_index": LONG, "session_hash": [MARK]}).encode(),
        json.dumps({"data": [], "fn_index": 10**30, "session_hash": MARK, "event_data": {MARK: MARK}}).encode(),
        json.dumps({"session_hash": MARK, "fn_index": MARK, "event_id": [MARK]}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": MARK, "method": "tools/call", "params": MARK}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": MARK, "params": {MARK: LONG}}).encode(),
        json.dumps({MARK: LONG}).encode(), json.dumps({"picture": None, **TEXTS, MARK: 1}).encode(),
    )
]  # fmt: skip
KINDS = ("application/json", f"text/{MARK}", f"multipart/form-data; boundary={MARK}", "multipart/form-data")


def test_no_body_reaches_the_log(server: Process, http: httpx.Client) -> None:
    for path, body in BODIES:
        for kind in KINDS[: 2 if len(body) > 100_000 else 4]:
            heads = {"Content-Type": kind, "Accept": "application/json, text/event-stream"}
            answer = http.post(path, content=body, headers=heads)
            assert 400 <= answer.status_code < 500 or "mcp" in path, (path, body[:60], kind, answer.text[:200])
            assert http.get("/wordbrush/health").json() == {"ok": True}
    check(server)


def check(server: Process) -> None:
    log = server.log
    assert MARK not in log
    assert "Traceback" not in log
    assert "base64" not in log
    assert len(log) < 10_000, log[:3000]
    assert all(len(line) < 320 for line in log.splitlines())


def test_uploads_that_are_none_do_not_reach_the_log(server: Process, http: httpx.Client) -> None:
    path, many = f"{API}/upload", MARK.encode() * 1000
    for content, kind in (
        (many, "multipart/form-data"), (many, f"multipart/form-data; boundary={MARK}"), (many, "text/plain"),
        (f"--{MARK}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{MARK * 600}\"\r\n\r\nx\r\n".encode(),
         f"multipart/form-data; boundary={MARK}"),
        (f"--{MARK}\r\n{MARK}: {MARK}\r\n\r\nx\r\n--{MARK}--".encode(), f"multipart/form-data; boundary={MARK}"),
        (b"", f"multipart/form-data; boundary={'b' * 5000}"),
    ):  # fmt: skip
        answer = http.post(path, content=content, headers={"Content-Type": kind})
        assert answer.status_code < 500 or answer.json()["error"], answer.text
    for name in ("a" * 5000, "../../x.png", f"{MARK}\r\nX: y", "\0", "", "." * 300):
        files = {"files": (name, FOX.read_bytes())}
        assert http.post(path, files=files).status_code < 500
    for _ in range(20):
        http.post("/wordbrush/picture", content=many, headers={"X-Wordbrush-Name": MARK * 100, "Cookie": MARK})
    check(server)


def test_requests_that_are_none_do_not_reach_the_log(server: Process, http: httpx.Client) -> None:
    place = urlsplit(server.address)
    for line in (
        f"GET /{MARK} HTTP/9.9\r\n\r\n", f"{MARK}\r\n\r\n", f"GET / HTTP/1.1\r\nHost: localhost\r\n{MARK}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {MARK * 9000}\r\n\r\n", "\0\1\2" + MARK,
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {MARK}\r\n\r\n",
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}\r\n",
        f"GET /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {MARK}\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ):  # fmt: skip
        for _ in range(3):
            with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as wire:
                wire.sendall(line.encode())
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(65536):
                    pass
    for path in (
        f"/?page={MARK}", f"/?deep_link={MARK}", f"/config?deep_link={MARK}", f"{API}/queue/data?session_hash={MARK}",
        f"{API}/queue/data", f"{API}/call/edit/{MARK}", f"/theme.css?{MARK}",
        f"/wordbrush/sample/{MARK}", f"/wordbrush/picture/{MARK}", f"{API}/info?serialize={MARK}", f"/static/{MARK}",
        f"/assets/{MARK}", f"{API}/heartbeat/..{MARK}", f"{API}/startup-events?{MARK}", f"/assets/{'a' * 5000}",
    ):  # fmt: skip
        for _ in range(6):
            assert http.get(path).status_code < 500, path
    check(server)


def test_tools_do_not_reach_the_log(server: Process, http: httpx.Client) -> None:
    accept = {"Accept": "application/json, text/event-stream"}
    for params in (
        {"name": LONG, "arguments": {}}, {"name": "edit", "arguments": {"picture": "data:image/png;base64," + LONG}},
        {"name": "edit", "arguments": {"picture": "/" + LONG, "query": "a"}}, {"name": "edit", "arguments": MARK},
        {"name": "edit", "arguments": {MARK: MARK}}, {"name": [MARK]}, MARK, {},
    ):  # fmt: skip
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        assert http.post(f"{API}/mcp", json=call, headers=accept).status_code < 500
    check(server)
