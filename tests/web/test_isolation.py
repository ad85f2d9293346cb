"""Visitors never see each other's pictures, and nobody takes more than a share."""

from __future__ import annotations

import concurrent.futures
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support import hostile
from tests.support.workbench import Running, Visit, running
from wordbrush.picture.samples import samples_folder
from wordbrush.web.options import Limits

FOX = samples_folder() / "fox.png"
TEXTS = {"query": "a penguin on snow", "reference": "a fox on snow", "flags": "--maps 1"}
EMPTY: dict[str, Any] = {"versions": [], "left": None, "right": None}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


def painted(me: Visit, **changes: Any) -> list[Any]:
    """Paint quickly; returns what the page's components hold then."""
    controls = me.controls(**{**TEXTS, "steps": 4, **changes})
    return me.call("paint", "click", [me.stage, EMPTY, *controls])


def test_what_is_mine_is_served_to_me_alone(server: Running) -> None:
    with Visit.to(server.address) as me, Visit.to(server.address) as other, httpx.Client(trust_env=False) as nobody:
        facts = me.upload(FOX)
        card = painted(me)[2]["versions"][0]
        mask = f"/wordbrush/mask/{facts['id']}/mask.png"
        addresses = [facts["url"], card["url"], card["thumb"], mask, "/wordbrush/versions.zip"]
        for address in addresses:
            assert me.client.get(address).status_code == 200, address
            assert other.client.get(address).status_code == 404, address
            assert nobody.get(server.address + address).status_code == 403, address
        never = other.client.get("/wordbrush/picture/never-was")
        theirs = other.client.get(facts["url"])
        assert (never.status_code, never.content) == (theirs.status_code, theirs.content)
        taken = other.client.post(f"/wordbrush/mask/{facts['id']}", content=FOX.read_bytes())
        assert taken.status_code == 404


def test_events_reach_nothing_of_others(server: Running) -> None:
    with Visit.to(server.address) as me, Visit.to(server.address) as other:
        me.upload(FOX)
        versions = painted(me)[2]
        theirs = versions["versions"][0]["id"]
        outputs = other.call("paint", "click", [me.stage, versions, *other.controls(**TEXTS)])
        assert outputs[1]["state"] == "failed"
        assert "closed" in outputs[1]["note"]
        restored = other.call("versions", "restore", [me.stage, versions], {"id": theirs})
        assert "dropped" in restored[-5]["note"]
        other.call("versions", "remove", [versions], {"id": theirs})
        assert me.client.get(versions["versions"][0]["url"]).status_code == 200


def test_a_cookie_that_was_not_given_is_not_taken(server: Running) -> None:
    with httpx.Client(base_url=server.address, trust_env=False, cookies={"wordbrush_visitor": "mine"}) as client:
        answer = client.get("/")
        assert "wordbrush_visitor" in answer.headers["set-cookie"]
        assert "=mine" not in answer.headers["set-cookie"]
        assert client.get("/wordbrush/versions.zip", headers={"Cookie": "wordbrush_visitor=mine"}).status_code == 403


def test_files_and_pictures_above_the_limits_are_refused_before_they_are_decoded(server: Running) -> None:
    with Visit.to(server.address) as me:
        large = me.client.post("/wordbrush/picture", content=b"\0" * 26_000_000)
        assert large.status_code == 413
        # 60 megapixels told by the header alone: a decoder would only find that there is no more.
        many = me.client.post("/wordbrush/picture", content=hostile.png(10_000, 6_000))
        assert many.status_code == 422
        assert "pixels" in many.json()["error"]
        # A real one, small as a file.
        buffer = io.BytesIO()
        Image.new("1", (10_000, 6_000)).save(buffer, "PNG")
        real = me.client.post("/wordbrush/picture", content=buffer.getvalue())
        assert real.status_code == 422
        assert "Traceback" not in real.text


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "a \u202efox\u202c on \u200bsnow\ufeff",
        "ثعلب على الثلج",
        "${alert(1)} {{value}} `x`",
    ],
)
def test_texts_of_any_kind_are_texts(server: Running, text: str) -> None:
    with Visit.to(server.address) as me:
        me.upload(FOX, name=f"{text[:20]}.png")
        outputs = painted(me, query=text)
        assert outputs[1]["state"] == "done"
        assert text in outputs[2]["versions"][0]["title"]
        assert "<script>" not in outputs[4]
        assert "onerror=" not in outputs[4].replace("onerror=alert(1)&gt;", "")


