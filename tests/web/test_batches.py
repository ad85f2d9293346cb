"""Batches over HTTP: their results are those of `wordbrush.batch`, within limits, and nothing names a place here."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import wordbrush as wb
from tests.support.batches import results, write_pictures
from tests.support.calls import FOX, META, upload
from tests.support.command import mask_file
from tests.support.workbench import Running, running
from wordbrush.web.options import Limits
from wordbrush.web.state.share import Caller

TEXTS = {"to": "a {animal} on snow", "reference": "a fox on snow"}
FAST = "--steps 2 --maps 1 --strength 0.6 --no-antithetic"
LIMITS = Limits(
    batch_items=16, batch_bytes=2_000_000, folder_bytes=8_000_000, file_bytes=1_000_000, steps=50, in_flight=4
)


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running(LIMITS) as workbench:
        root = workbench.workbench.files.parent
        yield workbench
        with httpx.Client(base_url=workbench.address, timeout=120, trust_env=False) as client:
            sent(client, items=[{"picture": upload(workbench, FOX.read_bytes()), "animal": "penguin"}] * 16)
    deadline = time.monotonic() + 60
    while root.exists():  # what ran when the server stopped has left nothing behind
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def http(served: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.address, timeout=120, trust_env=False) as client:
        yield client


def sent(http: httpx.Client, **body: Any) -> str:
    """Send a batch and return its address."""
    answer = http.post("/wordbrush/batch", json={"switches": FAST, **TEXTS, **body})
    assert answer.status_code == 200, answer.text
    return f"/wordbrush/batch/{answer.json()['batch']}"


def ended(http: httpx.Client, place: str) -> dict[str, Any]:
    """Wait for a batch by its events, and return what the last one tells."""
    with http.stream("GET", f"{place}/events") as answer:
        events = list(answer.iter_lines())
    assert answer.status_code == 200, events
    told: dict[str, Any] = json.loads(events[-2].removeprefix("data: "))
    assert events[-3] == "event: complete"
    return told


def refused(http: httpx.Client, status: int, *parts: str, **body: Any) -> None:
    answer = http.post("/wordbrush/batch", json={"switches": FAST, **TEXTS, **body})
    assert answer.status_code == status, answer.text
    for part in parts:
        assert part in answer.json()["error"], answer.text


def test_results_are_those_of_python(served: Running, http: httpx.Client, tmp_path: Path) -> None:
    fox = upload(served, FOX.read_bytes())
    mask = upload(served, mask_file(tmp_path / "m.png", (64, 64), (10, 10, 50, 50)).read_bytes(), "m.png")
    coded = "data:image/png;base64," + base64.b64encode(write_pictures(tmp_path, 1, (64, 64))[0].read_bytes()).decode()
    items: list[dict[str, Any]] = [
        {"picture": fox, "animal": "penguin"},
        {"picture": fox["path"], "to": "a tree", "seed": "7-8", "ratio": 0.6, "output": "../../my tree"},
        {"picture": coded, "animal": "penguin", "mask": mask},
        {"picture": fox},  # lacks a column
        {"animal": "penguin"},
        {"picture": upload(served, b"no picture", "no.png"), "animal": "penguin"},
    ]
    place = sent(http, items=items, seed="3", switches=f"{FAST} --ratio 0.5,0.7")
    told = ended(http, place)
    assert (told["state"], told["total"], told["error"], told["left"]) == ("done", 10, None, None)
    assert told["items"] == {"waiting": 0, "running": 0, "done": 6, "failed": 4}
    assert {(group["kind"], group["count"]) for group in told["errors"]} == {("PictureError", 2), ("InputError", 2)}

    kept = served.workbench.files.parent / "batches" / place.rpartition("/")[2]
    more: dict[str, Any] = {**TEXTS, "steps": 2, "maps": 1, "strength": (0.6,), "seed": 3}
    more["grid"] = {"ratio": [0.5, 0.7]}
    editor = served.workbench.models.editor("pocket")
    summary = wb.batch(kept / "items.jsonl", tmp_path / "out", model=editor, **more)
    assert (summary.done, summary.failed) == (6, 4)
    expected = results(tmp_path / "out")
    with zipfile.ZipFile(io.BytesIO(http.get(f"{place}/results.zip").content)) as pack:
        assert pack.testzip() is None
        got = {name: pack.read(name) for name in pack.namelist() if name != "items.jsonl"}
        table = pack.read("items.jsonl")
    assert got == expected
    assert {"_.._my tree-s7.png", "masks/_.._my tree-s7.png"} <= got.keys()  # what an item sets is not multiplied
    assert len(got) == 12

    pages = [http.get(f"{place}/items", params={"start": start, "count": 6}).json()["items"] for start in (0, 6, 12)]
    assert [len(page) for page in pages] == [6, 4, 0]
    assert [json.loads(line) for line in table.splitlines()] == [*pages[0], *pages[1]]
    assert http.get(f"{place}/items.jsonl").content == table
    failed = http.get(f"{place}/items", params={"state": "failed"}).json()["items"]
    sentences = {item["line"]: item["error"] for item in failed}
    assert "needs a column animal" in sentences[4]
    assert "there is no picture" in sentences[5]
    assert sentences[6].startswith("no.png")
    one = pages[0][0]
    assert (one["picture"], one["query"], one["data"]) == ("fox.png", "a penguin on snow", {"animal": "penguin"})
    assert one["result"]["timings"].keys() >= {"contrast", "decode"}
    item = http.get(f"{place}/item/{one['key']}")
    assert item.json() == one
    assert http.get(f"{place}/item/{one['key']}/result").content == expected[one["output"]]
    assert http.get(f"{place}/item/{one['key']}/mask").content == expected[one["result"]["mask"]]
    told_texts = [http.get(place).text, table.decode(), item.text, *sentences.values()]
    assert not [text for text in told_texts if str(kept) in text or str(kept.parents[1]) in text or "inputs/" in text]
    assert http.delete(place).json()["state"] == "deleted"
    assert not kept.exists()
    assert http.get(place).status_code == 404


def test_a_batch_goes_on_and_tries_again(served: Running, http: httpx.Client) -> None:
    fox = upload(served, FOX.read_bytes())
    items = [{"picture": fox, "animal": "penguin"}, {"picture": upload(served, b"none", "no.png"), "animal": "tree"}]
    place = sent(http, items=items, name="{stem}-{animal}", masks=False, format=".webp")
    first = ended(http, place)
    (done,) = http.get(f"{place}/items", params={"state": "done"}).json()["items"]
    assert (done["output"], done["result"].get("mask")) == ("fox-penguin.webp", None)
    assert http.get(f"{place}/item/{done['key']}/mask").status_code == 404
    before = served.rows
    assert http.post(f"{place}/run", json={"retry_failed": True}).json()["state"] in {"waiting", "running", "done"}
    again = ended(http, place)
    assert (again["items"], again["state"]) == (first["items"], "done")
    assert served.rows == before
    (failed,) = http.get(f"{place}/items", params={"state": "failed"}).json()["items"]
    assert failed["attempts"] == 2
    answer = http.post(f"{place}/run", json={"retry": True})
    assert (answer.status_code, "retry_failed" in answer.json()["error"]) == (422, True)
    http.delete(place)


def test_edits_go_first_and_cancelling_stops(
    served: Running, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an edit has the device a batch waits; cancelled in an item, it leaves that item for the next run."""
    fox, free, asked = upload(served, FOX.read_bytes()), threading.Event(), threading.Event()
    edits = [Caller("203.0.113.1")]
    served.workbench.share.sources.append(lambda: edits)  # somebody's edit runs
    place = sent(http, items=[{"picture": fox, "animal": name} for name in ("penguin", "tree", "dog")])
    before, rows = http.get(place).json(), served.rows
    assert (before["state"], before["items"]["waiting"]) == ("waiting", 3)
    time.sleep(0.5)
    assert served.rows == rows
    assert http.get(f"{place}/items").json()["items"] == []

    driver = served.workbench.models.editor("pocket").driver
    stream = driver.stream

    def held_up(items: Any, callback: Any) -> Any:
        def held(event: Any) -> None:
            asked.set()
            assert free.wait(60)
            callback(event)

        return stream(items, held)

    monkeypatch.setattr(driver, "stream", held_up)
    try:
        edits.clear()
        assert asked.wait(60)
        assert http.get(place).json()["items"] == {"waiting": 2, "running": 1, "done": 0, "failed": 0}
        assert http.post(f"{place}/run").status_code == 503
        http.post(f"{place}/cancel")
        free.set()
        told = ended(http, place)
    finally:
        free.set()
        monkeypatch.undo()
        served.workbench.share.sources.pop()
    assert (told["state"], told["items"]) == ("cancelled", {"waiting": 3, "running": 0, "done": 0, "failed": 0})
    http.post(f"{place}/run")
    assert ended(http, place)["items"]["done"] == 3
    http.delete(place)


