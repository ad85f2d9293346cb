"""The Ray engine, on a real Ray of two CPUs that is started once; nothing is mocked."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.batches import POISON, QUICK, PoisonWork, ToyBatch, ledger_rows, results, write_pictures
from tests.support.bounded import until, within
from tests.support.calls import ROOT
from tests.support.ray_works import TextWork, entries
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.ray import run_ray
from wordbrush.batch.ray_cluster import cluster_of
from wordbrush.batch.runner import BatchSummary, Progress, run_rows
from wordbrush.batch.work import EngineOptions, Rows
from wordbrush.errors import Cancelled, ModelError, OutputError, ResourceError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'wordbrush[ray]'")


@pytest.fixture(scope="module")
def started() -> Iterator[str]:
    """A Ray as the engine starts it, and its address; the tests' engines find it running, and leave it so."""
    with within(240), cluster_of(2, 1, 0) as (_, joined):
        signal.alarm(0)  # it is there; each test has its own bound
        assert not joined
        processes = of_ray()
        sockets = [one for process in processes for one in process.net_connections("tcp")]
        places = [one.laddr.ip.removeprefix("::ffff:") for one in sockets if one.status == psutil.CONN_LISTEN]
        assert len(places) >= 2
        assert set(places) == {"127.0.0.1"}  # nobody else can reach it
        yield ray.get_runtime_context().gcs_address
        assert ray.is_initialized()
        processes += of_ray()
        signal.alarm(180)
    assert not ray.is_initialized()
    assert not psutil.wait_procs(processes, timeout=60)[1]


def of_ray() -> list[psutil.Process]:
    """Return the processes below this one that are Ray's."""
    found, ours = [], (str(Path(ray.__file__).parent), "ray::")
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            found += [process] if any(word.startswith(ours) for word in process.cmdline()) else []
    return found


@pytest.fixture
def cluster(started: str) -> Iterator[str]:
    """The same for one test, which must not hang, and must leave neither actors nor places behind."""
    with within(300):
        yield started
        until(nothing_is_left, 60)


def nothing_is_left() -> bool:
    states = {group["state"] for group in ray.util.placement_group_table().values()}
    actors = [name for name in ray.util.list_named_actors() if name.startswith("wordbrush-")]
    return states <= {"REMOVED"} and not actors and ray.available_resources().get("CPU") == 2


def run(
    folder: Path,
    work: TextWork,
    asked: list[Any],
    *,
    engine: str = "ray",
    workers: int = 2,
    extra: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> BatchSummary:
    options = EngineOptions(folder=folder, workers=workers, extra=extra or {})
    with Ledger.open(folder) as ledger:
        return run_rows(ledger, work, asked, options, engine=engine, on_progress=on_progress)


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def log_of(folder: Path) -> list[list[str]]:
    """Which row began, in which process, in order."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
def test_poison_costs_itself_and_a_killed_actor_costs_nothing(cluster: str, tmp_path: Path) -> None:
    asked = entries(32, r5="bad", r13="die", r21="fault")
    random.Random(7).shuffle(asked)  # noqa: S311
    killed, over = list[str](), threading.Event()

    def kill() -> None:
        while not killed and not over.wait(0.02):
            begun = log_of(tmp_path / "ray")
            dying = [pid for name, pid in begun if name == "r13"]
            for _, pid in [row for row in begun[8:] if row[1] not in dying][-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    killed.append(pid)

    (tmp_path / "ray").mkdir()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = run(tmp_path / "ray", TextWork(str(tmp_path / "ray"), seconds=0.1), asked)
    finally:
        over.set()
        killer.join()
    assert killed
    assert (summary.total, summary.done, summary.failed, summary.waiting) == (32, 29, 3, 0)
    assert summary.exit_code == 6
    told = {group.name: (group.kind, group.example) for group in summary.errors}
    assert told["r5"] == ("PictureError", "no picture")
    assert told["r21"] == ("ZeroDivisionError", "ZeroDivisionError: a fault")
    assert told["r13"][0] == "WorkerDiedError"
    assert "ended 2 times" in told["r13"][1]

    begun = [name for name, _ in log_of(tmp_path / "ray")]
    assert begun.count("r13") in (1, 2)  # one retry and no more; once where the killed actor had it ahead
    assert len({pid for _, pid in log_of(tmp_path / "ray")}) >= 4  # two actors, and those in place of dead ones
    assert len(begun) < 32 + 24  # only what was in a call with a death was begun twice
    assert ray.data.DataContext.get_current().max_errored_blocks == 0  # the user's settings of Ray Data stay
    assert not list((tmp_path / "ray").glob(".wordbrush-ray-*"))

    (tmp_path / "local").mkdir()
    plain = [entry for entry in entries(32, r5="bad") if entry.name not in ("r13", "r21")]
    assert run(tmp_path / "local", TextWork(str(tmp_path / "local")), plain, engine="local", workers=1).done == 29
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
    run_rows(ledger, TextWork(str(folder), seconds=0.2), entries(32), options, engine="ray")
"""


@pytest.mark.slow
def test_a_killed_driver_loses_what_was_in_flight_alone(cluster: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes 127.0.0.1 for this machine's address to others
    }
    with (tmp_path / "told").open("wb") as told:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path), cluster], env=environment, stdout=told, stderr=told
        )
        try:
            until(lambda: driver.poll() is not None or len(texts(tmp_path)) >= 10)
            assert driver.poll() is None, (tmp_path / "told").read_text()
            with pytest.raises(OutputError, match="another batch is writing"):
                Ledger.open(tmp_path)
        finally:
            driver.kill()
            driver.wait()
    with Ledger.open(tmp_path, read_only=True) as ledger:
        before = {row["name"] for row in ledger.rows(state="done")}
    assert 5 <= len(before) < 32  # outcomes were written during the run
    summary = run(tmp_path, TextWork(str(tmp_path)), entries(32))
    assert (summary.done, summary.failed, summary.resumed) == (32, 0, len(before))
    begun = [name for name, _ in log_of(tmp_path)]
    assert all(begun.count(name) == 1 for name in before)
    assert len(begun) <= 32 + 2 * 2 * 4  # two actors, two calls each, of four rows each
    assert len(texts(tmp_path)) == 32
    assert (tmp_path / "told").read_text() == ""  # nothing of Ray's on the terminal


