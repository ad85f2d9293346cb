"""The truth bench: what is committed is what it says it is, and a broken bench is refused by name."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wordbrush
from benchmarks.truth.artist import GUESSES, artist_rms
from benchmarks.truth.artist import KINDS as ARTIST_KINDS
from benchmarks.truth.ceilings import shown
from benchmarks.truth.facts import facts_of
from benchmarks.truth.lessons import FIRST, lesson
from benchmarks.truth.make import PER_KIND, STARTS, phrases, texts
from tests.pocket.sprites import DrawnArtwork
from training.pocket.edits import KINDS as EDIT_KINDS
from training.pocket.edits import sample_edit
from training.pocket.render import render, true_region
from training.pocket.scenes import stream_of
from training.pocket.words import NOUNS
from wordbrush.errors import InputError
from wordbrush.evaluation import truth
from wordbrush.evaluation.items import KINDS, SLOTS, Facts, Kind, Split, Thing, TruthItem
from wordbrush.evaluation.truth import default_bench, facts_from_json, facts_to_json, load_truth

BENCH = Path(__file__).parents[2] / "benchmarks" / "truth"
HELDOUT = Path(__file__).parents[1] / "pocket" / "heldout" / "heldout.json"
SPLITS: tuple[Split, ...] = ("dev", "test")


@lru_cache(maxsize=2)
def items(split: Split) -> list[TruthItem]:
    return load_truth(BENCH, split)


def index(split: Split, kind: Kind) -> dict[str, Any]:
    return dict(json.loads((BENCH / split / f"{kind}.json").read_text()))


def numbers(split: Split, kind: Kind) -> list[int]:
    return [int(row["number"]) for row in index(split, kind)["items"]]


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_holds_sixty_whole_items_of_every_kind(split: Split) -> None:
    found = items(split)
    assert [item.id for item in found] == [f"{split}/{kind}/{n:03d}" for kind in KINDS for n in range(PER_KIND)]
    for item in found:
        assert item.picture.shape == item.counterfactual.shape == item.retrieved.shape == (128, 128, 3)
        assert {item.picture.dtype, item.counterfactual.dtype, item.retrieved.dtype} == {np.dtype(np.uint8)}
        assert (item.region.shape, item.region.dtype) == ((128, 128), np.dtype(np.bool_))


def test_the_data_is_small() -> None:
    files = [file for split in SPLITS for file in (BENCH / split).iterdir()]
    assert len(files) == 2 * len(KINDS) * 5
    assert sum(file.stat().st_size for file in files) < 12_500_000


@pytest.mark.parametrize("split", SPLITS)
def test_every_scene_is_held_out_and_its_texts_and_facts_are_those_of_its_number(split: Split) -> None:
    for kind in KINDS:
        for row in index(split, kind)["items"]:
            edit = sample_edit(kind, row["number"])
            assert {stream_of(edit.scene.seed), stream_of(edit.other.seed)} == {"heldout"}
            assert {name: tuple(pair) for name, pair in row["texts"].items()} == texts(edit)
            assert facts_from_json(row["before"]) == facts_of(edit.scene)
            assert facts_from_json(row["after"]) == facts_of(edit.other)


def test_numbers_do_not_overlap_with_those_of_other_splits_and_tests() -> None:
    for kind in KINDS:
        dev, test = set(numbers("dev", kind)), set(numbers("test", kind))
        assert len(dev) == len(test) == PER_KIND
        assert not dev & test
        assert min(dev) >= STARTS["dev"] > 5013
        assert max(dev) < STARTS["test"] <= min(test)


def test_no_edit_is_there_twice_nor_among_the_edits_that_the_model_is_tested_on() -> None:
    tested = json.loads(HELDOUT.read_text())["kinds"].values()
    known = [(edit["reference"], edit["query"]) for kind in tested for edit in kind["edits"]]
    found = [item.texts["captions"] for split in SPLITS for item in items(split)]
    assert len(set(found)) == len(found)
    assert not set(found) & set(known)
    pictures = [p.tobytes() for split in SPLITS for item in items(split) for p in (item.picture, item.retrieved)]
    assert len(set(pictures)) == len(pictures)


def test_the_judge_learnt_from_scenes_of_the_training_stream_only() -> None:
    learnt = {lesson(number, "train").seed for number in range(300)}
    assert {stream_of(seed) for seed in learnt} == {"train"}
    assert FIRST > 10_000_000


@pytest.mark.parametrize("split", SPLITS)
def test_outside_the_region_nothing_is_stored_and_nothing_differs(split: Split) -> None:
    # The digests are those of the counterfactuals as they were drawn, whole: the loader checks them, so what it puts
    # together from input, region and sheet is the drawing itself, and no pixel of it differs outside the region.
    for kind in KINDS:
        found = [item for item in items(split) if item.kind == kind]
        with Image.open(BENCH / split / f"{kind}-counterfactuals.webp") as sheet:
            stored = np.asarray(sheet.convert("RGB"))
        for number, item in enumerate(found):
            top, left = number // 10 * 128, number % 10 * 128
            assert not stored[top : top + 128, left : left + 128][~item.region].any(), item.id
            assert np.array_equal(item.picture[~item.region], item.counterfactual[~item.region]), item.id


@pytest.mark.parametrize("split", SPLITS)
def test_regions_hold_what_changes_and_little_else(split: Split) -> None:
    for kind in KINDS:
        shares = []
        for item in items(split):
            if item.kind == kind:
                differs = (item.picture != item.counterfactual).any(axis=-1)
                shares.append(float(differs.sum() / item.region.sum()))
        # A recoloured thing keeps its windows, wheels and stem; all else changes nearly everywhere in its region.
        assert np.median(shares) > (0.5 if kind == "colour" else 0.95), kind
        assert min(shares) > (0.05 if kind == "colour" else 0.7), kind


def test_areas_are_those_of_things_and_of_backdrops() -> None:
    for item in (*items("dev"), *items("test")):
        area = float(item.region.mean())
        low, high = (0.4, 1.0) if item.kind in ("ground", "time") else (0.005, 0.6)
        assert low < area < high, item.id


def test_one_fact_changes_and_the_texts_say_which() -> None:
    for item in items("test"):
        before, after = item.before, item.after
        changed = [slot for slot in SLOTS if before.things.get(slot) != after.things.get(slot)]
        moved = (before.ground != after.ground, before.time != after.time)
        assert len(changed) + sum(moved) == 1, item.id
        assert moved == (item.kind == "ground", item.kind == "time"), item.id
        assert (len(before.things), len(after.things)) == {"pair": (2, 2), "removal": (1, 0), "addition": (0, 1)}.get(
            item.kind, (1, 1)
        )
        for text, facts in zip(item.texts["captions"], (before, after), strict=True):
            spoken = [word for word in text.split() if word in NOUNS]
            ordered = [facts.things[slot].noun for slot in SLOTS if slot in facts.things]
            assert [word for word in spoken if word != "moon"] == ordered, item.id
            assert text.endswith("at night") == (facts.time == "night"), item.id


def test_texts_use_known_words_only_and_differ() -> None:
    path = Path(wordbrush.__file__).parent / "models" / "pocket" / "words.json"
    known = set(json.loads(path.read_text()))
    for item in (*items("dev"), *items("test")):
        for reference, query in item.texts.values():
            assert set(f"{reference} {query}".split()) <= known, item.id
            assert reference != query
            assert query
        assert item.texts["empty"] == ("", item.texts["captions"][1])


def test_phrases_are_what_a_user_types() -> None:
    found = {phrases(sample_edit(kind, number)) for kind in KINDS for number in numbers("dev", kind)}
    lengths = {len(text.split()) for pair in found for text in pair}
    assert max(lengths) <= 5  # "a pink table at night"
    by_kind = {kind: phrases(sample_edit(kind, numbers("dev", kind)[0])) for kind in KINDS}
    assert by_kind["time"][1] == f"{by_kind['time'][0]} at night"
    assert by_kind["colour"][0].split()[2:] == by_kind["colour"][1].split()[2:]
    assert by_kind["object"][0].split()[0] in {"a", "an"}


def test_limit_and_kinds_choose() -> None:
    found = load_truth(BENCH, "dev", kinds=["time", "object"], limit=2)
    assert [item.id for item in found] == ["dev/time/000", "dev/time/001", "dev/object/000", "dev/object/001"]
    assert np.array_equal(found[2].picture, items("dev")[0].picture)


def test_facts_survive_json() -> None:
    facts = Facts({"left": Thing("car", "red"), "right": Thing("dog")}, "snow", "night")
    assert facts_from_json(json.loads(json.dumps(facts_to_json(facts)))) == facts


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"things": {}, "ground": "snow"},
        {"things": {"top": {"noun": "dog"}}, "ground": "snow", "time": "day"},
        {"things": {"left": {"noun": 3}}, "ground": "snow", "time": "day"},
        {"things": {}, "ground": "snow", "time": "noon"},
    ],
)
def test_other_data_is_no_facts(data: Any) -> None:
    with pytest.raises(InputError, match="facts"):
        facts_from_json(data)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    for file in (BENCH / "dev").glob("time*"):
        shutil.copy(file, tmp_path / "dev")
    return tmp_path


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 99}, r"time\.json: schema 99"),
        ({"kind": "object"}, r"time\.json: says it is dev/object"),
        ({"size": 64}, r"time-inputs\.webp: 1280x768 pixels, its index says 640x384"),
        ({"size": True}, r"time\.json: size and columns"),
        ({"columns": 10**9}, r"time\.json: size and columns"),
        ({"items": []}, r"time\.json: no list"),
        ({"items": [{}] * 60}, r"time\.json, item 0: 'texts'"),
    ],
)
def test_a_wrong_index_is_named(copy: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(copy / "dev" / "time.json", **changes)
    with pytest.raises(InputError, match=message):
        load_truth(copy, "dev", kinds=["time"])


@pytest.mark.parametrize("sheet", list(truth.SHEETS.values()))
def test_a_damaged_or_missing_sheet_is_named(copy: Path, sheet: str) -> None:
    path = copy / "dev" / sheet.format("time")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError, match=path.name):
        load_truth(copy, "dev", kinds=["time"])
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        load_truth(copy, "dev", kinds=["time"])


def test_sheets_that_do_not_belong_together_are_noticed(copy: Path) -> None:
    shutil.copy(BENCH / "test" / "time-counterfactuals.webp", copy / "dev")
    with pytest.raises(InputError, match=r"time\.json, item 0: the sheets beside it"):
        load_truth(copy, "dev", kinds=["time"])


@pytest.mark.parametrize("split", SPLITS)
def test_ceilings_are_what_the_kinds_allow(split: Split) -> None:
    values = {kind: [item.ceiling for item in items(split) if item.kind == kind] for kind in KINDS}
    assert all(None not in known and len(known) == PER_KIND for known in values.values())
    assert set(values["removal"]) == set(values["colour"]) == {1.0}
    assert set(values["addition"]) == {0.0}
    for kind in ("object", "pair", "ground", "time"):
        known = np.array(values[kind], np.float64)
        assert (known > 0.4).all()
        assert (known < 1.0).any()
        assert 0.8 < known.mean() < 0.95


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_what_an_input_shows_of_the_true_region_is_a_part_of_it(kind: Kind) -> None:
    artwork = DrawnArtwork()
    for number in range(4):
        edit = sample_edit(kind, number)
        drawn = render(edit.scene, artwork)
        part, region = shown(edit, drawn), true_region(edit.scene, edit.other, artwork)
        assert not (part & ~region).any()
        if kind in ("removal", "colour"):
            np.testing.assert_array_equal(part, region)
        if kind == "addition":
            assert not part.any()
        if kind == "object":
            new = render(edit.other, artwork)
            assert not (region & ~part & ~new.silhouettes[0] & ~new.shadows[0]).any()


@pytest.mark.parametrize("kind", ARTIST_KINDS)
def test_a_perfect_artist_misses_by_what_no_text_says(kind: Kind) -> None:
    artwork, unknown = DrawnArtwork(), []
    for number in range(6):
        edit = sample_edit(kind, number)
        assert artist_rms(edit, artwork, lambda thing, _: thing, draws=1) == 0.0
        unknown.append([artist_rms(edit, artwork, guess) for guess in GUESSES.values()])
        before, after = (render(scene, artwork).picture.astype(float) for scene in (edit.scene, edit.other))
        assert max(unknown[-1]) < np.sqrt(np.mean((before - after) ** 2))  # any guess beats an edit that does nothing
    side, tilt, size = np.mean(unknown, axis=0)
    assert side == 0.0  # these sprites are their own mirror images
    assert 5.0 < tilt < size


@pytest.mark.parametrize("text", ["no json", "[]", '{"dev": {"time": [0.5]}}', '{"dev": {"time": ["much"]}}', "{}"])
def test_ceilings_may_be_absent_but_not_wrong(copy: Path, text: str) -> None:
    assert load_truth(copy, "dev", kinds=["time"])[0].ceiling is None
    (copy / truth.CEILINGS).write_text(text)
    with pytest.raises(InputError, match=r"ceilings\.json"):
        load_truth(copy, "dev", kinds=["time"])


def test_what_is_asked_for_must_exist(copy: Path) -> None:
    with pytest.raises(InputError, match=r"object\.json: cannot be read"):
        load_truth(copy, "dev", kinds=["object"])
    with pytest.raises(InputError, match="limit 0"):
        load_truth(copy, "dev", limit=0)
    unknown: Any = "weather"
    with pytest.raises(InputError, match="known are object"):
        load_truth(copy, "dev", kinds=[unknown])
    with pytest.raises(InputError, match="known are dev and test"):
        load_truth(copy, unknown)


def test_the_bench_is_found_from_below_and_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert default_bench() == BENCH  # from the package's own files, in a checkout
    (tmp_path / "benchmarks" / "truth" / "test").mkdir(parents=True)
    assert default_bench() == tmp_path / "benchmarks" / "truth"
    (tmp_path / "benchmarks" / "truth" / "test").rmdir()
    monkeypatch.setattr(truth, "__file__", str(deep / "truth.py"))  # as installed from a wheel
    with pytest.raises(InputError, match="part of the source repository"):
        default_bench()
