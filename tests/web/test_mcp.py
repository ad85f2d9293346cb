"""The API as MCP tools: only the three calls, the very same files, and nothing fetched."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, TextContent

from tests.support.calls import FOX, TEXTS, ask, upload
from tests.support.workbench import Running, running
from wordbrush.record.provenance import read_provenance
from wordbrush.web.api.calls import SORRY
from wordbrush.web.api.mcp import PLACE

DATA = "data:image/png;base64," + base64.b64encode(FOX.read_bytes()).decode()


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running(mcp=True) as workbench:
        yield workbench


def talk(served: Running, what: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """Do something in a session with the server."""

    async def session() -> Any:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=120) as http,
            streamable_http_client(served.address + PLACE, http_client=http) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            return await what(client)

    return asyncio.run(session())


def use(served: Running, name: str, **arguments: Any) -> CallToolResult:
    result: CallToolResult = talk(served, lambda client: client.call_tool(name, arguments))
    return result


def words(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


def pictures(result: CallToolResult) -> list[bytes]:
    return [base64.b64decode(part.data) for part in result.content if isinstance(part, ImageContent)]


def test_only_the_calls_are_tools(served: Running) -> None:
    tools = {tool.name: tool for tool in talk(served, lambda client: client.list_tools()).tools}
    assert list(tools) == ["edit", "mask", "contrast"]
    schema = tools["edit"].inputSchema
    assert schema["required"] == ["picture", "query"]
    assert schema["additionalProperties"] is False
    assert all(part["description"] for part in schema["properties"].values())
    assert schema["properties"]["ratio"]["maximum"] == 1.0
    assert "upload" in schema["properties"]["picture"]["description"]
    assert not any("http" in (tool.description or "") for tool in tools.values())


def test_a_tool_gives_the_files_of_the_call(served: Running) -> None:
    settings = {**TEXTS, "steps": 5, "switches": "--maps 2"}
    fox = upload(served, FOX.read_bytes())
    good, (edit, mask, report) = ask(served, "edit", picture=fox, **settings)
    assert good
    result = use(served, "edit", picture=fox["path"], **settings)
    assert not result.isError, words(result)
    assert pictures(result) == [Path(edit["path"]).read_bytes(), Path(mask["path"]).read_bytes()]
    told = json.loads(words(result))
    assert result.structuredContent == told
    assert told["report"]["sha256"] == report["sha256"]
    assert told["report"]["command"] == report["command"]
    assert "provenance" not in told["report"]
    assert told["files"].keys() == {"edit.png", "mask.png"}
    fetched = httpx.get(told["files"]["edit.png"], trust_env=False).raise_for_status().content
    assert hashlib.sha256(fetched).hexdigest() == report["sha256"]
    assert read_provenance(pictures(result)[0]).query == TEXTS["query"]


def test_small_pictures_travel_in_the_call(served: Running) -> None:
    mask = use(served, "mask", picture=DATA, **TEXTS, switches="--maps 2")
    assert not mask.isError, words(mask)
    given = "data:image/png;base64," + base64.b64encode(pictures(mask)[0]).decode()
    result = use(served, "edit", picture=DATA, query=TEXTS["query"], mask=given, steps=3)
    assert not result.isError, words(result)
    assert read_provenance(pictures(result)[0]).mask["source"] == "user"
    spread = use(served, "contrast", picture=DATA, **TEXTS, switches="--maps 1", seed=None)
    assert json.loads(words(spread))["report"]["evaluations"] == {"contrast": 4}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"picture": "http://127.0.0.1:9/fox.png"}, "no URL inputs; upload the file"),
    ({"picture": "https://example.com/fox.png"}, "no URL inputs; upload the file"),
    ({"picture": "file:///etc/passwd"}, "no URL inputs; upload the file"),
    ({"picture": "/etc/passwd"}, "no such upload"),
    ({"picture": str(FOX)}, "no such upload"),
    ({"picture": "data:text/html;base64,AAAA"}, "does not start with"),
    ({"picture": "data:image/png;base64,!"}, "does not hold base64"),
    ({"picture": "data:image/png;base64,AAAA"}, "not a picture format"),
    ({"picture": 5}, "a file is given as a text"),
    ({}, "picture is missing"),
    ({"picture": DATA, "query": None}, "query is missing"),
    ({"picture": DATA, "steps": 5}, "unknown input 'steps'"),
    ({"picture": DATA, "seed": "x"}, "seed is not a number"),
]


@pytest.mark.parametrize(("arguments", "part"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_comes_back_as_one_sentence(served: Running, arguments: dict[str, Any], part: str) -> None:
    before = served.rows
    result = use(served, "mask", **{**TEXTS, **arguments})
    assert result.isError
    assert part in words(result)
    assert "\n" not in words(result)
    assert served.rows == before


def test_unknown_tools_and_other_errors_are_told_without_details(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = use(served, "find", **TEXTS)
    assert unknown.isError
    assert "known are edit, mask, contrast" in words(unknown)

    def full(bench: object, answer: object) -> list[str]:
        raise OSError("no space left in /secret/place")

    monkeypatch.setattr("wordbrush.web.api.mcp.keep", full)
    result = use(served, "mask", picture=DATA, **TEXTS, switches="--maps 1")
    assert result.isError
    assert words(result) == SORRY


def test_progress_is_told_to_who_asks(served: Running) -> None:
    told: list[tuple[float, str | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    asked = {"picture": DATA, **TEXTS, "steps": 20}
    talk(served, lambda client: client.call_tool("edit", asked, progress_callback=heard))
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
    assert any("Contrast the texts" in (message or "") for _, message in told)


def test_a_full_line_says_busy_at_once(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    options = served.workbench.options
    full = dataclasses.replace(options, limits=dataclasses.replace(options.limits, queue=0))
    monkeypatch.setattr(served.workbench, "options", full)
    result = use(served, "mask", picture=DATA, **TEXTS)
    assert result.isError
    assert "busy" in words(result)


def test_leaving_stops_the_work(served: Running) -> None:
    long = {"picture": DATA, **TEXTS, "steps": 200, "switches": "--maps 64 --strength 0.5,0.6,0.7,0.8,0.9"}
    before = served.rows

    async def leave(client: ClientSession) -> None:
        call = asyncio.create_task(client.call_tool("edit", long))
        while served.rows == before:
            await asyncio.sleep(0.05)
        call.cancel()

    talk(served, leave)
    for _ in range(20):
        rows = served.rows
        served.workbench.models.device.submit(lambda: None).result(60)
        if served.rows == rows:
            break
    assert served.rows - before < 640


def test_there_are_no_sessions_to_listen_to(served: Running) -> None:
    for method in ("GET", "DELETE"):
        answer = httpx.request(method, served.address + PLACE, trust_env=False)
        assert answer.status_code == 405
    host = {"host": "evil.example", "accept": "application/json, text/event-stream"}
    answer = httpx.post(served.address + PLACE, json={}, headers=host, trust_env=False)
    assert answer.status_code == 421


def test_without_the_option_there_are_no_tools() -> None:
    with running() as workbench:
        assert httpx.post(workbench.address + PLACE, json={}, trust_env=False).status_code == 404
