"""The guard before a small application that would answer everything, served over a socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.browser import served
from wordbrush.web.gate.bodies import Patience
from wordbrush.web.gate.guard import Guard
from wordbrush.web.options import Limits, Options
from wordbrush.web.state.visitors import Visitors

__all__ = ["JOIN", "LIMITS", "PICTURE", "UPLOAD", "client", "guarded", "raw"]

LIMITS = Limits(file_bytes=1_000_000)
JOIN, UPLOAD, PICTURE = "/gradio_api/queue/join", "/gradio_api/upload", "/wordbrush/picture"


async def echo(request: Request) -> Response:
    """Answer everything, and share it with everybody, as a careless application would."""
    body = await request.body()
    careless = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public", "X-Frame-Options": "ALLOWALL"}
    return JSONResponse({"path": request.url.path, "bytes": len(body)}, headers=careless)


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


def guarded(files: Path, patience: Patience | None = None, **options: Any) -> Guard:
    app = Starlette(routes=[Route("/{rest:path}", echo, methods=METHODS)])
    settings = Options(**{"limits": LIMITS, **options})
    return Guard(app, options=settings, visitors=Visitors(settings.limits), files=files, patience=patience)


@contextmanager
def client(files: Path, patience: Patience | None = None, **options: Any) -> Iterator[httpx.Client]:
    with (
        served(guarded(files, patience, **options)) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=20) as http,
    ):
        yield http


def raw(http: httpx.Client, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request as it is written, and return status and everything that came back."""
    place = urlsplit(str(http.base_url))
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as line:
        line.sendall(head.encode("latin-1") + body)
        answer = b""
        while not _whole(answer) and (part := line.recv(65536)):
            answer += part
    return int(answer.split(b" ")[1]), answer


def _whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= lengths[0]