def test_shuffled_edits_and_their_failures_are_those_of_the_local_engine(cluster: str, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "in", 5)
    rows: list[dict[str, Any]] = [{"picture": str(path), "seed": seed} for path in pictures for seed in range(4)]
    rows[3]["query"], rows[9]["query"] = POISON["NotFiniteError"], POISON["ResourceError"]
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    rows[14]["picture"] = str(tmp_path / "in" / "bad.png")

    def edited(rows: list[dict[str, Any]], engine: str, workers: int) -> BatchSummary:
        batch = replace(ToyBatch.of(rows, tmp_path / engine, **{**QUICK, "model": "toy"}), kind=PoisonWork)
        return batch.run(engine=engine, workers=workers, threads=1)

    one = edited(rows, "local", 1)
    two = edited(random.Random(3).sample(rows, len(rows)), "ray", 2)  # noqa: S311
    assert (one.done, one.failed, one.exit_code) == (two.done, two.failed, two.exit_code) == (17, 3, 6)
    kinds = {row["item"]["query"]: row["error_type"] for row in ledger_rows(tmp_path / "ray") if row["error_type"]}
    assert kinds == {POISON["NotFiniteError"]: "NotFiniteError", POISON["ResourceError"]: "ResourceError",
                     QUICK["to"]: "PictureError"}  # fmt: skip
    local = results(tmp_path / "local")
    assert len(local) == 34  # with their masks
    assert results(tmp_path / "ray") == local


def test_what_ends_the_run_is_raised_in_the_driver_and_ends_it(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"^on \S+: the disk is full$") as kept:
        run(tmp_path, TextWork(str(tmp_path), seconds=0.05), entries(400, r1="full"))
    until(nothing_is_left, 60)  # although the error is kept, and with it all that its frames name
    assert len(log_of(tmp_path)) < 200
    assert kept.value.exit_code == 3
    with Ledger.open(tmp_path, read_only=True) as ledger:
        assert ledger.counts()["failed"] == ledger.counts()["running"] == 0

    monkeypatch.setenv("WORDBRUSH_TEST_MODEL", "another")  # the actors' environment is that of Ray's start
    with pytest.raises(ModelError, match=r"^on \S+: the model there is not the driver's"):
        run(tmp_path, TextWork(str(tmp_path), origin="WORDBRUSH_TEST_MODEL"), entries(3), workers=1)


def test_a_stop_ends_what_was_begun_and_an_interrupt_ends_all(cluster: str, tmp_path: Path) -> None:
    stopped = threading.Event()
    rows = [{"key": e.key, "number": e.number, "name": e.name, "grp": e.group, "item": "{}"} for e in entries(40)]
    work, outcomes = TextWork(str(tmp_path), seconds=0.3), list[str]()
    options = EngineOptions(folder=tmp_path, workers=1)
    for outcome in run_ray(work, Rows(rows, stopped.is_set), options):
        outcomes.append(outcome["key"].replace("k", "r"))
        stopped.set()
    assert 1 <= len(outcomes) <= 6
    assert outcomes == [name for name, _ in log_of(tmp_path)]
    until(nothing_is_left, 60)
    second = run_ray(work, Rows(rows), options)
    assert next(second)["state"] == "done"
    with pytest.raises(KeyboardInterrupt):
        second.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    until(nothing_is_left, 60)
    assert len(log_of(tmp_path)) < 40


def test_a_run_that_gets_no_place_says_who_has_it(cluster: str, tmp_path: Path) -> None:
    others = [ray.util.placement_group([{"CPU": 1}], name=name) for name in ("wordbrush /other 0a-0", "")]
    told = list[str]()
    try:
        ray.get([other.ready() for other in others])
        taken = "0 of its 2 CPU free (1 held by a placement group, 1 held by wordbrush /other)"
        with pytest.raises(ResourceError) as refused:
            run(
                tmp_path, TextWork(str(tmp_path)), entries(2), extra={"wait": 4},
                on_progress=lambda progress: told.append(progress.waiting_for),
            )  # fmt: skip
        assert str(refused.value) == f"no machine of the cluster offered 1 CPU within 4 seconds: {taken}"
        assert told[0] == ""
        assert told[1].startswith("waiting for 1 CPU of the cluster, ")
        assert told[1].endswith(f" s at most: {taken}")
        with pytest.raises(Cancelled):
            list(run_ray(TextWork(str(tmp_path)), Rows([], lambda: True), EngineOptions(folder=tmp_path)))
    finally:
        for other in others:
            ray.util.remove_placement_group(other)
