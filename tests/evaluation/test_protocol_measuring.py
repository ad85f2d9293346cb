"""Measures of protocols: values kept until a picture changes, figures of tables, distances between sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.metric_networks import write_vision
from wordbrush.batch.work import done
from wordbrush.evaluation.intervals import interval_over
from wordbrush.evaluation.networks.figures import Figure, Skipped
from wordbrush.evaluation.networks.preparing import FLEXIT_CLASSIFIER, Preparation
from wordbrush.evaluation.networks.vision import load_features
from wordbrush.evaluation.protocols.common import Entry
from wordbrush.evaluation.protocols.measures import classifier_preparation
from wordbrush.evaluation.protocols.measuring import Measure, Pair, SetMeasure, measure_entries, measure_sets, pairs_of
from wordbrush.evaluation.protocols.set_measures import csfid_measure, moments_of
from wordbrush.evaluation.protocols.tables import figures_of
from wordbrush.evaluation.run_folder import RunFolder, entry_of, open_run
from wordbrush.evaluation.sets import ClassMeans, moments


def _pair(folder: Path, name: str, digest: str = "a", target: int | None = None) -> Pair:
    entry = Entry(name, folder / f"{name}.png", "q", target=target, groups={"kind": name})
    return Pair(entry, {"sha256": digest, "output": f"{name}.png", "mask": None, "seconds": 2.0}, folder)


def test_values_are_computed_once_until_the_picture_changes(tmp_path: Path) -> None:
    seen: list[str] = []

    def compute(pair: Pair) -> dict[str, float | bool | None]:
        seen.append(pair.entry.id)
        return {"value": float("inf") if pair.entry.id == "b" else 1.5}

    def edited(opened: RunFolder, name: str, digest: str) -> None:
        opened.ledger.add([entry_of(name, 1, {})])
        opened.ledger.finish(done({"key": name}, sha256=digest, mask=None))

    def measured(opened: RunFolder, measure: Measure, *names: str) -> Mapping[str, Any]:
        pairs = pairs_of([Entry(name, tmp_path, "q") for name in names], opened.rows(), tmp_path)
        return measure_entries(pairs, [measure], opened.ledger)[0]

    measure = Measure("m", ("value",), compute)
    old = {"journal": 1, "settings": measure.identity()}, *({"id": n, "of": "old", "value": 7.0} for n in "ac")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / f"{measure.mark}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    with open_run(tmp_path, {}, "none") as opened:
        for name, digest in (("a", "a"), ("b", "a"), ("c", "old")):
            edited(opened, name, digest)
        found = {"a": {"value": 1.5}, "b": {"value": None}, "c": {"value": 7.0}}
        assert measured(opened, measure, "a", "b", "c") == measured(opened, measure, "a", "b", "c") == found
        assert seen == ["a", "b"]
        edited(opened, "b", "other")
        measured(opened, measure, "a", "b", "c")
        assert seen == ["a", "b", "b"]
        measured(opened, Measure("m", ("value",), compute, facts={"times": 2}), "a")
        assert measured(opened, measure, "a", "b", "c") == found
        assert seen == ["a", "b", "b", "a"]


def test_figures_of_sets_are_computed_once_until_a_picture_changes(tmp_path: Path) -> None:
    seen: list[int] = []

    def compute(pairs: Sequence[Pair]) -> list[Figure]:
        seen.append(len(pairs))
        return [Figure.mean("set", interval_over({"": [float(len(pairs)), 0.0]}))]

    measure = SetMeasure("s", ("set",), compute)
    one, two = [_pair(tmp_path, "a")], [_pair(tmp_path, "a"), _pair(tmp_path, "b")]
    first = measure_sets(one, [measure], tmp_path)
    assert measure_sets(one, [measure], tmp_path) == first
    assert measure_sets(two, [measure], tmp_path)[0].value == 1.0
    measure_sets([_pair(tmp_path, "a", "other")], [measure], tmp_path)
    assert seen == [1, 2, 1]
    (tmp_path / "sets.json").unlink()
    (tmp_path / "scores").mkdir()
    key = {"how": measure.identity(), "pictures": [("a", "a")]}
    mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    row = {"id": "s", "of": mark, "figures": [asdict(first[0])]}
    lines = json.dumps({"journal": 1, "settings": {}}), json.dumps(row), ""
    (tmp_path / "scores" / "sets.jsonl").write_text("\n".join(lines))
    assert measure_sets(one, [measure], tmp_path) == first
    assert seen == [1, 2, 1]


def test_what_is_skipped_stands_in_the_table_with_its_reason(tmp_path: Path) -> None:
    pairs = [_pair(tmp_path, "a"), _pair(tmp_path, "b")]
    measure = Measure("m", ("value",), lambda _: {})
    values: dict[str, dict[str, float | bool | None]] = {"a": {"value": True}, "b": {"value": None}}
    tables = figures_of(pairs, values, [measure], [("fid", Skipped("inception", "no weights"))])
    assert [(table.table, table.row, table.entries) for table in tables] == [
        ("all", "all", 2), ("kind", "a", 1), ("kind", "b", 1)
    ]  # fmt: skip
    found = {item["metric"]: item for item in tables[0].as_dict()["figures"]}
    assert (found["value"]["value"], found["value"]["n"], found["value"]["undefined"]) == (1.0, 1, 1)
    assert (found["fid"]["value"], found["fid"]["skipped"]) == (None, "no weights")
    assert found["seconds"]["value"] == 2.0


class Colours:
    """A network whose features are the mean colours of a picture: what it says can be worked out by hand."""

    def __init__(self, like: Any) -> None:
        self.card, self.preparation = like.card, like.preparation

    def features(self, pictures: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        return np.array([picture.mean(axis=(0, 1)) for picture in pictures])


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Colours:
    return Colours(load_features(write_vision(tmp_path_factory.mktemp("features"))))


def test_csfid_is_the_mean_over_classes_of_squared_distances_between_means(colours: Any, tmp_path: Path) -> None:
    for name, grey in (("a", 10), ("b", 30), ("c", 100)):
        Image.new("RGB", (300, 260), (grey,) * 3).save(tmp_path / f"{name}.png")
    pairs = [_pair(tmp_path, "a", target=5), _pair(tmp_path, "b", target=5), _pair(tmp_path, "c", target=2)]
    reference = ClassMeans(("2", "5"), np.array([[90.0] * 3, [20.0] * 3]), np.array([50.0] * 3))
    classes, everything = csfid_measure(colours, reference).compute(pairs)
    assert classes.value == pytest.approx((3 * 10**2 + 0) / 2)
    assert everything.value == pytest.approx(3 * (140 / 3 - 50) ** 2)
    assert "centre crop 256x256" in classes.resize


def test_moments_in_parts_are_those_of_the_whole(colours: Any) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 3), dtype=np.uint8)
    found, whole = moments_of(colours, pictures), moments(colours.features(pictures))  # type: ignore[arg-type]
    assert found.n == 150
    np.testing.assert_allclose(found.mean, whole.mean)
    np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-9, atol=1e-6)


def test_a_classifier_of_384_pixels_sees_what_flexit_shows_it() -> None:
    cropped, squeezed = Preparation(438, (384, 384), "bicubic"), Preparation((384, 384), None)
    assert classifier_preparation(cropped) == classifier_preparation(squeezed) == FLEXIT_CLASSIFIER
    for other in (Preparation(256, (224, 224)), Preparation(384, None)):
        assert classifier_preparation(other) == other


def test_figures_without_values_say_so() -> None:
    assert Figure.mean("x", None).skipped
