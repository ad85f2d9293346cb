"""The HTTP API: it gives exactly what the command line writes, and says what it takes."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from docs.make_api_schema import BATCH, SCHEMA, live_schema, reduced, text_of
from tests.support.calls import FOX, ROOT, TEXTS, WORDS, ask, upload
from tests.support.command import mask_file
from tests.support.workbench import Running, running
from wordbrush.cli import main
from wordbrush.web.api.calls import perform


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as workbench:
        yield workbench


@pytest.fixture
def client(served: Running, tmp_path: Path) -> Client:
    return Client(served.address, verbose=False, download_files=str(tmp_path / "got"), analytics_enabled=False)


def run(*words: str | Path) -> None:
    assert main([str(word) for word in words]) == 0


# ---- what it gives


def test_an_edit_is_the_file_that_the_command_writes(client: Client, tmp_path: Path) -> None:
    got, mask, report = client.predict(
        picture=handle_file(FOX), **TEXTS, negative="a tree", seed=7, ratio=0.7, guidance=3, steps=6, threshold=0.3,
        switches="--maps 2 --eta 0.4 --no-fill-holes --grow=-1", api_name="/edit",
    )  # fmt: skip
    flags = ["--negative", "a tree", "--seed", "7", "--ratio", "0.7", "--guidance", "3", "--steps", "6", "--threshold"]
    flags += ["0.3", "--maps", "2", "--eta", "0.4", "--grow", "-1"]
    run("edit", FOX, *WORDS, *flags, "-o", tmp_path / "a.png", "--save-mask", tmp_path / "m.png", "-q")
    data = Path(got).read_bytes()
    assert data == (tmp_path / "a.png").read_bytes()
    assert Path(mask).read_bytes() == (tmp_path / "m.png").read_bytes()
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert report["seed"] == 7
    assert report["provenance"]["input"]["name"] == "fox.png"
    assert 0 < report["mask_area"] < 1


def test_the_command_of_the_report_and_a_replay_give_the_same_file(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(FOX, tmp_path / "fox.png")
    monkeypatch.chdir(tmp_path)
    got, _, report = client.predict(
        picture=handle_file(FOX), **TEXTS, seed=2, preset="fast", switches="--maps 2", api_name="/edit"
    )
    words = shlex.split(report["command"])
    assert words[0] == "wordbrush"
    run(*words[1:], "-q")
    assert (tmp_path / "fox-edit.png").read_bytes() == Path(got).read_bytes()
    shutil.copy(got, tmp_path / "result.png")
    run("replay", "result.png")
    assert (tmp_path / "result-replay.png").read_bytes() == Path(got).read_bytes()


def test_masks_count_as_they_do_for_the_command(client: Client, tmp_path: Path) -> None:
    boxes = {"mask": (10, 20, 90, 100), "include": (0, 0, 20, 20), "exclude": (40, 40, 60, 60)}
    files = {name: mask_file(tmp_path / f"{name}.png", (128, 128), box) for name, box in boxes.items()}
    given = {name: handle_file(file) for name, file in files.items()}
    got, _, report = client.predict(picture=handle_file(FOX), **TEXTS, steps=4, **given, api_name="/edit")
    flags = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    run("edit", FOX, *WORDS, *flags, "--steps", "4", "-o", tmp_path / "a.png", "-q")
    assert Path(got).read_bytes() == (tmp_path / "a.png").read_bytes()
    assert report["provenance"]["mask"]["source"] == "user"
    assert "contrast" not in report["evaluations"]
    assert "--mask mask.png --include include.png --exclude exclude.png" in report["command"]


def test_mask_and_contrast_are_the_files_of_the_command(client: Client, tmp_path: Path) -> None:
    more = {"seed": 3, "switches": "--maps 2 --strength 0.5"}
    exclude = mask_file(tmp_path / "e.png", (64, 64), (0, 0, 30, 64))
    mask, report = client.predict(
        picture=handle_file(FOX), **TEXTS, **more, exclude=handle_file(exclude), threshold=0.2, api_name="/mask"
    )
    spread, cells, cost = client.predict(picture=handle_file(FOX), **TEXTS, **more, api_name="/contrast")
    flags = ["--seed", "3", "--maps", "2", "--strength", "0.5", "--threshold", "0.2", "--exclude", str(exclude)]
    run("mask", FOX, *WORDS, *flags, "-o", tmp_path / "m.png", "--contrast", tmp_path / "c.png", "-q")
    assert Path(mask).read_bytes() == (tmp_path / "m.png").read_bytes()
    assert Path(spread).read_bytes() == (tmp_path / "c.png").read_bytes()
    assert report["evaluations"] == cost["evaluations"] == {"contrast": 4}
    assert np.asarray(cells).shape == (16, 16)
    assert 0 <= np.min(cells) < np.max(cells) <= 1


def test_a_mask_that_came_back_can_be_given_again(served: Running) -> None:
    picture = upload(served, FOX.read_bytes())
    good, (mask, _) = ask(served, "mask", picture=picture, **TEXTS, switches="--maps 2")
    assert good
    good, (_, again, report) = ask(served, "edit", picture=picture, query="a penguin on snow", mask=mask, steps=3)
    assert good
    assert Path(again["path"]).read_bytes() == Path(mask["path"]).read_bytes()
    assert report["evaluations"].keys() == {"invert", "decode"}


def test_files_lie_under_a_key_and_nowhere_else(served: Running) -> None:
    good, (mask, _) = ask(served, "mask", picture=upload(served, FOX.read_bytes()), **TEXTS, switches="--maps 1")
    assert good
    place, home = Path(mask["path"]), served.workbench.files / "results"
    assert place.parent.parent == home
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", place.parent.name)
    assert place.name == "mask.png"
    assert len([file for file in served.workbench.files.rglob("mask.png") if file.samefile(place)]) == 1
    assert httpx.get(mask["url"], trust_env=False).content == place.read_bytes()
    assert httpx.get(mask["url"].replace(place.parent.name, "A" * 43), trust_env=False).status_code == 404


def test_two_at_once_take_turns(
    client: Client, served: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[tuple[float, float]] = []

    async def timed(*given: Any) -> Any:
        begin = time.monotonic()
        try:
            return await perform(*given)
        finally:
            times.append((begin, time.monotonic()))

    monkeypatch.setattr("wordbrush.web.api.endpoints.perform", timed)
    other = Client(served.address, verbose=False, download_files=str(tmp_path / "b"), analytics_enabled=False)
    job = {"picture": handle_file(FOX), **TEXTS, "steps": 30, "switches": "--maps 4", "api_name": "/edit"}
    first, second = client.submit(**job), other.submit(**job)
    waited = False
    while not (first.done() and second.done()):
        waited |= any(one.status().code.name == "IN_QUEUE" and one.status().rank is not None for one in (first, second))
        time.sleep(0.02)
    assert waited
    assert Path(first.result()[0]).read_bytes() == Path(second.result()[0]).read_bytes()
    (_, end), (begin, _) = sorted(times)
    assert end <= begin


# ---- stopping


def _stands_still(served: Running, before: int, most: int) -> None:
    """Check that the work stopped: fewer evaluations than it takes, no more coming, and the device free."""
    deadline = time.monotonic() + 20
    rows = -1
    while rows != served.rows:
        assert time.monotonic() < deadline, "the work goes on"
        rows = served.rows
        time.sleep(1)
    assert rows - before < most
    assert served.workbench.models.device.submit(lambda: 1).result(1) == 1


LONG = {"steps": 200, "switches": "--maps 64 --strength 0.5,0.6,0.7,0.8,0.9 --solver ddim --fixed-point 20"}


def test_cancelling_stops_the_work(client: Client, served: Running) -> None:
    before = served.rows
    job = client.submit(picture=handle_file(FOX), **TEXTS, **LONG, api_name="/edit")
    _until(lambda: served.rows > before)
    job.cancel()
    _stands_still(served, before, 640)


def test_leaving_stops_the_work(served: Running) -> None:
    before, body = served.rows, {"picture": upload(served, FOX.read_bytes()), **TEXTS, **LONG}
    with httpx.Client(base_url=served.address, timeout=30, trust_env=False) as http:
        id_ = http.post("/gradio_api/call/v2/edit", json=body).raise_for_status().json()["event_id"]
        with http.stream("GET", f"/gradio_api/call/edit/{id_}"):
            _until(lambda: served.rows > before)
    _stands_still(served, before, 640)


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- what it says of itself


def test_the_schema_is_the_committed_one(served: Running) -> None:
    info = httpx.get(f"{served.address}/gradio_api/info", trust_env=False).raise_for_status().json()
    assert info["unnamed_endpoints"] == {}
    committed = SCHEMA.read_text("utf-8")
    batch = httpx.get(f"{served.address}{BATCH}", trust_env=False).raise_for_status().json()
    assert text_of({**reduced(info["named_endpoints"]), BATCH: batch}) == committed
    assert text_of(live_schema()) == committed, "python docs/make_api_schema.py writes it anew"


def test_every_input_is_described_by_type_range_and_default() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert list(schema) == ["/edit", "/mask", "/contrast", BATCH]
    assert all(part["description"] and part.get("type", "file") for part in schema.pop(BATCH)["properties"].values())
    for endpoint in schema.values():
        assert endpoint["description"]
        for one in endpoint["parameters"]:
            assert one["type"]["type"]
            assert one["type"]["description"]
            assert one["parameter_has_default"] == (one["parameter_name"] not in {"picture", "query"})
        assert [out["label"] for out in endpoint["returns"]][-1] == "report"
    parts = {one["parameter_name"]: one for one in schema["/edit"]["parameters"]}
    assert (parts["ratio"]["type"]["minimum"], parts["ratio"]["type"]["maximum"]) == (0.0, 1.0)
    assert (parts["steps"]["type"]["minimum"], parts["steps"]["type"]["maximum"]) == (1, 200)
    assert parts["query"]["type"]["maxLength"] == 2000
    assert parts["model"]["type"]["enum"] == ["pocket"]


def test_openapi_tells_of_the_calls(served: Running) -> None:
    told = httpx.get(f"{served.address}/gradio_api/openapi.json", trust_env=False).raise_for_status().json()
    for name in ("edit", "mask", "contrast"):
        body = told["paths"][f"/gradio_api/call/v2/{name}"]["post"]
        properties = body["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert properties["query"]["maxLength"] == 2000
    assert not any(word in json.dumps(told) for word in ("githubusercontent", "github.com"))


def test_the_examples_of_the_docs_run(served: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FOX, tmp_path / "fox.png")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text("utf-8"), re.DOTALL)
    program = "\n".join(blocks).replace("http://127.0.0.1:7860", served.address)
    names: dict[str, Any] = {}
    exec(compile(program, "docs/api.md", "exec"), names)  # noqa: S102 - our own text
    assert len(blocks) == 2
    with Image.open(names["picture"]) as image:
        assert image.size == (128, 128)


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("jq"), reason="curl or jq is missing")
def test_the_shell_example_of_the_docs_runs(served: Running, tmp_path: Path) -> None:
    shutil.copy(FOX, tmp_path / "fox.png")
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "api.md").read_text("utf-8"), re.DOTALL)
    programs = [block.replace("http://127.0.0.1:7860", served.address) for block in blocks]
    told = [
        subprocess.run(["bash", "-euc", program], cwd=tmp_path, capture_output=True, timeout=120, check=True).stdout
        for program in programs
    ]
    assert [b"event: complete" in text for text in told] == [True, True]
    assert b"mask.png" in told[0]
    assert b'"state":"deleted"' in told[1]
    with zipfile.ZipFile(tmp_path / "results.zip") as pack:
        assert len(pack.namelist()) == 2 * 6 + 1