def test_a_prompt_of_a_hundred_thousand_characters_is_refused_in_a_sentence(server: Running) -> None:
    with Visit.to(server.address) as me:
        me.upload(FOX)
        told = painted(me, query="fox " * 25_000)[1]
        assert told["state"] == "failed"
        assert "2000" in told["note"].replace(",", "")


def test_the_twenty_first_job_is_told_at_once_that_the_server_is_busy() -> None:
    with (
        running(Limits(in_flight=3), proxies=("127.0.0.1",)) as server,
        concurrent.futures.ThreadPoolExecutor(24) as pool,
    ):
        visits = [Visit.to(server.address, f"v{n}-", f"192.0.2.{n}") for n in range(7)]
        guests = [visit.__enter__() for visit in visits]
        try:
            for guest in guests:
                guest.upload(FOX)
            jobs = [pool.submit(_long_job, guests[n % 7], n) for n in range(20)]
            _until(lambda: server.jobs == 20)
            begin = time.perf_counter()
            with pytest.raises(httpx.HTTPStatusError) as refused:
                painted(guests[6])
            assert time.perf_counter() - begin < 1
            assert refused.value.response.status_code == 503
            assert "Busy: 20 jobs" in refused.value.response.text
            _until(lambda: _stopped(server, jobs), 60)
        finally:
            for visit in visits:
                visit.__exit__(None, None, None)


def test_nobody_fills_the_queue_alone() -> None:
    with (
        running(Limits(in_flight=2)) as server,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
        Visit.to(server.address) as me,
        Visit.to(server.address) as other,
    ):
        me.upload(FOX)
        other.upload(FOX)
        jobs = [pool.submit(_long_job, me, n) for n in range(2)]
        _until(lambda: server.jobs == 2)
        with pytest.raises(httpx.HTTPStatusError) as refused:
            painted(me)
        assert "2 of your own jobs" in refused.value.response.text
        _until(lambda: _stopped(server, jobs), 60)
        assert painted(me)[1]["state"] == "done"
        assert painted(other)[1]["state"] == "done"


def _stopped(server: Running, jobs: list[Any]) -> bool:
    """Stop the long jobs, those that just began, too; whether all have ended."""
    for visitor in list(server.workbench.visitors._visitors.values()):
        if not visitor.versions:
            visitor.stop()
    return all(job.done() for job in jobs)


def _long_job(me: Visit, number: int) -> Any:
    controls = me.controls(**{**TEXTS, "steps": 200, "seeds": str(number)})
    return me.call("paint", "click", [me.stage, EMPTY, *controls])


def _until(true: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.05)


def test_idle_visitors_are_dropped_with_all_they_had() -> None:
    with running(Limits(idle_seconds=1.5)) as server, Visit.to(server.address) as me:
        facts = me.upload(FOX)
        assert me.client.get(facts["url"]).status_code == 200
        time.sleep(2)
        assert me.client.get(facts["url"]).status_code == 403
        told = me.call("threshold", "input", [me.stage, *me.controls(**TEXTS)])[1]
        assert "reload" in told["note"]


def test_the_private_folder_is_empty_while_serving_and_gone_afterwards(tmp_path: Path) -> None:
    with running() as server, Visit.to(server.address) as me:
        folder = server.workbench.files
        me.upload(FOX)
        painted(me)
        assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert not folder.exists()
