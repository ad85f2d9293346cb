"""Calls with inputs that there are none of, too few, too many, of another kind: a sentence, and the line stays open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.support.calls import FOX, META, TEXTS, upload
from tests.support.workbench import Running, Visit, running

API = "/gradio_api"
NONE = {"path": "/x", "meta": META}


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running(mcp=True) as workbench:
        yield workbench


@pytest.fixture
def http(served: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.address, trust_env=False, timeout=60) as made:
        yield made


WRONG: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("mask", {"guidance": 3}, ("unknown input 'guidance' of mask", "known are picture, query, reference", "threshold")),
    ("contrast", {"mask": NONE}, ("unknown input 'mask' of contrast", "known are picture")),
    ("edit", {"Picture": NONE, "prompt": "a"}, ("unknown input 'Picture' of edit",)),
    ("edit", {"": 1}, ("unknown input '' of edit",)),
    ("edit", {"session_hash": "a"}, ("unknown input 'session_hash'",)),
    ("edit", {"oauth_token": "a"}, ("unknown input 'oauth_token'",)),
    ("edit", {"k" * 5000: 1}, ("unknown input 'kkkk",)),
    ("edit", {"picture": None}, ("picture is missing",)),
    ("edit", {"query": None}, ("query is missing",)),
    ("edit", {"reference": ["a"]}, ("reference is not a text",)),
    ("edit", {"reference": {"path": "/etc/passwd", "meta": META}}, ("reference is not a text",)),
    ("edit", {"seed": {"a": {"b": [1]}}}, ("seed is not a number",)),
    ("edit", {"check_inversion": [[]]}, ("true or false",)),
    ("edit", {"mask": [NONE]}, ("mask is not a file", "upload the file")),
    ("edit", {"exclude": {**NONE, "base64": "AAAA"}}, ("unknown key 'base64' of exclude",)),
]


@pytest.mark.parametrize(("name", "values", "parts"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_inputs_are_told_in_a_sentence(
    served: Running, http: httpx.Client, name: str, values: dict[str, Any], parts: tuple[str, ...]
) -> None:
    before = served.rows
    answer = http.post(f"{API}/call/v2/{name}", json={"picture": NONE, **TEXTS, **values})
    assert answer.status_code == 422
    told = answer.json()["error"]
    assert all(part in told for part in parts), told
    assert len(told) < 400
    assert "\n" not in told
    assert (served.jobs, served.rows) == (0, before)


def test_inputs_left_out_are_named(http: httpx.Client) -> None:
    for body, part in (({}, "picture is missing"), ({"picture": NONE}, "query is missing")):
        answer = http.post(f"{API}/call/v2/edit", json=body)
        assert answer.status_code == 422
        assert part in answer.json()["error"]


def test_inputs_by_position_are_counted(served: Running, http: httpx.Client) -> None:
    fox = upload(served, FOX.read_bytes())
    right = [fox, "a penguin on snow", "a fox on snow", 0, "pocket", "fast", "--maps 1"]
    for data, part in (
        ([*right, 1], "data is a list of 7 values, and 8 came: picture, query, reference"), ([], "and 0 came"),
        (right[:-1], "and 6 came"), ({"picture": fox}, "that is missing"), (None, "that is missing"),
        ([*right[:3], "x", *right[4:]], "seed is not a number"), ([5, *right[1:]], "picture is not a file"),
    ):  # fmt: skip
        answer = http.post(f"{API}/call/contrast", json={"data": data})
        assert answer.status_code == 422
        assert part in answer.json()["error"]
    assert "unknown key 'query'" in http.post(f"{API}/call/contrast", json={"data": right, "query": 1}).json()["error"]
    number = http.post(f"{API}/call/contrast", json={"data": right}).raise_for_status().json()["event_id"]
    assert "event: complete" in http.get(f"{API}/call/contrast/{number}").text


def test_calls_that_there_are_none_of_are_told(http: httpx.Client) -> None:
    for path in ("call/v2/inpaint", "call/cut", "call/v2/Edit"):
        answer = http.post(f"{API}/{path}", json={"data": []})
        assert answer.status_code == 404
        assert "known are edit, mask, contrast" in answer.json()["error"]


def test_the_line_stays_open(served: Running) -> None:
    """One connection carries refusals of all kinds, and a good call after them."""
    fox = upload(served, FOX.read_bytes())
    with httpx.Client(base_url=served.address, trust_env=False, timeout=60) as http:
        ports = set()
        bodies: list[dict[str, Any]] = [{"steps": 2}, {"picture": 5, "query": "a"}, {}, {"query": [1]}, {"a": {}}]
        for body in bodies * 3:
            answer = http.post(f"{API}/call/v2/contrast", json=body)
            assert answer.status_code == 422
            assert answer.headers.get("connection") != "close"
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        body = {"picture": fox, **TEXTS, "switches": "--maps 1"}
        answer = http.post(f"{API}/call/v2/contrast", json=body).raise_for_status()
        ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(ports) == 1
        assert "event: complete" in http.get(f"{API}/call/contrast/{answer.json()['event_id']}").text


def test_tools_say_the_same(served: Running, http: httpx.Client) -> None:
    async def told(name: str, values: dict[str, Any]) -> str:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=60) as line,
            streamable_http_client(f"{served.address}{API}/mcp", http_client=line) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            result = await client.call_tool(name, values)
            assert result.isError
            return str(result.content[0].text)  # type: ignore[union-attr]

    for name, values in (
        ("contrast", {"picture": NONE, **TEXTS, "ratio": 1}), ("mask", {"picture": NONE, **TEXTS, "zz": 1, "aa": 2}),
        ("edit", {}), ("edit", {"picture": NONE}), ("edit", {"picture": NONE, **TEXTS, "seed": "1"}),
        ("edit", {"picture": NONE, **TEXTS, "steps": 1000}),
    ):  # fmt: skip
        by_http = http.post(f"{API}/call/v2/{name}", json=values).json()["error"]
        given = {**values, "picture": NONE["path"]} if "picture" in values else values
        assert asyncio.run(told(name, given)) == by_http


def test_what_the_page_does_not_send_is_refused(served: Running) -> None:
    with Visit.to(served.address) as me:
        me.upload(FOX)
        cut, find = me._index("threshold", "input"), me._index("find", "click")
        data = [me.stage, *me.controls(**TEXTS)]
        good = {"data": data, "fn_index": cut, "session_hash": "tab"}
        assert me.client.post(f"{API}/run/predict", json=good).status_code == 200
        nested: Any = 1
        for _ in range(60):
            nested = [nested]
        for path, changes in (
            ("run/predict", {"data": data[:-1]}), ("run/predict", {"data": [*data, 1]}), ("run/predict", {"data": "x"}),
            ("run/predict", {"fn_index": 10**6}), ("run/predict", {"fn_index": True}),
            ("run/predict", {"fn_index": find}), ("queue/join", {}),
            ("queue/join", {"fn_index": find, "session_hash": None}),
            ("queue/join", {"fn_index": find, "session_hash": "a b"}), ("run/predict", {"batched": True}),
            ("queue/join", {"fn_index": find, "trigger_id": "x"}), ("run/predict", {"event_data": nested}),
            ("run/predict", {"event_data": NONE}), ("run/predict", {"data": [{"a": [NONE]}, *data[1:]]}),
            ("run/predict", {"event_data": list(range(30_000))}),
        ):  # fmt: skip
            answer = me.client.post(f"{API}/{path}", json={**good, **changes})
            assert answer.status_code == 422, (path, changes)
            assert len(answer.json()["error"]) < 200
        assert served.jobs == 0


def test_values_of_another_kind_on_the_page_are_told_there(served: Running) -> None:
    with Visit.to(served.address) as me:
        me.upload(FOX)
        index = me._index("threshold", "input")
        controls = me.controls(**TEXTS)
        for stage in ("x", [1], 7, {"picture": "x"}, {"picture": {"id": [1]}}, {"strokes": 5, "picture": 1}):
            body = json.dumps({"data": [stage, *controls], "fn_index": index, "session_hash": "tab"})
            answer = me.client.post(f"{API}/run/predict", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 200
            assert "failed" in answer.text
            assert "Traceback" not in answer.text
