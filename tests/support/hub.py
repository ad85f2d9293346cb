"""A hub in miniature on this machine: enough of the protocol to list and fetch one repository's files.

It answers what a real hub answers for a repository with one branch, `main`, and counts what it was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit that `main` stands for."""


class Hub:
    """One repository's files, and the paths that were fetched.

    Attributes:
        repository: `owner/name`.
        folder: whose files it serves.
        fetched: paths whose contents were sent, in order.
        requests: how many requests of any kind were answered.
        url: where it listens.
    """

    def __init__(self, repository: str, folder: Path) -> None:
        self.repository, self.folder = repository, folder
        self.fetched: list[str] = []
        self.requests = 0
        self.url = ""

    def files(self) -> list[Path]:
        """All files of the repository."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def serve(repository: str, folder: Path) -> Iterator[Hub]:
    """Serve a folder as a repository for the length of the block."""
    hub = Hub(repository, folder)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with contents."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.served
        hub.requests += 1
        path = unquote(urlsplit(self.path).path)
        for kind in ("revision", "tree"):
            prefix = f"/api/models/{hub.repository}/{kind}/"
            if path.startswith(prefix):
                self._describe(kind, path.removeprefix(prefix))
                return
        prefix = f"/{hub.repository}/resolve/"
        if path.startswith(prefix):
            revision, name = path.removeprefix(prefix).split("/", 1)
            self._file(revision, name, with_body)
            return
        self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _describe(self, kind: str, revision: str) -> None:
        hub = self.served
        if revision not in {"main", COMMIT}:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        names = [path.relative_to(hub.folder).as_posix() for path in hub.files()]
        if kind == "revision":
            answer: object = {"id": hub.repository, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        else:
            pairs = zip(names, hub.files(), strict=True)
            answer = [{"type": "file", "path": n, "size": p.stat().st_size, "oid": _tag(p)} for n, p in pairs]
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, revision: str, name: str, with_body: bool) -> None:
        path = self.served.folder / name
        if revision not in {"main", COMMIT} or not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if with_body:
            self.served.fetched.append(name)
        headers = {"ETag": f'"{_tag(path)}"', "X-Repo-Commit": COMMIT}
        self._send(200, path.read_bytes(), headers, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(body)


def _tag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
