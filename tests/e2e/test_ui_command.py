"""`wordbrush ui`: what it refuses, in one line each, and that it serves and stops."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command import Command
from wordbrush.web.options import Options

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what must be refused


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDBRUSH_AUTH", raising=False)


def test_it_explains_itself(wordbrush: Command) -> None:
    done = wordbrush("ui", "--help")
    assert done.code == 0
    assert "Usage: wordbrush ui" in done.text
    for flag in ("--host", "--port", "--allow-model", "--no-pocket", "--auth", "--no-auth", "--device", "--dtype",
                 "--model", "--revision", "--offload", "--lora", "--embedding", "--vae", "--config",
                 "--allow-download", "--mcp", "--embedded", "--allow-host", "--trust-proxy", "--queue",
                 "--open"):  # fmt: skip
        assert flag in done.text


def test_help_imports_neither_gradio_nor_torch() -> None:
    code = (
        "import sys; from wordbrush.cli import main; main(['ui', '--help']); main(['ui', '--host', '::']);"
        "print(sorted({'gradio', 'torch', 'uvicorn', 'fastapi', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.0.10", "edit.example"])
def test_others_are_let_in_only_on_purpose(wordbrush: Command, host: str) -> None:
    wordbrush("ui", "--host", host).failed(2, f"--host {host} lets others in", "--auth", "--no-auth")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--auth", "ann"], "a user, a colon and a password"),
        (["--auth", ":secret"], "a user, a colon and a password"),
        (["--auth", "ann:secret", "--no-auth"], "contradict"),
        (["--no-pocket"], "--allow-model"),
        (["--port", "70000"], "--port"),
        (["--queue", "0"], "--queue"),
        (["--lora", "x.safetensors:1000"], "--lora"),
    ],
)
def test_bad_flags_are_one_line(wordbrush: Command, words: list[str], part: str) -> None:
    done = wordbrush("ui", *words)
    done.failed(2, part)
    assert "secret" not in done.err


def test_without_gradio_it_says_what_to_install(wordbrush: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    for missing, words, extras in [("gradio", [], "web"), ("mcp", ["--mcp"], "web,mcp")]:
        with monkeypatch.context() as patch:
            patch.setattr("importlib.util.find_spec", lambda name, lost=missing: None if name == lost else found(name))
            wordbrush("ui", *words).failed(2, f"pip install 'wordbrush[{extras}]'")


def test_a_port_in_use_is_one_line(wordbrush: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wordbrush("ui", "--port", str(port)).failed(3, f"127.0.0.1 port {port}", "--port")


def test_a_model_that_is_not_there_is_one_line(wordbrush: Command, tmp_path: Path) -> None:
    missing = tmp_path / "no-model"
    wordbrush("ui", "--port", "0", "--allow-model", str(missing)).failed(4, "no-model")


def test_the_switches_of_a_model_are_those_of_the_first(
    wordbrush: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Options] = []
    monkeypatch.setattr("wordbrush.cli.ui.serve", lambda options, **_: started.append(options))
    words = ("--revision", "v2", "--lora", "a.safetensors:0.5", "--vae", "v", "--device", "cpu", "--offload", "model")
    assert wordbrush("ui", "--model", "a/b", "--allow-model", "c", *words, "--backend", "torch").code == 0
    assert wordbrush("ui", "--allow-model", "c", "--model", "pocket", "--embedding", "e:word").code == 0
    one, two = started
    assert (one.models, two.models) == (("a/b", "c", "pocket"), ("c", "pocket"))
    assert (one.device, one.offload, one.backend, one.allow_download) == ("cpu", "model", "torch", False)
    given = {name: value for name, value in one.first.items() if value}
    assert given == {"revision": "v2", "loras": (("a.safetensors", 0.5),), "vae": "v"}
    assert {name: value for name, value in two.first.items() if value} == {"embeddings": (("e", "word"),)}


@contextmanager
def started(tmp_path: Path, *words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command and give its address; SIGINT ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wordbrush", "ui", "--port", "0", *words], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # heeded wherever tests run
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"wordbrush is at (http://\S+)", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_it_serves_and_stops(tmp_path: Path) -> None:
    with started(tmp_path, WORDBRUSH_AUTH="ann:secret") as (process, address):
        assert httpx.get(address, trust_env=False).status_code == 401
        with httpx.Client(base_url=address, auth=("ann", "secret"), trust_env=False, timeout=30) as http:
            assert "wordbrush" in http.get("/").raise_for_status().text
            assert len(list(tmp_path.glob("wordbrush-*"))) == 1
            with http.stream("GET", "/gradio_api/heartbeat/abc") as beat:  # a page that is open does not hold it up
                next(beat.iter_lines())
                begin = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(15) == 130
                assert time.monotonic() - begin < 8
        assert process.stderr is not None
        assert process.stderr.read().strip() == "wordbrush: stopped"
    assert list(tmp_path.glob("wordbrush-*")) == []
