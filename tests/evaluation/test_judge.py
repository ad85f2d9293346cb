"""The judge: it reads the bench, its verdict follows the facts, and broken weights are refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.truth.check_judge import accuracy, reconstructions
from benchmarks.truth.generation import by_noun, clean_shares, judged, scenes, shares, sheet, wilson
from benchmarks.truth.lessons import worn
from wordbrush import Editor
from wordbrush.errors import ModelError
from wordbrush.evaluation.items import KINDS, Facts, Kind, Slot, Thing, TruthItem
from wordbrush.evaluation.judge import Judge, Verdict, shrink, verdict
from wordbrush.evaluation.truth import load_truth

BENCH = Path(__file__).parents[2] / "benchmarks" / "truth"
GRASS = Facts({"middle": Thing("horse")}, "grass", "day")
PAIR = Facts({"left": Thing("car", "red"), "right": Thing("dog")}, "snow", "night")


@lru_cache(maxsize=1)
def judge() -> Judge:
    return Judge.load(BENCH / "judge")


@lru_cache(maxsize=1)
def items() -> list[TruthItem]:
    return load_truth(BENCH, "test")


def item(before: Facts, after: Facts, kind: Kind = "object") -> TruthItem:
    empty = np.zeros((8, 8, 3), np.uint8)
    return TruthItem("t", "dev", kind, empty, empty, empty[..., 0] > 0, empty, {}, before, after)


def with_thing(facts: Facts, slot: Slot, thing: Thing | None) -> Facts:
    things = {where: what for where, what in facts.things.items() if where != slot}
    return replace(facts, things=things | ({slot: thing} if thing else {}))


def test_it_reads_inputs_and_counterfactuals_of_the_bench() -> None:
    for wanted, pictures in (
        ([i.before for i in items()], [i.picture for i in items()]),
        ([i.after for i in items()], [i.counterfactual for i in items()]),
    ):
        for head, share in accuracy(wanted, judge().look(pictures)).items():
            assert share.share >= (0.96 if head == "everything" else 0.98), head


def test_every_kind_is_judged_a_success_on_its_counterfactual_and_none_on_its_input() -> None:
    for kind in KINDS:
        found = [i for i in items() if i.kind == kind]
        made = [verdict(s, i) for s, i in zip(judge().look([i.counterfactual for i in found]), found, strict=True)]
        left = [verdict(s, i) for s, i in zip(judge().look([i.picture for i in found]), found, strict=True)]
        assert np.mean([v.faithful for v in made]) >= 0.95, kind
        assert not any(v.success for v in left), kind


def test_pictures_found_elsewhere_show_what_the_query_says() -> None:
    seen = judge().look([i.retrieved for i in items()])
    assert np.mean([verdict(s, i).success for s, i in zip(seen, items(), strict=True)]) >= 0.97


def test_it_reads_what_the_autoencoder_returns() -> None:
    chosen = items()[::18]
    codec = Editor.from_pretrained("pocket").driver.codec
    returned = reconstructions(codec, np.stack([i.picture for i in chosen]))
    found = accuracy([i.before for i in chosen], judge().look(returned))
    assert found["nouns"].share >= 0.93
    assert found["ground"].share >= 0.97
    assert found["time"].share >= 0.97


def test_other_sizes_and_batches_make_no_difference() -> None:
    from PIL import Image

    chosen = items()[::40]
    large = [np.asarray(Image.fromarray(i.picture).resize((320, 320), Image.Resampling.BICUBIC)) for i in chosen]
    plain = judge().look(np.stack([i.picture for i in chosen]))
    assert np.mean([a == b for a, b in zip(judge().look(large), plain, strict=True)]) >= 0.9
    assert Judge(judge().network, batch=3).look([i.picture for i in chosen]) == plain
    assert judge().look([]) == []


def test_its_weights_are_small_and_half_precision() -> None:
    from safetensors import safe_open

    files = [file for file in (BENCH / "judge").iterdir() if file.suffix != ".md"]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    with safe_open(str(BENCH / "judge" / "judge.safetensors"), "pt") as tensors:
        kinds = {str(tensors.get_tensor(name).dtype) for name in list(tensors.keys())}
    assert kinds <= {"torch.float16", "torch.int64"}


@pytest.mark.parametrize("name", ["config.json", "judge.safetensors"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 900, None])
def test_a_broken_judge_is_named(tmp_path: Path, name: str, damage: bytes | None) -> None:
    for file in ("config.json", "judge.safetensors"):
        shutil.copy(BENCH / "judge" / file, tmp_path)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(ModelError, match=name):
        Judge.load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    shutil.copy(BENCH / "judge" / "judge.safetensors", tmp_path)
    config = json.loads((BENCH / "judge" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden": 8}))
    with pytest.raises(ModelError, match=r"judge\.safetensors"):
        Judge.load(tmp_path)


ZEBRA = replace(GRASS, things={"middle": Thing("zebra")})


@pytest.mark.parametrize(
    ("before", "after", "seen", "expected"),
    [
        # success, kept, faithful, object, colour, ground
        (GRASS, ZEBRA, ZEBRA, (True, True, True, True, True, True)),
        (GRASS, ZEBRA, GRASS, (False, True, False, False, True, True)),
        (GRASS, ZEBRA, replace(ZEBRA, ground="snow"), (True, False, False, True, True, False)),
        (GRASS, ZEBRA, replace(ZEBRA, time="night"), (True, False, False, True, True, False)),
        (GRASS, ZEBRA, with_thing(ZEBRA, "left", Thing("dog")), (True, False, False, False, True, True)),
        (GRASS, with_thing(GRASS, "middle", Thing("car", "red")), with_thing(GRASS, "middle", Thing("car", "blue")),
         (False, True, False, True, False, True)),
        (PAIR, with_thing(PAIR, "right", Thing("fox")), with_thing(PAIR, "right", Thing("fox")),
         (True, True, True, True, True, True)),
        (PAIR, with_thing(PAIR, "right", Thing("fox")),
         Facts({"left": Thing("car", "blue"), "right": Thing("fox")}, "snow", "night"),
         (True, False, False, True, False, True)),
        (GRASS, replace(GRASS, things={}), replace(GRASS, things={}), (True, True, True, True, True, True)),
        (GRASS, replace(GRASS, things={}), ZEBRA, (False, True, False, False, True, True)),
        (replace(GRASS, things={}), GRASS, with_thing(GRASS, "middle", None), (False, True, False, False, True, True)),
        (GRASS, replace(GRASS, ground="snow"), replace(GRASS, ground="snow"), (True, True, True, True, True, True)),
        (GRASS, replace(GRASS, ground="snow"), replace(ZEBRA, ground="snow"), (True, False, False, False, True, True)),
        (GRASS, replace(GRASS, time="night"), GRASS, (False, True, False, True, True, False)),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_facts(before: Facts, after: Facts, seen: Facts, expected: tuple[bool, ...]) -> None:
    assert verdict(seen, item(before, after)) == Verdict(*expected)


def test_shrinking_keeps_means_and_does_not_alias() -> None:
    stripes = np.zeros((1, 128, 128, 3), np.uint8)
    stripes[:, :, ::2] = 255
    small = shrink(stripes, 32)
    assert small.shape == (1, 3, 32, 32)
    assert float(small[..., 4:-4].abs().max()) < 0.02  # grey, not stripes


def test_mirroring_a_lesson_swaps_its_sides() -> None:
    pictures = torch.zeros(8, 3, 64, 64)
    pictures[..., :32] = 1.0  # left half white: label 5 at the left, 7 at the right
    labels = torch.tensor([[5, 45, 7, 1, 5, 2, 0, 0]] * 8)
    made, told = worn(pictures, labels, torch.Generator().manual_seed(0))
    for picture, row in zip(made, told, strict=True):
        brighter_left = bool(picture[..., 4:20].mean() > picture[..., -20:-4].mean())
        assert row.tolist() == ([5, 45, 7, 1, 5, 2, 0, 0] if brighter_left else [7, 45, 5, 2, 5, 1, 0, 0])
    assert 0 < sum(row[0] == 5 for row in told.tolist()) < 8


def test_wilson_intervals_are_those_of_the_formula() -> None:
    some = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(some.low, 4), round(some.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == pytest.approx(0.0, abs=1e-12)
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)  # same table
    assert wilson(0, 0).n == 0


def test_captions_to_draw_are_held_out_and_a_fifth_are_pairs() -> None:
    from training.pocket.scenes import stream_of

    drawn = scenes(100)
    assert sum(len(scene.things) == 2 for scene in drawn) >= 20
    assert sum(len(scene.things) == 1 for scene in drawn) >= 60
    assert {stream_of(scene.seed) for scene in drawn} == {"heldout"}


def test_a_drawing_is_right_where_the_right_things_are_seen() -> None:
    elsewhere = Facts({"left": Thing("horse")}, "snow", "day")
    assert judged(GRASS, elsewhere) == {"ground": False, "time": True, "one: noun": True, "one: noun and colour": True}
    assert not judged(GRASS, with_thing(GRASS, "left", Thing("dog")))["one: noun"]
    swapped = Facts({"left": Thing("dog"), "right": Thing("car", "red")}, "snow", "night")
    assert not judged(PAIR, swapped)["two: either on its side"]
    blue = with_thing(PAIR, "left", Thing("car", "blue"))
    assert judged(PAIR, blue)["two: both on their sides"]
    assert not judged(PAIR, blue)["two: both, and colours"]
    found = shares([GRASS, GRASS, PAIR], [GRASS, ZEBRA, PAIR])
    assert (found["one: noun"].share, found["one: noun"].n) == (0.5, 2)
    clean = clean_shares([GRASS, GRASS, PAIR], [True, False, True])
    assert {name: share.share for name, share in clean.items()} == {"one: clean": 0.5, "two: clean": 1.0}
    assert by_noun([GRASS, GRASS], [GRASS, ZEBRA])["horse"] == {"asked": 2, "wrong": 1, "seen instead": {"zebra": 1}}


def test_the_sheet_frames_what_is_wrong() -> None:
    import io

    from PIL import Image

    white = np.full((16, 16, 3), 255, np.uint8)
    shown: list[Any] = [(white, GRASS, GRASS), (white, GRASS, ZEBRA)]
    page = np.asarray(Image.open(io.BytesIO(sheet(shown))))
    assert page.shape == (16, 12 * 16, 3)
    assert page[0, 0].tolist() == [255, 255, 255]
    assert page[0, 16].tolist() == [220, 20, 20]
