"""A real Chromium for tests of pages, and servers on loopback to show them."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

REQUIRE = "WORDBRUSH_REQUIRE_BROWSER"
"""Set to 1, a missing browser fails tests instead of skipping them."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    """Return where the system's Chromium is, or None."""
    return shutil.which("chromium")


@dataclass
class Errors:
    """What a page complained of: console errors and uncaught exceptions."""

    lines: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Collect what this page complains of from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.lines.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.lines.append(f"{message.text} ({message.location.get('url', '')})")


class Traffic:
    """The requests of a page that are not answered yet.

    Args:
        page: whose requests to keep an eye on from now on.
    """

    def __init__(self, page: Page) -> None:
        self.page, self.due = page, set[Any]()
        page.on("request", lambda request: self.due.add(request))
        page.on("requestfinished", lambda request: self.due.discard(request))
        page.on("requestfailed", lambda request: self.due.discard(request))

    def rest(self, idle: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until nothing is due and the server is idle, and for a quarter of a second nothing new begins."""
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 5:
            if time.monotonic() > deadline:
                raise AssertionError(f"no rest; idle: {idle()}, due: {[request.url for request in self.due]}")
            self.page.wait_for_timeout(50)
            quiet = 0 if self.due or not idle() else quiet + 1


@dataclass
class Launched:
    """A running browser and what its pages complained of."""

    browser: Browser
    errors: Errors = field(default_factory=Errors)

    def context(self, **options: Any) -> BrowserContext:
        """Return a new context (cookies of its own), every page of which is watched for errors."""
        context = self.browser.new_context(**options)
        context.on("page", self.errors.watch)
        return context


@contextmanager
def launched(*flags: str) -> Iterator[Launched]:
    """Run a headless Chromium; skip the test, or fail it under `WORDBRUSH_REQUIRE_BROWSER=1`, where there is none."""
    path = chromium_path()
    if path is None:
        missing = "no chromium on this machine: pages are NOT tested"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        try:
            yield Launched(browser)
        finally:
            browser.close()


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """Serve an ASGI application on a free loopback port in a thread, and give its address; options as uvicorn's."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    usual: dict[str, Any] = {"log_level": "error", "lifespan": "on", "ws": "none", "timeout_graceful_shutdown": 1}
    usual["proxy_headers"] = False  # as `serve` has it: the guard decides which proxy is believed
    config = uvicorn.Config(app, **{**usual, **options})
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.02)
    try:
        scheme = "https" if "ssl_keyfile" in options else "http"
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
