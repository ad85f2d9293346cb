"""A workbench running in the test's process, and visitors that speak to it over HTTP as the page does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.browser import served
from wordbrush.web.gate.queue import device_events
from wordbrush.web.options import Limits, Options
from wordbrush.web.page.controls import CONTROLS
from wordbrush.web.server import build_app
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.workbench import Workbench

__all__ = ["Running", "Visit", "free_port", "running"]


@dataclass(frozen=True)
class Running:
    """A server: its address, and the workbench inside, for looking at what the page cannot see."""

    address: str
    workbench: Workbench
    page: Any = field(repr=False)

    @property
    def jobs(self) -> int:
        """How much work runs on the device or waits for it."""
        return len(device_events(self.page))

    @property
    def rows(self) -> int:
        """Network evaluations of the default model so far."""
        return self.workbench.models.editor(self.workbench.models.names[0]).driver.rows


def free_port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(limits: Limits | None = None, **options: Any) -> Iterator[Running]:
    """Serve a workbench on a free loopback port while the block runs."""
    app = build_app(Options(limits=limits or Limits(), **options))
    with served(app) as address:
        yield Running(address, app.state.workbench, app.state.page)


@dataclass
class Visit:
    """One visitor: a cookie, a tab, and the events of the page by the names of their handlers."""

    address: str
    client: httpx.Client
    config: dict[str, Any]
    tab: str
    stage: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def to(cls, address: str, tab: str = "tab", client_address: str | None = None) -> Iterator[Visit]:
        """Open the page, from another address where the server believes this machine to be a proxy."""
        headers = {"X-Forwarded-For": client_address} if client_address else {}
        with httpx.Client(base_url=address, timeout=120, trust_env=False, headers=headers) as client:
            client.get("/").raise_for_status()
            config = client.get("/config").raise_for_status().json()
            yield cls(address, client, config, tab)

    @property
    def key(self) -> str:
        """The cookie's value."""
        return self.client.cookies[COOKIE]

    def upload(self, file: Path, name: str | None = None) -> dict[str, Any]:
        """Upload a picture and put it on the stage."""
        headers = {"X-Wordbrush-Name": quote(name or file.name)}
        answer = self.client.post("/wordbrush/picture", content=file.read_bytes(), headers=headers)
        answer.raise_for_status()
        facts: dict[str, Any] = answer.json()
        strokes = {"include": None, "exclude": None}
        self.stage = {"picture": facts, "heat": None, "mask": None, "strokes": strokes, "strokes_key": 0, "samples": []}
        return facts

    def controls(self, **values: Any) -> list[Any]:
        """Return the controls as the page has them at first, some set otherwise."""
        parts = {part["props"].get("elem_id"): part["props"].get("value") for part in self.config["components"]}
        ids = {"query": "to", "reference": "from"}
        given = {name: parts.get(ids.get(name, name.replace("_", "-"))) for name in CONTROLS}
        assert not values.keys() - given.keys(), values.keys() - given.keys()
        return [(given | values)[name] for name in CONTROLS]

    def call(self, target: str, event: str, data: list[Any], event_data: Any = None) -> list[Any]:
        """Trigger an event of a component, by its element id, and return the last output."""
        found = list(self.stream(target, event, data, event_data))
        assert found, "the event gave nothing"
        return found[-1]

    def stream(self, target: str, event: str, data: list[Any], event_data: Any = None) -> Iterator[list[Any]]:
        """Trigger an event and yield its outputs as they come.

        Raises:
            httpx.HTTPStatusError: the server refused it, 503 where it is busy.
        """
        index = self._index(target, event)
        tab = f"{self.tab}{time.monotonic_ns()}"  # one stream of answers an event
        body = {"data": data, "event_data": event_data, "fn_index": index, "session_hash": tab, "trigger_id": None}
        if not self.config["dependencies"][self._position(index)]["queue"]:
            answer = self.client.post("/gradio_api/run/predict", json=body).raise_for_status().json()
            yield answer["data"]
            return
        self.client.post("/gradio_api/queue/join", json=body).raise_for_status()
        outputs: list[Any] = []
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") == "process_generating":
                    outputs = _patched(outputs, message["output"]["data"])
                    yield outputs
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(message["output"].get("error"))
                    if message["output"].get("data"):
                        outputs = _patched(outputs, message["output"]["data"])
                        yield outputs
                    return

    def _position(self, index: int) -> int:
        return next(i for i, d in enumerate(self.config["dependencies"]) if d["id"] == index)

    def _index(self, target: str, event: str) -> int:
        ids = {part["id"]: part["props"].get("elem_id") for part in self.config["components"]}
        for dependency in self.config["dependencies"]:
            if any(ids.get(id_) == target and name == event for id_, name in dependency["targets"]):
                index: int = dependency["id"]
                return index
        raise AssertionError(f"the page has no event {event} of {target}")


def _patched(before: list[Any], data: list[Any]) -> list[Any]:
    """Apply what a generator sends: whole outputs at first, then lists of changes."""
    if not before:
        return list(data)
    return [_apply(old, new) for old, new in zip(before, data, strict=True)]


def _apply(old: Any, changes: Any) -> Any:
    if not isinstance(changes, list) or not all(isinstance(c, list) and len(c) == 3 for c in changes):
        return changes
    for action, path, value in changes:
        old = _changed(old, action, path, value)
    return old


def _changed(old: Any, action: str, path: list[Any], value: Any) -> Any:
    if not path:
        return old + value if action == "append" else value
    head, *rest = path
    copy = dict(old) if isinstance(old, dict) else list(old)
    if rest or action == "append":
        copy[head] = _changed(copy[head], action, rest, value)
    elif action == "delete":
        del copy[head]
    elif action == "add" and isinstance(copy, list):
        copy.insert(head, value)
    else:
        copy[head] = value
    return copy
