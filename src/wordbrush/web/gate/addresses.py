"""The addresses of the server that answer visitors; whatever is not named here is answered by 404.

Gradio answers many more than this page, its HTTP API and `gradio_client` use: a proxy, streams, the history of runs,
the editing of the program's own source, monitoring. What cannot be reached cannot have a hole.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["FILE", "UPLOADS", "Addresses", "is_unsafe"]

FILE = "/gradio_api/file="
"""Where Gradio hands out files: the rest of the address is a path on the server."""

UPLOADS = re.compile(r"/gradio_api/upload|/wordbrush/picture|/wordbrush/mask/[^/]+")
"""Addresses that take files."""

_NAME = r"[A-Za-z0-9_-]{1,200}"
_READ = (
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static)/.+"
    r"|/gradio_api/(?:info|openapi\.json|app_id|startup-events|queue/data)"
    rf"|/gradio_api/heartbeat/{_NAME}|/gradio_api/call/(?:v2/)?{_NAME}/{_NAME}|/wordbrush/.+"
)
_WRITE = (
    r"/gradio_api/(?:queue/join|run/predict|upload|cancel|reset)"
    rf"|/gradio_api/call/(?:v2/)?{_NAME}|/wordbrush/.+"
)
_DELETE = rf"/wordbrush/batch/{_NAME}"
_MCP = r"|/gradio_api/mcp/?"
_ENCODED = re.compile(rb"%(?:2e|2f|5c|00)|%25(?:25|2e|2f|5c|00)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATOR = "/" if os.sep == "/" else r"[/\\]"


def is_unsafe(path: str, raw: bytes) -> bool:
    """Tell whether two programs could read this address as two different paths.

    Answers path traversal: parent folders, backslashes, NUL and other control characters, and dots and slashes that
    are encoded, once or twice; and names that no file can have, at which the system would stumble.

    Args:
        path: decoded, as the server routes it.
        raw: as it was sent, without the query.
    """
    if os.sep == "\\" and path.startswith(FILE):
        return False  # on Windows such an address does hold backslashes; its exact shape is what protects there
    long = any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in path.split("/"))  # of no file's name
    control = _CONTROL.search(path) is not None
    folders = "\\" in path or ".." in path.split("/") or not path.startswith("/")
    return long or control or folders or _ENCODED.search(raw) is not None


class Addresses:
    """The addresses a workbench answers.

    Args:
        files: the private folder; below it, `results/KEY/NAME` may be fetched by whoever knows the key.
        mcp: whether the MCP routes are open.
    """

    def __init__(self, files: Path, *, mcp: bool) -> None:
        self._results = files.resolve() / "results"
        mcp_routes = _MCP if mcp else ""
        self._patterns = {
            "GET": re.compile(_READ + mcp_routes),
            "HEAD": re.compile(_READ),
            "POST": re.compile(_WRITE + mcp_routes),
        }
        self._patterns["DELETE"] = re.compile(_DELETE + mcp_routes)
        self._shape = re.compile(
            rf"{re.escape(str(self._results))}{_SEPARATOR}[A-Za-z0-9_-]{{43,128}}{_SEPARATOR}[^/\\.\0][^/\\\0]{{0,254}}"
        )

    def allow(self, method: str, path: str) -> bool:
        """Tell whether this method of this address is for visitors.

        Answers every hole in a route that nobody here needs, and calls that go around the queue.
        """
        if path.startswith(FILE):
            return method in {"GET", "HEAD"} and self.allow_file(path.removeprefix(FILE))
        pattern = self._patterns.get(method)
        return pattern is not None and pattern.fullmatch(path) is not None

    def allow_file(self, text: str) -> bool:
        """Tell whether a file may be handed out: one of the results, under its unguessable key, and no link.

        Answers reading the server's files, another visitor's uploads (their folder is named by a digest, which is no
        secret), and addresses (`http:`, `file:`, `data:`, another machine's share) that Gradio would fetch itself. The
        text must have the exact shape before the disk is asked anything.
        """
        if self._shape.fullmatch(text) is None:
            return False
        path = Path(text)
        try:
            return path.resolve(strict=True) == path and path.is_file()
        except OSError:
            return False
