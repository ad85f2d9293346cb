"""Calling the HTTP API by plain HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

from tests.support.workbench import Running

__all__ = ["FOX", "META", "ROOT", "TEXTS", "WORDS", "ask", "upload"]

ROOT = Path(__file__).parents[2]
FOX = ROOT / "examples" / "fox.png"
TEXTS = {"query": "a penguin on snow", "reference": "a fox on snow"}
WORDS = ["--from", "a fox on snow", "--to", "a penguin on snow"]
META = {"_type": "gradio.FileData"}


def ask(served: Running, name: str, **values: Any) -> tuple[bool, Any]:
    """Call by plain HTTP; return whether it went well, and the outputs or what was answered instead."""
    with httpx.Client(base_url=served.address, timeout=120, trust_env=False) as http:
        body, kind = json.dumps(values), {"content-type": "application/json"}
        answer = http.post(f"/gradio_api/call/v2/{name}", content=body, headers=kind)
        if answer.status_code == 422:  # refused before it is queued
            return False, answer.json()
        answer.raise_for_status()
        lines = http.get(f"/gradio_api/call/{name}/{answer.json()['event_id']}").raise_for_status().text
    events = re.findall(r"event: (\w+)\ndata: (.*)\n", lines)
    event, data = next((e, json.loads(d)) for e, d in events if e in {"complete", "error"})
    return event == "complete", data


def upload(served: Running, data: bytes, name: str = "fox.png") -> dict[str, Any]:
    """Upload by plain HTTP and return the input that names the file."""
    files = {"files": (name, data)}
    answer = httpx.post(f"{served.address}/gradio_api/upload", files=files, timeout=120, trust_env=False)
    return {"path": answer.raise_for_status().json()[0], "orig_name": name, "meta": META}
