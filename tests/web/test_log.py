"""The log: kind and place of each fault, in one short line, few of each kind, and nothing that was sent."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.browser import served
from wordbrush.web.gate.guard import Guard
from wordbrush.web.gate.log import SORRY, Budget, Lines, describe, fault, short_log
from wordbrush.web.options import Options
from wordbrush.web.state.visitors import Visitors

SECRET = "what a visitor sent " * 1000


def raised(error: BaseException) -> BaseException:
    def inner() -> None:
        raise error

    try:
        inner()
    except BaseException as caught:
        return caught
    raise AssertionError


def test_an_error_is_told_by_kind_and_place() -> None:
    told = describe(raised(ValueError(SECRET)))
    assert told.startswith("ValueError at web/test_log.py:")
    assert "sent" not in told
    assert describe(raised(OSError(28, "No space left on device", SECRET))).startswith(
        "OSError (No space left on device) at web/test_log.py:"
    )
    assert describe(ValueError(SECRET)) == "ValueError"
    long = type("E" * 5000, (Exception,), {})
    assert len(describe(raised(long()))) == 300


def test_few_lines_of_each_kind_and_not_many_in_all() -> None:
    now = [0.0]
    budget = Budget(each=2, most=5, clock=lambda: now[0])
    assert [budget.admit("a") for _ in range(4)] == [0, 0, None, None]
    assert [budget.admit(kind) for kind in "bcde"] == [0, 0, 0, None]
    now[0] = 59.9
    assert budget.admit("f") is None
    now[0] = 60.0
    assert budget.admit("a") == 4  # were left out
    assert budget.admit("a") == 0


@pytest.mark.filterwarnings("default")
def test_a_minute_of_the_log_is_short_whatever_is_logged() -> None:
    stream = io.StringIO()
    with short_log(stream):
        for number in range(2000):
            logging.getLogger(f"library.{number}").error(SECRET)
            fault(f"work {number}", raised(KeyError(SECRET)))
            logging.getLogger("library").exception(SECRET, exc_info=raised(ValueError(SECRET)))
            print(SECRET)
            print(SECRET, file=sys.stderr)
            warnings.warn(SECRET, UserWarning, stacklevel=1)
    assert len(stream.getvalue()) < 10_000
    assert "sent " not in stream.getvalue().replace("a visitor sent, and", "")
    assert len(stream.getvalue().splitlines()) == 30


@pytest.mark.filterwarnings("default")
def test_each_source_is_told_of() -> None:
    stream = io.StringIO()
    before = sys.stdout, sys.stderr, logging.getLogger().handlers[:]
    past = logging.getLogger("a.library")
    own = logging.StreamHandler(io.StringIO())
    past.addHandler(own)
    past.propagate = False
    with short_log(stream):
        logging.getLogger("uvicorn.error").error(SECRET, exc_info=raised(RuntimeError(SECRET)))
        past.error(SECRET)
        logging.getLogger("wordbrush.web").warning("a word\nof its own")
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        warnings.warn(SECRET, UserWarning, stacklevel=1)
        print("x")
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers[:]) == before
    assert (past.handlers, past.propagate, own.stream.getvalue()) == ([own], False, "")
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("wordbrush: ") for line in lines)
    for part in (
        "error of uvicorn.error: RuntimeError at web/test_log.py:", "a word of its own",
        "UserWarning at web/test_log.py", "a thread failed: ZeroDivisionError at web/test_log.py:",
        "something was printed", "error of a.library: at test_log.py:",
    ):  # fmt: skip
        assert any(part in line for line in lines), part


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Lines(stream).write("x")


def test_an_error_behind_the_guard_is_one_sentence_on_a_line_that_stays_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: Request) -> Response:
        body = await request.body()
        if body:
            raise ValueError(body.decode())
        return JSONResponse({"ok": True})

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    options = Options()
    guard = Guard(app, options=options, visitors=Visitors(options.limits), files=tmp_path)
    with served(guard) as address, httpx.Client(base_url=address, trust_env=False) as http:
        ports = set()
        for content in (SECRET, "", SECRET):
            answered = http.post("/wordbrush/x", content=content)
            ports.add(answered.extensions["network_stream"].get_extra_info("client_addr"))
            assert answered.status_code == (500 if content else 200)
        assert len(ports) == 1
    ours = [record.getMessage() for record in caplog.records]
    assert len(ours) == 2
    assert all("a request failed: ValueError at web/test_log.py:" in line for line in ours)
    assert "sent" not in caplog.text
    assert SORRY not in caplog.text
