"""Jobs that nobody waits for any more leave the queue, or stop at their next step; their place is free at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.calls import FOX, TEXTS, upload
from tests.support.workbench import Running, Visit, running
from wordbrush.web.gate import queue as gate_queue
from wordbrush.web.options import Limits

LONG = {"steps": 200, "switches": "--maps 64 --strength 0.5,0.6,0.7,0.8,0.9 --solver ddim --fixed-point 20"}
EMPTY: dict[str, Any] = {"versions": [], "left": None, "right": None}
API = "/gradio_api"


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running(Limits(in_flight=4), mcp=True) as workbench:
        yield workbench


def until(true: Callable[[], object], seconds: float) -> float:
    """Wait for something; return the seconds it took."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, "it does not come about"
        time.sleep(0.02)
    return time.monotonic() - begin


def wire(served: Running, head: str, body: bytes = b"") -> socket.socket:
    """Send a request and leave its answer unread."""
    place = urlsplit(served.address)
    line = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
    line.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode())
    line.sendall(b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n" + body)
    return line


def call(served: Running) -> str:
    """Ask for a long edit, and return the number of the call."""
    body = {"picture": upload(served, FOX.read_bytes()), **TEXTS, **LONG}
    answer = httpx.post(f"{served.address}{API}/call/v2/edit", json=body, trust_env=False, timeout=30)
    return str(answer.raise_for_status().json()["event_id"])


def idle(served: Running) -> bool:
    """Whether nothing runs or waits, and the device does nothing either."""
    return served.jobs == 0 and served.workbench.models.device._work_queue.empty()


def test_who_goes_away_while_waiting_or_running_frees_the_place(served: Running) -> None:
    before = served.rows
    lines = [wire(served, f"GET {API}/call/edit/{call(served)}") for _ in range(4)]
    until(lambda: served.rows > before, 60)
    assert served.jobs == 4
    lines[2].close()  # waits
    assert until(lambda: served.jobs == 3, 5) < 5
    lines[0].close()  # runs
    until(lambda: served.jobs == 2, 10)
    for line in lines:
        line.close()
    until(lambda: idle(served), 20)
    rows = served.rows
    time.sleep(1)
    assert served.rows == rows  # nothing runs on


def test_calls_that_nobody_listens_to_are_given_up(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_queue, "ALONE_SECONDS", 3.0)
    before = served.rows
    numbers = [call(served) for _ in range(4)]  # and never asks what became of them
    until(lambda: served.rows > before, 60)
    until(lambda: idle(served), 20)
    for number in (numbers[0], numbers[-1]):
        told = httpx.get(f"{served.address}{API}/call/edit/{number}", trust_env=False, timeout=20).text
        assert "event: error" in told
        assert "nobody asked for the answer within 3 seconds" in told


def test_a_call_that_somebody_listens_to_stays(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_queue, "ALONE_SECONDS", 1.0)
    first, second = (wire(served, f"GET {API}/call/edit/{call(served)}") for _ in range(2))
    time.sleep(4)
    assert served.jobs == 2  # one of them waits, and its listener too
    first.close()
    second.close()
    until(lambda: idle(served), 20)


def test_a_page_that_is_closed_frees_its_place(served: Running) -> None:
    with Visit.to(served.address) as me:
        me.upload(FOX)
        index = me._index("paint", "click")
        controls = me.controls(**TEXTS, steps=200, flags="--maps 64 --solver ddim --fixed-point 20")
        lines = []
        before = served.rows
        for tab in ("one", "two"):
            body = {"data": [me.stage, EMPTY, *controls], "fn_index": index, "session_hash": tab}
            me.client.post(f"{API}/queue/join", json=body).raise_for_status()
            lines.append(wire(served, f"GET {API}/queue/data?session_hash={tab}"))
        until(lambda: served.rows > before, 60)
        assert served.jobs == 2
        for line in lines:
            line.close()
        until(lambda: idle(served), 20)


def test_a_tool_call_that_is_left_frees_its_place(served: Running) -> None:
    picture = upload(served, FOX.read_bytes())["path"]
    params = {"name": "edit", "arguments": {"picture": picture, **TEXTS, **LONG}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    before = served.rows
    lines = [wire(served, f"POST {API}/mcp", body) for _ in range(3)]
    until(lambda: served.rows > before, 60)

    def present() -> int:
        return sum(len(list(source())) for source in served.workbench.share.sources)

    until(lambda: present() == 3, 10)
    lines[1].close()
    until(lambda: present() == 2, 5)
    lines[0].close()
    lines[2].close()
    until(lambda: present() == 0, 10)
    until(lambda: idle(served), 20)
    rows = served.rows
    time.sleep(1)
    assert served.rows == rows


def test_a_storm_of_calls_that_are_left_keeps_nobody_waiting(served: Running) -> None:
    body = json.dumps({"picture": upload(served, FOX.read_bytes()), **TEXTS, **LONG}).encode()
    for _ in range(60):
        line = wire(served, f"POST {API}/call/v2/edit", body)
        number = line.recv(65536).rpartition(b'"event_id":"')[2][:32].decode()
        line.close()
        if number.isalnum():
            wire(served, f"GET {API}/call/edit/{number}").close()
    with Visit.to(served.address) as me:
        me.upload(FOX)
        begin = time.monotonic()
        outputs = me.call("find", "click", [me.stage, *me.controls(**TEXTS, flags="--maps 1")])
        assert outputs[1]["state"] == "done"
        assert time.monotonic() - begin < 20