def test_what_is_refused_at_once(served: Running, http: httpx.Client, tmp_path: Path) -> None:
    fox = upload(served, FOX.read_bytes())
    one = {"picture": fox, "animal": "penguin"}
    held = set((served.workbench.files.parent / "batches").rglob("*"))
    for item in ("x", [], [1], None):
        refused(http, 422, "items is not a list of objects", items=item)
    refused(http, 422, "at most 16 a batch", items=[one] * 17)
    refused(http, 422, "at most 16 a batch", items=[one], seed="1-17")
    refused(http, 422, "at most 16 a batch", items=[{**one, "seed": "1-9000"}])
    refused(http, 422, "at most 16 a batch", items=[one] * 5, switches="--ratio 0.5,0.6,0.7,0.8")
    many = ",".join(f"0.{n}" for n in range(1, 100))
    refused(http, 422, "at most 16 a batch", items=[one], switches=f"--ratio {many} --eta {many} --threshold {many}")
    refused(http, 422, "item 1: 60 steps; at most 50", items=[{**one, "steps": 60}])
    refused(http, 422, "60 steps; at most 50", items=[one], switches="--steps 60")
    refused(http, 422, "item 1: the query has more than 2,000", items=[{**one, "animal": "x" * 3000}])
    refused(http, 422, "16,000 characters", items=[{**one, "more": "x" * 20_000}])
    refused(http, 422, "to has 2,001 characters", items=[one], to="x" * 2001)
    refused(http, 422, "unknown input 'folder'", "items, to", items=[one], folder="/etc")
    refused(http, 422, "format '.gif'", items=[one], format=".gif")
    refused(http, 422, "seed", items=[one], seed="random")
    refused(http, 422, "ratio", items=[one], switches="--ratio 7")
    refused(http, 422, "'--model' is not one", items=[one], switches="--model /etc")
    refused(http, 422, "model 'other' is unknown", items=[one], model="other")
    refused(http, 422, "truth", items=[{**one, "truth": "/etc/passwd"}])
    refused(http, 422, "stands twice", items=[{**one, "Picture": fox}])
    noise = write_pictures(tmp_path, 6, (500, 500))
    files = [upload(served, path.read_bytes(), path.name) for path in noise]
    refused(http, 413, "2 MB", items=[{"picture": file} for file in files])
    assert set((served.workbench.files.parent / "batches").rglob("*")) == held
    answer = http.post("/wordbrush/batch", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (422, "the body is not JSON")


@pytest.mark.parametrize(
    "place",
    ["/etc/passwd", "../../../etc/passwd", "file:///etc/passwd", "memory://a.png", "https://example.com/a.png", "a\0b",
     "", "~/a.png", 7, {"path": "/etc/passwd", "meta": META}, {"path": "/etc/passwd"}, ["x"], {"picture": {}}],
)  # fmt: skip
def test_only_uploads_are_files(http: httpx.Client, place: Any) -> None:
    for column in ("picture", " PICTURE ", "mask", "Include", "exclude"):
        answer = http.post("/wordbrush/batch", json={"to": "a tree", "items": [{column: place}]})
        assert answer.status_code == 422, answer.text
        assert "root:" not in answer.text
        assert answer.json()["error"].startswith("item 1: ")
    answer = http.post("/wordbrush/batch", json={"to": "a tree", "mask": place, "items": [{}]})
    assert answer.status_code == 422


def test_batches_are_counted_and_go(served: Running, http: httpx.Client) -> None:
    """A batch is a job among those of its address, which has half of the batches that the disk has room for."""
    one, edits, share = {"picture": upload(served, FOX.read_bytes())}, [Caller("203.0.113.1")], served.workbench.share
    share.sources.append(lambda: edits)  # so that none begins
    try:
        places = [sent(http, items=[one], to="a tree") for _ in range(2)]
        refused(http, 503, "Busy: 2 batches from your address", items=[one])
        mine = [caller for source in share.sources for caller in source() if caller.address == "127.0.0.1"]
        assert mine == [Caller("127.0.0.1")] * 2
        share.sources.append(lambda: [Caller("127.0.0.1")] * 2)
        refused(http, 503, "Busy: 4 of your own jobs", items=[one])
        share.sources.pop()
        http.delete(places[0])
        assert http.get(places[0]).status_code == 404
    finally:
        share.sources.pop()
    assert ended(http, places[1])["items"]["done"] == 1
    batches = served.workbench.files.parent / "batches"
    while [*batches.iterdir()] != [batches / places[1].rpartition("/")[2]]:  # the other one has gone, too
        time.sleep(0.05)


def test_a_batch_ends_where_it_takes_too_much(served: Running, http: httpx.Client, tmp_path: Path) -> None:
    files = [upload(served, path.read_bytes(), path.name) for path in write_pictures(tmp_path, 3, (540, 540))]
    place = sent(http, items=[{"picture": file} for file in files], to="a tree", format=".tif")
    told = ended(http, place)
    assert (told["state"], told["items"]["done"], told["items"]["waiting"]) == ("failed", 1, 2)
    assert told["error"] == "a batch takes at most 2 MB here: fetch the results, delete it"
    (done,) = http.get(f"{place}/items", params={"state": "done"}).json()["items"]
    assert http.get(f"{place}/item/{done['key']}/result").content[:2] == b"II"
    http.delete(place)


def test_what_is_not_there(http: httpx.Client, served: Running) -> None:
    place = sent(http, items=[{"picture": upload(served, FOX.read_bytes())}], to="a tree")
    key = ended(http, place) and http.get(f"{place}/items").json()["items"][0]["key"]
    unknown = f"/wordbrush/batch/{'A' * 43}"
    ways = ["", "/events", "/items", "/items.jsonl", "/results.zip", f"/item/{key}", f"/item/{key}/result"]
    asked = [("GET", f"{unknown}{way}") for way in ways]
    asked += [("POST", f"{unknown}/cancel"), ("POST", f"{unknown}/run"), ("DELETE", unknown)]
    parts = ("0" * 64, f"{key}/ledger.sqlite", f"{key}/out", "%2e%2e/mask")
    asked += [("GET", f"{place}/item/{part}") for part in parts]
    asked += [("DELETE", f"{place}/items"), ("PUT", place), ("DELETE", "/wordbrush/batch")]
    for method, address in asked:
        answer = http.request(method, address)
        assert answer.status_code == 404, (method, address, answer.text)
        assert answer.json()["error"]
    for wrong in ({"start": "-1"}, {"count": "0"}, {"count": "1001"}, {"start": "x"}, {"state": "lost"}):
        answer = http.get(f"{place}/items", params=wrong)
        assert (answer.status_code, next(iter(wrong)) in answer.json()["error"]) == (422, True)
    http.delete(place)


def test_the_schema_says_what_is_taken(http: httpx.Client) -> None:
    schema = http.get("/wordbrush/batch").json()
    assert schema["properties"]["items"]["maxItems"] == 16
    assert schema["properties"]["to"]["maxLength"] == 2000
    assert all(part["description"] for part in schema["properties"].values())
