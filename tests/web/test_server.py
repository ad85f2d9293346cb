"""The server put together: its private folder, what it never fetches or reads, and how it stops."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.workbench import Running, Visit, running
from wordbrush.errors import InputError, ModelError
from wordbrush.picture.samples import samples_folder
from wordbrush.web.gate.guard import HEALTH
from wordbrush.web.options import Limits, Options
from wordbrush.web.server import address_of, build_app, serve, sweep

FOX = samples_folder() / "fox.png"


@pytest.fixture(scope="module")
def workbench() -> Iterator[Running]:
    with running(Limits(file_bytes=1_000_000)) as made:
        yield made


@pytest.fixture
def visit(workbench: Running) -> Iterator[Visit]:
    with Visit.to(workbench.address) as made:
        yield made


def test_health_needs_no_cookie(workbench: Running) -> None:
    answer = httpx.get(workbench.address + HEALTH, trust_env=False)
    assert answer.json() == {"ok": True}
    assert "set-cookie" not in answer.headers


def test_files_lie_in_a_folder_of_our_own(workbench: Running) -> None:
    folder = workbench.workbench.files
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_the_page_names_no_other_server(visit: Visit) -> None:
    """Nothing is loaded from elsewhere, and the settings say nothing of this machine but the address."""
    page = visit.client.get("/").text
    for word in ("fonts.googleapis", "cdnjs", "jsdelivr", str(Path.home())):
        assert word not in page
    assert visit.config["space_id"] is None
    assert not visit.config.get("run_history", False)


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/x.png", "https://example.com/x.png", "/etc/passwd", "/dev/zero"])
def test_no_input_makes_the_server_fetch_or_read(visit: Visit, workbench: Running, place: str) -> None:
    """A file's place can stand anywhere in an input, also where the page has none."""
    before = set(workbench.workbench.files.rglob("*"))
    smuggled = {"path": place, "meta": {"_type": "gradio.FileData"}}
    for event in (event for event in visit.config["dependencies"] if not event["queue"]):
        data = [{"picture": smuggled}] * len(event["inputs"])
        body: dict[str, Any] = {"data": data, "fn_index": event["id"], "session_hash": "a"}
        answer = visit.client.post("/gradio_api/run/predict", json=body, timeout=10)
        assert "root:" not in answer.text
    assert set(workbench.workbench.files.rglob("*")) == before


def test_uploads_of_strangers_are_refused(workbench: Running) -> None:
    answer = httpx.post(workbench.address + "/wordbrush/picture", content=FOX.read_bytes(), trust_env=False)
    assert answer.status_code == 403


def test_a_file_too_large_is_refused(visit: Visit) -> None:
    answer = visit.client.post("/wordbrush/picture", content=bytes(26_000_000))
    assert answer.status_code == 413
    assert answer.json()["error"]


def test_stopping_leaves_nothing_behind() -> None:
    before = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "HF_HUB_DISABLE_TELEMETRY")}
    with running() as made, Visit.to(made.address) as visit:
        visit.upload(FOX)
        folder, visitors = made.workbench.files, made.workbench.visitors
        assert folder.is_dir()
        assert len(visitors) == 1
    assert not folder.exists()
    assert len(visitors) == 0
    assert {name: os.environ.get(name) for name in before} == before


def test_a_model_that_is_not_there_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ModelError):
        build_app(Options(models=("no-such-folder/model",)))
    assert list(tmp_path.iterdir()) == []


def test_old_files_are_swept(tmp_path: Path) -> None:
    for name in ("results/old/a.png", "results/new/b.png", "deep/er/c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    then = time.time() - 4000
    for name in ("results/old/a.png", "results/old", "deep/er/c", "deep/er", "deep"):
        os.utime(tmp_path / name, (then, then))
    sweep(tmp_path, time.time() - 3600)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"results/new/b.png"}
    assert tmp_path.is_dir()


def test_addresses_people_open() -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - nothing listens there
    assert address_of("127.0.0.1", 7860) == "http://127.0.0.1:7860"
    assert address_of(everywhere, 80) == "http://localhost:80"
    assert address_of("::1", 7860) == "http://[::1]:7860"


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1 port 7860"):
        serve(Options(host="192.0.2.1"))
