"""Who may add a job: made-up cookies count for nothing, one address leaves room for others, and turns are fair."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.calls import FOX, TEXTS, upload
from tests.support.workbench import Running, running
from wordbrush.web.gate import queue as gate_queue
from wordbrush.web.gate.hosts import bucket_of
from wordbrush.web.options import Limits
from wordbrush.web.state.keys import COOKIE, new_key
from wordbrush.web.state.share import Caller, Share, in_turn
from wordbrush.web.state.visitors import Visitors

LONG = {"steps": 200, "switches": "--maps 64 --strength 0.5,0.6,0.7,0.8,0.9 --solver ddim --fixed-point 20"}
API = "/gradio_api"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(gate_queue, "ALONE_SECONDS", 600.0)  # nobody listens to these jobs
    with running(proxies=("127.0.0.1",)) as workbench:
        yield workbench
        workbench.page._queue.event_queue_per_concurrency_id["device"].queue.clear()


def asked(served: Running, body: dict[str, Any], address: str, cookie: str | None = None) -> int:
    headers = {"X-Forwarded-For": address, **({"Cookie": cookie} if cookie else {})}
    answer = httpx.post(f"{served.address}{API}/call/v2/edit", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200 or "Busy: " in answer.text
    return answer.status_code


def newcomer(served: Running, address: str) -> str:
    answer = httpx.get(served.address, headers={"X-Forwarded-For": address}, trust_env=False, timeout=60)
    return f"{COOKIE}={answer.cookies[COOKIE]}"


def test_cookies_that_anybody_makes_up_count_for_nothing(served: Running) -> None:
    body = {"picture": upload(served, FOX.read_bytes()), **TEXTS, **LONG}
    made_up = [f"{COOKIE}={new_key()}" for _ in range(12)] + [f"x=y; {COOKIE}=", f"{COOKIE}={'a' * 3000}"]
    made_up += [f"{COOKIE}={n}; {COOKIE}={n + 1}" for n in range(10)]
    with ThreadPoolExecutor(8) as pool:
        told = collections.Counter(pool.map(lambda cookie: asked(served, body, "192.0.2.1", cookie), made_up))
    assert told == {200: 3, 503: len(made_up) - 3}
    assert asked(served, body, "192.0.2.1") == 503  # without a cookie it is the same address
    assert asked(served, body, "192.0.2.1", newcomer(served, "192.0.2.1")) == 200  # a visitor of the page is let in
    assert asked(served, body, "192.0.2.2") == 200


def test_one_address_with_many_cookies_leaves_room_for_others(served: Running) -> None:
    body = {"picture": upload(served, FOX.read_bytes()), **TEXTS, **LONG}
    cookies = [newcomer(served, "192.0.2.1") for _ in range(20)]
    greedy = [asked(served, body, "192.0.2.1", cookie) for cookie in cookies[:5] for _ in range(4)]
    assert greedy.count(200) == 10 + 1  # three each up to the half of the queue, and one of who had none yet
    crowd = [asked(served, body, "192.0.2.1", cookie) for cookie in cookies[5:]]
    assert crowd.count(200) == 4  # fifteen of twenty in all
    other = newcomer(served, "2001:db8::1")
    assert [asked(served, body, "2001:db8::1", other) for _ in range(4)] == [200] * 3 + [503]
    line = served.page._queue.event_queue_per_concurrency_id["device"].queue
    addresses = [event.request.scope["wordbrush.caller"].address for event in line]
    assert addresses[0] == "2001:db8::/64"  # it came last, and is next


def test_shares_by_hand() -> None:
    limits = Limits(queue=8, in_flight=2)
    share, present = Share(lambda: limits), list[Caller]()
    share.sources.append(lambda: present)
    office = [Caller("office", f"visitor {n}") for n in range(20)]
    for one in office:
        if share.refusal(one) is None:
            present.append(one)
    assert len(present) == 6
    assert "6 jobs from your address" in str(share.refusal(office[-1]))
    home = Caller("home")
    present += [home, home]
    assert "Busy: 8 jobs" in str(share.refusal(Caller("third")))
    present.pop(0)
    assert "2 of your own" in str(share.refusal(home))
    assert share.refusal(Caller("third")) is None


def test_a_small_queue_is_for_whoever_comes() -> None:
    share, present = Share(lambda: Limits(queue=3, in_flight=3)), [Caller("a", "x"), Caller("a", "x")]
    share.sources.append(lambda: present)
    assert share.refusal(Caller("a", "x")) is None


def test_turns_go_round_by_address() -> None:
    waiting = [Caller("a", "1"), Caller("a", "2"), Caller("a", "3"), Caller("b", "4"), Caller("c", "5"), Caller("b")]
    names = [one.address + (one.visitor or "-") for one in in_turn(waiting, [Caller("c")], lambda one: one)]
    assert names == ["a1", "b4", "a2", "c5", "b-", "a3"]
    assert in_turn([], [Caller("a")], lambda one: one) == []


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"), ("::1", "::/64"), ("", ""), ("unix", "unix"),
    ],
)  # fmt: skip
def test_addresses_of_one_connection_are_one(address: str, bucket: str) -> None:
    assert bucket_of(address) == bucket


def test_the_crowd_of_one_address_pushes_out_its_own() -> None:
    visitors = Visitors(Limits(visitors=4))
    honest = visitors.welcome(None, "home")
    honest.versions["v"] = object()  # type: ignore[assignment] # it holds something
    crowd = []
    for _ in range(30):
        crowd.append(visitors.welcome(None, "flood"))
        crowd[-1].versions["v"] = object()  # type: ignore[assignment]
    assert visitors.of(honest.key) is honest
    assert sum(visitors.of(one.key) is not None for one in crowd) == 3
