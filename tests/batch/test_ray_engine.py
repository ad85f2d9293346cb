"""The Ray engine, on a real Ray of two CPUs that is started once; nothing is mocked."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wordbrush as wb
from tests.support.batches import results, write_pictures
from tests.support.calls import ROOT
from tests.support.ray_works import TextWork, entries
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.ray import _bundles, run_ray
from wordbrush.batch.ray_actor import TOKEN, RowActor, Terms, versions
from wordbrush.batch.ray_cluster import cluster_of
from wordbrush.batch.runner import BatchSummary, run_rows
from wordbrush.batch.work import EngineOptions, Rows
from wordbrush.errors import ModelError, OutputError, SettingsError, WordbrushError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'wordbrush[ray]'")
pytestmark = pytest.mark.skipif(
    "WORDBRUSH_TEST_RAY" not in os.environ,
    reason="`make test-ray` runs these alone: beside other tests a run once waited for processors without end",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray as the engine starts it, and its address; the tests' engines find it running, and leave it so."""
    with cluster_of(2, 1, 0) as (_, joined):
        assert not joined
        yield ray.get_runtime_context().gcs_address
        assert ray.is_initialized()
    assert not ray.is_initialized()


def run(folder: Path, work: TextWork, asked: list[Any], *, engine: str = "ray", workers: int = 2) -> BatchSummary:
    with Ledger.open(folder) as ledger:
        return run_rows(ledger, work, asked, EngineOptions(folder=folder, workers=workers), engine=engine)


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def log_of(folder: Path) -> list[list[str]]:
    """Which row began, in which process, in order."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def until(found: Any, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.mark.slow
def test_poison_costs_itself_and_a_killed_actor_costs_nothing(cluster: str, tmp_path: Path) -> None:
    asked = entries(48, r5="bad", r13="die", r21="fault")
    random.Random(7).shuffle(asked)  # noqa: S311
    killed = list[int]()

    def kill() -> None:
        begun = until(lambda: [pid for name, pid in log_of(tmp_path / "ray")[8:] if name not in ("r13", "r21")])
        killed.append(int(begun[-1]))
        os.kill(killed[0], signal.SIGKILL)

    (tmp_path / "ray").mkdir()
    killer = threading.Thread(target=kill)
    killer.start()
    summary = run(tmp_path / "ray", TextWork(str(tmp_path / "ray"), seconds=0.1), asked)
    killer.join()
    assert (summary.total, summary.done, summary.failed, summary.waiting) == (48, 45, 3, 0)
    assert summary.exit_code == 6
    told = {group.name: (group.kind, group.example) for group in summary.errors}
    assert told["r5"] == ("PictureError", "no picture")
    assert told["r21"] == ("ZeroDivisionError", "ZeroDivisionError: a fault")
    assert told["r13"][0] == "WorkerDiedError"
    assert "ended 2 times" in told["r13"][1]

    begun = [name for name, _ in log_of(tmp_path / "ray")]
    assert begun.count("r13") in (1, 2)  # one retry and no more; once where the killed actor had it ahead
    assert len({pid for _, pid in log_of(tmp_path / "ray")}) >= 4  # two actors, and those in place of dead ones
    assert len(begun) < 48 + 32  # only what was in a call with a death was begun twice
    assert ray.data.DataContext.get_current().max_errored_blocks == 0  # the user's settings of Ray Data stay
    assert not list((tmp_path / "ray").glob(".wordbrush-ray-*"))

    (tmp_path / "local").mkdir()
    plain = [entry for entry in entries(48, r5="bad") if entry.name not in ("r13", "r21")]
    assert run(tmp_path / "local", TextWork(str(tmp_path / "local")), plain, engine="local", workers=1).done == 45
    assert texts(tmp_path / "ray") == texts(tmp_path / "local")


DRIVER = """
import sys
from pathlib import Path
from tests.support.ray_works import TextWork, entries
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.runner import run_rows
from wordbrush.batch.work import EngineOptions

folder, address = Path(sys.argv[1]), sys.argv[2]
options = EngineOptions(folder=folder, workers=2, extra={"address": address})
with Ledger.open(folder) as ledger:
    run_rows(ledger, TextWork(str(folder), seconds=0.2), entries(40), options, engine="ray")
