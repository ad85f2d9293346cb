"""What the Ray engine and its actors refuse, and how they part rows into calls; in this process, without a cluster."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ray_works import TextWork
from wordbrush.batch.ray import _bundles, run_ray
from wordbrush.batch.ray_actor import TOKEN, RowActor, Terms, versions
from wordbrush.batch.work import EngineOptions, Rows
from wordbrush.errors import ModelError, SettingsError, WordbrushError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'wordbrush[ray]'")



def terms(folder: Path, **changes: Any) -> Terms:
    work = changes.pop("work", TextWork(str(folder)))
    given = {"token": "t", "facts": work.facts(), "versions": versions(), "threads": 1, "gpus": 1.0, **changes}
    (folder / "meeting").mkdir(exist_ok=True)
    (folder / "meeting" / TOKEN).write_text("t")
    return Terms(work=work, folder=str(folder / "meeting"), **given)


def refusal(terms: Terms) -> WordbrushError:
    import pyarrow

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
        ({"wait": -1}, "wait -1 is not a number from 0 on"),
        ({"cpus_per_worker": "two"}, "cpus_per_worker 'two' is not a number from 0 on"),
    ):
        options = EngineOptions(folder=tmp_path, extra=extra)
        with pytest.raises(SettingsError, match=message):
            list(run_ray(TextWork(str(tmp_path)), Rows([]), options))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"needs Ray: pip install 'wordbrush\[ray\]'"):
        list(run_ray(TextWork(str(tmp_path)), Rows([]), EngineOptions(folder=tmp_path)))
