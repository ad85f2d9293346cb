"""The server: workbench, page, API, own routes and guard put together, in a private folder that goes when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import weakref
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wordbrush.errors import InputError
from wordbrush.web.gate.log import short_log
from wordbrush.web.gate.proxies import Proxies
from wordbrush.web.gate.rules import names_of
from wordbrush.web.state.folder import shrink, sweep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from wordbrush.web.api.batches import Batches
    from wordbrush.web.options import Options
    from wordbrush.web.workbench import Workbench

T = TypeVar("T")

__all__ = ["address_of", "build_app", "serve", "sweep"]

SWEEP_SECONDS = 60.0
"""How often idle visitors and old files are looked for."""

FILE_SECONDS = 3600.0
"""Files of the private folder older than this are deleted."""

STOP_SECONDS = 5
"""How long open connections are waited for when the server stops."""

SWITCH_SECONDS = 0.0005
"""How long a thread that computes keeps the interpreter while another one waits for it."""

CONNECTIONS = 1024
"""Most connections at one time; the next one is answered by 503."""


def build_app(options: Options) -> FastAPI:
    """Return the whole workbench as an ASGI application; the first model is loaded here.

    Makes a private folder (mode 0700) for uploads and results, which is removed when the application stops. Its
    workbench is `app.state.workbench`, its page `app.state.page`.

    Args:
        options: what the operator decided.

    Raises:
        SettingsError: a name of the server or a proxy's address is none.
        ModelError: the first model is not there or cannot be used.
    """
    names_of(options)
    Proxies(options.proxies)
    root = Path(tempfile.mkdtemp(prefix="wordbrush-")).resolve()
    discard = weakref.finalize(options, shutil.rmtree, root, ignore_errors=True)  # if it is never started, at exit
    files = root / "files"
    files.mkdir(mode=0o700)
    before = _settle(files)
    try:
        app, workbench = _within_a_loop(lambda: _assemble(options, files))
    except BaseException:
        _restore(before)
        discard()
        raise

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        batches: Batches = app.state.batches
        chores = [_keep_sweeping(workbench, files, batches), app.state.attendance.keep_looking()]
        tasks = [asyncio.create_task(chore) for chore in chores]
        try:
            async with inner(app) as state:
                yield state
        finally:
            for task in tasks:
                task.cancel()
            workbench.visitors.clear()
            batches.close()
            workbench.models.device.shutdown(wait=False, cancel_futures=True)
            _restore(before)
            discard()

    inner = app.router.lifespan_context
    app.router.lifespan_context = lifespan
    return app


def _settle(files: Path) -> dict[str, str | None]:
    """Set the environment that Gradio reads when it is imported: its folder for files, and no calls to other servers.

    Returns:
        What the variables were.
    """
    ours = {
        "GRADIO_TEMP_DIR": str(files),
        "GRADIO_EXAMPLES_CACHE": str(files / "examples"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    return before


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _within_a_loop(work: Callable[[], T]) -> T:
    """Run plain work while an event loop runs: Gradio makes and forgets one for each of its locks where none does."""

    async def later() -> T:
        return work()

    if asyncio._get_running_loop() is not None:
        return work()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(later())
    finally:
        loop.close()


def _assemble(options: Options, files: Path) -> tuple[FastAPI, Workbench]:
    from fastapi import FastAPI

    from wordbrush.web.api.admission import Admission
    from wordbrush.web.api.batches import Batches
    from wordbrush.web.api.routes import routes
    from wordbrush.web.gate.guard import HEALTH, Guard
    from wordbrush.web.gate.queue import Attendance
    from wordbrush.web.mount import mount_page
    from wordbrush.web.workbench import Workbench

    workbench = Workbench(options, files)

    class Application(FastAPI):
        """The application; its guard stands before everything, its own error page too."""

        def build_middleware_stack(self) -> Any:
            inner: Any = super().build_middleware_stack()
            examine, watch = Admission(workbench, self.state.page).examine, self.state.attendance.listening
            return Guard(
                inner, options=options, visitors=workbench.visitors, files=files, examine=examine, watch=watch
            )  # fmt: skip

    app = Application(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.workbench = workbench

    @app.api_route(HEALTH, methods=["GET", "HEAD"])
    async def health() -> dict[str, bool]:  # not in a thread: those may all be busy
        return {"ok": True}

    app.state.batches = Batches(workbench, files.parent / "batches")
    app.include_router(routes(workbench, app.state.batches))
    if options.mcp:
        from wordbrush.web.api.mcp import add_tools  # its library is an extra of its own

        add_tools(app, workbench)
    mount_page(app, workbench)
    app.state.attendance = Attendance(app.state.page)
    return app, workbench


async def _keep_sweeping(workbench: Workbench, files: Path, batches: Batches) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        workbench.visitors.of(None)  # looking somebody up drops who is idle too long
        await asyncio.to_thread(sweep, files, time.time() - FILE_SECONDS)
        await asyncio.to_thread(batches.sweep, time.monotonic() - FILE_SECONDS)
        await asyncio.to_thread(shrink, files, workbench.options.limits.folder_bytes)


def address_of(host: str, port: int) -> str:
    """Return the address people open: of this machine where the server listens on every one it has."""
    shown = "localhost" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything is loaded, so that a port in use is told at once.

    Raises:
        InputError: the address is in use, or not of this machine.
    """
    place = f"{host} port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"cannot listen on {place}: {error.strerror or error}") from error
    with taken:
        try:
            if os.name == "posix":
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"cannot listen on {place}: {reason}; --port takes another") from error
        yield taken


def serve(options: Options, *, open_browser: bool = False) -> None:
    """Serve the workbench until it is interrupted; says on standard error where it is once it listens.

    Args:
        options: what the operator decided.
        open_browser: open the page in the browser of this machine.

    Raises:
        InputError: the port is in use, or the address is not of this machine.
        ModelError: the first model is not there or cannot be used.
    """
    import uvicorn

    with _bound(options.host, options.port) as taken:
        options = dataclasses.replace(options, port=taken.getsockname()[1])
        app = build_app(options)
        address, stream = address_of(options.host, options.port), sys.stderr

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started:
                    print(f"wordbrush is at {address} (Ctrl-C stops it)", file=stream, flush=True)
                    if open_browser:
                        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                app.state.batches.close()
                app.state.workbench.visitors.clear()  # stops their work, so that nothing is waited for in vain
                await super().shutdown(sockets)

        config = uvicorn.Config(
            app, log_config=None, access_log=False, proxy_headers=False, server_header=False, ws="none",
            lifespan="on", limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=STOP_SECONDS,
        )  # fmt: skip
        with short_log(stream), _quick_switches():
            Server(config).run(sockets=[taken])


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    """Let the thread that answers wait for the one that computes no longer than half a millisecond at a time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
