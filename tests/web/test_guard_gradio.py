"""A plain Gradio page behind the guard works: by `gradio_client`, by HTTP, and in a browser without a complaint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from gradio_client import Client, handle_file

from tests.support.browser import launched, served
from wordbrush.web.gate.guard import Guard
from wordbrush.web.options import Limits, Options
from wordbrush.web.state.keys import COOKIE, new_key
from wordbrush.web.state.visitors import Visitors

SHOWN = "([id, text]) => document.querySelector(`#${id} textarea, #${id} input`).value === text"
LINK = "(to) => { const a = document.createElement('a'); a.href = to; document.body.append(a); a.click(); }"
FRAME = "(to) => { const f = document.createElement('iframe'); f.src = to; document.body.append(f); }"
READ = "(to) => fetch(to, {mode: 'cors', credentials: 'include'}).then(() => 'read', () => 'refused')"
OPTIONS = Options(limits=Limits(file_bytes=1_000_000))


def page(files: Path) -> gr.Blocks:
    """Return a page with a file in and out, an event without the queue, and a component with its own script."""

    def reversed_file(path: str) -> str:
        folder = files / "results" / new_key()
        folder.mkdir(parents=True)
        (folder / "reversed.bin").write_bytes(Path(path).read_bytes()[::-1])
        return str(folder / "reversed.bin")

    blocks: gr.Blocks = gr.Blocks(analytics_enabled=False, title="plain")
    with blocks:
        text = gr.Textbox(elem_id="text")
        upper, turned, picked = (gr.Textbox(elem_id=name) for name in ("upper", "turned", "picked"))
        own = gr.HTML(
            {"n": 0}, html_template="<b>own</b>", elem_id="own",
            js_on_load="element.addEventListener('click', () => { props.value = {n: 7}; trigger('pick', {n: 7}); });",
        )  # fmt: skip
        given, made = gr.File(visible=False), gr.File(visible=False)
        text.submit(lambda value: value[::-1], [text], [turned])
        text.input(lambda value: value.upper(), [text], [upper], queue=False, api_visibility="private")
        own.pick(lambda value: f"picked {value['n']}", [own], [picked], api_visibility="private")
        gr.Button("go").click(reversed_file, [given], [made], api_name="reverse")
    blocks.queue(api_open=False)
    return blocks


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("private").resolve()


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(files)

    async def build() -> Any:  # where no loop runs, Gradio makes one for each of its locks and forgets it
        app = FastAPI()
        gr.mount_gradio_app(app, page(files), "/", run_history=False, footer_links=[])
        return app

    try:
        guard = Guard(asyncio.run(build()), options=OPTIONS, visitors=Visitors(OPTIONS.limits), files=files)
        with served(guard) as place:
            yield place
    finally:
        os.environ.pop("GRADIO_TEMP_DIR") if before is None else os.environ.update(GRADIO_TEMP_DIR=before)


def test_the_client_uploads_runs_and_downloads(address: str, files: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.bin"
    given.write_bytes(b"abc" * 1000)
    client = Client(address, verbose=False, download_files=str(tmp_path))
    try:
        result = Path(client.predict(handle_file(str(given)), api_name="/reverse"))
        assert result.read_bytes() == given.read_bytes()[::-1]
        assert "/reverse" in client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        job = client.submit(handle_file(str(given)), api_name="/reverse")
        assert Path(job.result(timeout=30)).read_bytes() == given.read_bytes()[::-1]
    finally:
        client.close()
    assert len(list((files / "results").iterdir())) == 2


def test_plain_http_runs_and_downloads(address: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as http:
        upload = http.post("/gradio_api/upload", files={"files": ("in.bin", b"abc")}).raise_for_status().json()[0]
        assert http.get(f"/gradio_api/file={upload}").status_code == 404  # it goes in, but is handed out to nobody
        body = {"data": [{"path": upload, "meta": {"_type": "gradio.FileData"}}]}
        event = http.post("/gradio_api/call/reverse", json=body).raise_for_status().json()["event_id"]
        told = http.get(f"/gradio_api/call/reverse/{event}").text
        assert "event: complete" in told
        place = told.split('"url": "')[1].split('"')[0]
        assert http.get(place).content == b"cba"
        assert http.post("/gradio_api/run/reverse", json=body).status_code == 404
        assert http.post("/gradio_api/upload", files={"files": ("big", bytes(1_100_000))}).status_code == 413


def test_the_browser_complains_of_nothing(address: str) -> None:
    """The Content-Security-Policy is as tight as the page allows: any breach of it is an error in the console."""
    with launched() as chromium:
        context = chromium.context()
        tab = context.new_page()
        tab.goto(address)
        box = tab.locator("#text textarea, #text input").first
        box.wait_for()
        box.fill("a")
        box.press("b")  # one key: of two, Gradio drops the second where the first still runs
        tab.wait_for_function(SHOWN, arg=["upper", "AB"])
        box.press("Enter")
        tab.wait_for_function(SHOWN, arg=["turned", "ba"])
        tab.locator("#own b").click()
        tab.wait_for_function(SHOWN, arg=["picked", "picked 7"])
        elsewhere = tab.evaluate("() => fetch('http://example.com/').then(() => 'reached', () => 'refused')")
        assert elsewhere == "refused"
        assert [line for line in chromium.errors.lines if "example.com" not in line] == []
        (cookie,) = [c for c in context.cookies() if c["name"] == COOKIE]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
        assert COOKIE not in tab.evaluate("() => document.cookie")


def test_a_link_from_another_site_keeps_the_visitor(address: str) -> None:
    """The other site is this server under its other name: 127.0.0.1 and localhost are two sites to a browser."""
    with launched() as chromium:
        context = chromium.context()
        tab = context.new_page()
        tab.goto(address)
        tab.locator("#text").wait_for()
        (before,) = context.cookies(address)
        tab.goto(address.replace("127.0.0.1", "localhost") + "/robots.txt")
        tab.evaluate(LINK, address)
        tab.locator("#text").wait_for()
        assert tab.url.startswith(address)
        (after,) = context.cookies(address)
        assert after["value"] == before["value"]


def test_another_site_cannot_frame_or_read(address: str) -> None:
    with launched() as chromium:
        tab = chromium.context().new_page()
        tab.goto(address.replace("127.0.0.1", "localhost") + "/robots.txt")
        for path in ("/config", "/gradio_api/info", "/wordbrush/versions.zip"):
            assert tab.evaluate(READ, address + path) == "refused"
        tab.evaluate(FRAME, address)
        tab.wait_for_timeout(500)
        assert [frame.locator("#text").count() for frame in tab.frames] == [0, 0]