"""


@pytest.mark.slow
def test_a_killed_driver_loses_what_was_in_flight_alone(cluster: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    with (tmp_path / "told").open("wb") as told:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path), cluster], env=environment, stdout=told, stderr=told
        )
        try:
            until(lambda: driver.poll() is not None or len(texts(tmp_path)) >= 12)
            assert driver.poll() is None, (tmp_path / "told").read_text()
            with pytest.raises(OutputError, match="another batch is writing"):
                Ledger.open(tmp_path)
        finally:
            driver.kill()
            driver.wait()
    with Ledger.open(tmp_path, read_only=True) as ledger:
        before = {row["name"] for row in ledger.rows(state="done")}
    assert 6 <= len(before) < 40  # outcomes were written during the run
    summary = run(tmp_path, TextWork(str(tmp_path)), entries(40))
    assert (summary.done, summary.failed, summary.resumed) == (40, 0, len(before))
    begun = [name for name, _ in log_of(tmp_path)]
    assert all(begun.count(name) == 1 for name in before)
    assert len(begun) <= 40 + 2 * 2 * 5  # two actors, two calls each, of five rows each
    assert len(texts(tmp_path)) == 40
    assert (tmp_path / "told").read_text() == ""  # nothing of Ray's on the terminal


@pytest.mark.slow
def test_edits_are_byte_for_byte_those_of_the_local_engine(cluster: str, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3, (64, 64))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [{"picture": str(path), "seed": seed} for path in pictures for seed in (0, 1)]
    rows.append({"picture": str(tmp_path / "bad.png")})
    shuffled = random.Random(3).sample(rows, len(rows))  # noqa: S311
    switches: dict[str, Any] = {"to": "a duck on grass", "reference": "a dog", "steps": 2, "maps": 1}
    one = wb.batch(rows, tmp_path / "local", workers=1, threads=1, **switches)
    two = wb.batch(shuffled, tmp_path / "ray", engine="ray", workers=2, threads=1, **switches)
    assert (one.done, one.failed, one.exit_code) == (two.done, two.failed, two.exit_code) == (6, 1, 6)
    assert {e.kind for e in two.errors} == {"PictureError"}
    local = results(tmp_path / "local")
    assert len(local) == 12  # with their masks
    assert results(tmp_path / "ray") == local


def test_datasets_map_and_a_plain_loop_do_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = [{"picture": str(path), "breed": "duck"} for path in write_pictures(tmp_path / "pictures", 2, (64, 64))]
    rows.append({"picture": str(tmp_path / "none.png"), "breed": "duck"})
    told = dict[str, list[dict[str, Any]]]()
    for name in ("loop", "map", "pickled"):
        edit = wb.EditItem(tmp_path / name, to="a {breed} on grass", steps=2, maps=1, strength=(0.5,))
        if name == "map":
            made = datasets.Dataset.from_list(rows).map(edit, load_from_cache_file=False)
            told[name] = [{**row} for row in made]
        else:
            edit = pickle.loads(pickle.dumps(edit))  # noqa: S301
            told[name] = [{**row, **edit(row)} for row in rows]
    assert [row["state"] for row in told["map"]] == ["done", "done", "failed"]
    for name in ("map", "pickled"):
        assert [{**row, "seconds": 0} for row in told[name]] == [{**row, "seconds": 0} for row in told["loop"]]
    assert results(tmp_path / "map") == results(tmp_path / "loop")


def test_what_ends_the_run_is_raised_in_the_driver(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"^on \S+: the disk is full$"):
        run(tmp_path, TextWork(str(tmp_path)), entries(3, r1="full"), workers=1)
    with Ledger.open(tmp_path, read_only=True) as ledger:
        assert ledger.counts()["failed"] == ledger.counts()["running"] == 0

    monkeypatch.setenv("WORDBRUSH_TEST_MODEL", "another")  # the actors' environment is that of Ray's start
    with pytest.raises(ModelError, match=r"^on \S+: the model there is not the driver's"):
        run(tmp_path, TextWork(str(tmp_path), origin="WORDBRUSH_TEST_MODEL"), entries(3), workers=1)


def test_a_stop_ends_what_was_begun_and_nothing_else(cluster: str, tmp_path: Path) -> None:
    stopped = threading.Event()
    rows = [{"key": e.key, "number": e.number, "name": e.name, "grp": e.group, "item": "{}"} for e in entries(40)]
    work, outcomes = TextWork(str(tmp_path), seconds=0.3), list[str]()
    for outcome in run_ray(work, Rows(rows, stopped.is_set), EngineOptions(folder=tmp_path, workers=1)):
        outcomes.append(outcome["key"].replace("k", "r"))
        stopped.set()
    assert 1 <= len(outcomes) <= 6
    assert outcomes == [name for name, _ in log_of(tmp_path)]


# What an actor refuses, in this process.


def terms(folder: Path, **changes: Any) -> Terms:
    work = changes.pop("work", TextWork(str(folder)))
    given = {"token": "t", "facts": work.facts(), "versions": versions(), "threads": 1, "gpus": 1.0, **changes}
    (folder / "meeting").mkdir(exist_ok=True)
    (folder / "meeting" / TOKEN).write_text("t")
    return Terms(work=work, folder=str(folder / "meeting"), **given)


def refusal(terms: Terms) -> WordbrushError:
    import json, pyarrow

    row = {"key": "k", "name": "r", "item": "{}"}
    (told,) = RowActor(terms)(pyarrow.table({"rows": [json.dumps([row])]}))
    assert told["outcome"] == ["null"]
    error = pickle.loads(told["fatal"][0])  # noqa: S301
    assert isinstance(error, WordbrushError)
    return error


def test_an_actor_refuses_what_is_not_the_drivers(tmp_path: Path) -> None:
    other = {**versions(), "diffusers": "0.1"}
    assert "results of a cluster need shared storage" in str(refusal(terms(tmp_path, token="u")))  # noqa: S106
    assert "the model there is not the driver's" in str(refusal(terms(tmp_path, facts={"files": {}})))
    assert "but 0.1 at the driver: install the same" in str(refusal(terms(tmp_path, versions=other)))
    refused = refusal(terms(tmp_path, work=TextWork(str(tmp_path), opens=False)))
    assert isinstance(refused, ModelError)
    assert str(refused).endswith(": there is no such model")


def test_an_actor_whose_process_dies_while_it_loads_is_not_started_for_ever(tmp_path: Path) -> None:
    ready = terms(tmp_path)
    assert RowActor(ready).make is not None
    count = tmp_path / "meeting" / "start-None"  # outside of Ray there is no actor
    assert not count.exists()
    count.write_bytes(b"..")
    with pytest.raises(ZeroDivisionError), ready._counted():
        assert len(count.read_bytes()) == 3
        raise ZeroDivisionError
    assert "ended 3 times while it loaded the model" in str(refusal(ready))


def test_calls_keep_a_group_together_and_the_order() -> None:
    keys = ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "d1", "d2", "d3", "d4", "d5"]
    rows = [{"key": key, "grp": key[0]} for key in keys]
    parts = _bundles(rows, 4)
    assert [[row["key"] for row in part] for part in parts] == [
        ["a1", "a2", "a3"], ["b1", "b2", "b3", "c1"], ["d1", "d2", "d3", "d4"], ["d5"],
    ]  # fmt: skip
    assert [len(part) for part in _bundles(rows, 1)] == [1] * 12
    assert _bundles([], 4) == []


def test_refusals_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for extra, message in (
        ({"adress": "x"}, "engine option 'adress' is unknown"),
        ({"address": "ray://head:10001"}, "start on a machine of the cluster"),
        ({"cpus_per_worker": "two"}, "cpus_per_worker 'two' is not a number from 0 on"),
    ):
        options = EngineOptions(folder=tmp_path, extra=extra)
        with pytest.raises(SettingsError, match=message):
            list(run_ray(TextWork(str(tmp_path)), Rows([]), options))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"needs Ray: pip install 'wordbrush\[ray\]'"):
        list(run_ray(TextWork(str(tmp_path)), Rows([]), EngineOptions(folder=tmp_path)))
