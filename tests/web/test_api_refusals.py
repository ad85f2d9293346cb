"""What the HTTP API refuses: addresses, files of the server, what is no picture, and numbers out of range."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.support.calls import FOX, META, TEXTS, ask, upload
from tests.support.hostile import png
from tests.support.workbench import Running, running
from wordbrush.errors import SettingsError
from wordbrush.web.api.calls import SORRY
from wordbrush.web.api.fields import Field, fields_of


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as workbench:
        yield workbench


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another web server, and the list of who came to it."""
    visits: list[str] = []

    class Counting(BaseHTTPRequestHandler):
        def handle(self) -> None:
            visits.append(str(self.client_address))

    with HTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/fox.png", visits
        server.shutdown()
        thread.join()


def test_web_addresses_are_refused_and_never_fetched(served: Running, elsewhere: tuple[str, list[str]]) -> None:
    address, visits = elsewhere
    fox = upload(served, FOX.read_bytes())
    inputs: list[dict[str, Any]] = [
        {"path": address}, {"path": address, "url": address}, {"path": address, "is_stream": True},
        {"path": address.replace("http:", "HTTP:")}, {"path": address.replace("http:", "https:")},
        {"path": "file://" + str(FOX)}, {"path": "data:image/png;base64,AAAA"}, {"path": address.removeprefix("http:")},
    ]  # fmt: skip
    before = served.rows
    for given in inputs:
        for name, rest in (("picture", {}), ("mask", {"picture": fox})):
            good, answer = ask(served, "edit", **{**rest, name: {**given, "meta": META}}, **TEXTS)
            assert not good, given
            assert "upload the file" in answer["error"], answer
    good, _ = ask(served, "mask", picture={**fox, "url": address}, **TEXTS, switches="--maps 1")
    assert good  # the path counts, the address beside it does not
    assert visits == []
    assert served.rows == before + 4  # one map at two strengths, two texts


def test_files_that_were_not_uploaded_are_refused(served: Running, tmp_path: Path) -> None:
    fox = upload(served, FOX.read_bytes())
    home = served.workbench.files
    (home / "link.png").symlink_to(FOX)
    copy = shutil.copy(FOX, tmp_path / "fox.svg")
    folder = Path(fox["path"]).parent
    paths = [
        "/etc/passwd", str(FOX), str(copy), "", ".", "/", str(home), str(folder), str(home / "link.png"),
        f"{folder}/../../../../../../../../etc/passwd", f"{home}/../{FOX.name}", os.path.relpath(fox["path"]),
        os.path.relpath(FOX), f"{fox['path']}\0.png", "~/fox.png", "/dev/zero",
    ]  # fmt: skip
    for path in paths:
        good, answer = ask(served, "mask", picture={"path": path, "meta": META}, **TEXTS)
        assert not good, path
        error = answer["error"]
        assert "upload the file" in error, (path, error)
        assert "passwd" not in error
    others: list[Any] = [str(FOX), {"path": str(FOX)}, [fox], 5]
    others += [{"path": path, "meta": META} for path in (5, "x" * 5000)]
    for given in others:
        good, _ = ask(served, "mask", picture=given, **TEXTS)
        assert not good, given
    assert not [file for file in home.rglob("*") if file.name in {"passwd", "fox.svg"}]  # nothing was copied


REFUSED: dict[str, tuple[bytes, str]] = {
    "giant.png": (png(10_000, 6_000), "60.00 megapixels"),
    "text.png": (b"hello " * 100, "not a picture format known here"),
    "empty.png": (b"", "empty"),
    "page.png": (b"<html><script>alert(1)</script>", "not a picture format"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_one_sentence(served: Running, name: str) -> None:
    data, part = REFUSED[name]
    before, fox = served.rows, upload(served, FOX.read_bytes())
    bad = upload(served, data, name)
    for values in ({"picture": bad}, {"picture": fox, "include": bad}):
        good, answer = ask(served, "mask", **values, **TEXTS)
        assert not good
        assert "\n" not in answer["error"]
        assert str(served.workbench.files) not in answer["error"]
        if "include" not in values:
            assert answer["error"].startswith(f"{name}: ")
            assert part in answer["error"]
        else:
            assert answer["error"].startswith("include: ")
    assert served.rows == before


def test_a_picture_of_26_megabytes_is_not_taken(served: Running) -> None:
    files = {"files": ("big.png", FOX.read_bytes() + bytes(26_000_000))}
    answer = httpx.post(f"{served.address}/gradio_api/upload", files=files, trust_env=False)
    assert answer.status_code == 413


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"query": None}, "query is missing"),
    ({"query": "x" * 2001}, "2,001 characters"),
    ({"query": "a \ud800"}, "query is not a text"),
    ({"query": 5}, "query is not a text"),
    ({"seed": -1}, "outside 0 ... 9223372036854775807"),
    ({"seed": 0.5}, "whole number"),
    ({"seed": "1"}, "seed is not a number"),
    ({"seed": True}, "seed is not a number"),
    ({"steps": 201}, "outside 1 ... 200"),
    ({"steps": 0}, "outside 1 ... 200"),
    ({"ratio": 1.01}, "outside 0.0 ... 1.0"),
    ({"ratio": "0.5"}, "ratio is not a number"),
    ({"threshold": 7}, "threshold"),
    ({"model": "other/model"}, "known are pocket"),
    ({"preset": "none"}, "known are balanced"),
    ({"switches": "--maps 65"}, "outside 1 ... 64"),
    ({"switches": "--steps 300"}, "at most 200"),
    ({"switches": "--ratio 0.5", "ratio": 0.5}, "given twice"),
    ({"switches": "--output x.png"}, "is not one"),
    ({"switches": "--maps"}, "needs a value"),
    ({"switches": "'"}, "further switches"),
    ({"check_inversion": 1}, "true or false"),
]


@pytest.mark.parametrize(("values", "part"), WRONG, ids=lambda value: str(value)[:30])
def test_what_is_out_of_range_is_refused_before_the_device_is_asked(
    served: Running, values: dict[str, Any], part: str
) -> None:
    before = served.rows
    asked = {"picture": upload(served, FOX.read_bytes()), **TEXTS, **values}
    good, answer = ask(served, "edit", **asked)
    assert not good
    assert part in answer["error"]
    assert served.rows == before


def test_numbers_that_are_none_are_refused() -> None:
    field = fields_of(("pocket",))["ratio"]
    values: list[Any] = [float("nan"), float("inf"), 10**400, [], {}]
    for value in values:
        with pytest.raises(SettingsError):
            field.read(value)
    whole = Field(name="n", kind="integer", help="")
    assert whole.read(3.0) == 3
    assert isinstance(whole.read(3.0), int)


def test_the_client_raises_our_sentence(served: Running) -> None:
    client = Client(served.address, verbose=False, analytics_enabled=False)
    with pytest.raises(AppError, match=r"^steps 201 is outside 1 \.\.\. 200$"):
        client.predict(picture=handle_file(FOX), **TEXTS, steps=201, api_name="/edit")


def test_nothing_is_told_of_other_errors(
    served: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(bench: object, answer: object) -> list[str]:
        raise OSError("no space left in /secret/place")

    monkeypatch.setattr("wordbrush.web.api.endpoints.keep", full)
    good, answer = ask(served, "mask", picture=upload(served, FOX.read_bytes()), **TEXTS, switches="--maps 1")
    assert not good
    assert answer["error"] == SORRY
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("wordbrush")]
    assert "the call mask failed: OSError at web/test_api_refusals.py:" in line  # its kind and place, and no more
    assert "/secret/place" not in caplog.text
