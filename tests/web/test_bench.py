"""The bench: open, find, cut, paint, restore, with the pocket model and without a page."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import mask_file
from wordbrush.cli import main
from wordbrush.errors import Cancelled, PictureError
from wordbrush.picture.samples import samples_folder
from wordbrush.record.provenance import read_provenance
from wordbrush.region.mask import Mask
from wordbrush.web.options import Limits, Options
from wordbrush.web.state.pictures import Strokes, clean_name
from wordbrush.web.state.requests import Order
from wordbrush.web.state.versions import Version, zip_of
from wordbrush.web.state.visitors import Visitor
from wordbrush.web.state.work import Job
from wordbrush.web.workbench import Bench

FOX = samples_folder() / "fox.png"
QUICK = {"steps": 6, "maps": 2}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Options(), tmp_path_factory.mktemp("files"))


@pytest.fixture
def visitor(bench: Bench) -> Visitor:
    return bench.visitors.welcome(None)


def an_order(**changes: Any) -> Order:
    given: dict[str, Any] = {"query": "a penguin on snow", "reference": "a fox on snow", "switches": QUICK}
    return Order(**(given | changes))


def rows(bench: Bench) -> int:
    return bench.models.editor("pocket").engine.denoiser.rows


def job(states: list[dict[str, Any]] | None = None) -> Job:
    return Job((lambda _: None) if states is None else states.append)


def paint(bench: Bench, visitor: Visitor, order: Order, strokes: Strokes | None = None, **opened: Any) -> list[Version]:
    picture = opened.get("picture") or bench.open(visitor, FOX.read_bytes(), "fox.png")
    return bench.paint(visitor, picture, order, strokes or Strokes(), job(), lambda _: None)


def test_cutting_runs_no_network_and_follows_the_threshold(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    order = an_order()
    assert bench.cut(opened, order, Strokes()).region is None
    before = rows(bench)
    bench.find(opened, order, job())
    assert rows(bench) - before == 2 * 2
    areas = []
    for threshold in (0.1, 0.24, 0.5, 0.9):
        cut = bench.cut(opened, an_order(switches={**QUICK, "threshold": threshold}), Strokes())
        areas.append(cut.area)
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[-1]
    assert rows(bench) - before == 4


def test_other_texts_are_not_cut_from_what_was_found(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    bench.find(opened, an_order(), job())
    assert bench.cut(opened, an_order(query="a cat on snow"), Strokes()).region is None
    assert bench.cut(opened, an_order(contrast_seed=1), Strokes()).region is None


def test_strokes_add_and_protect_whatever_the_threshold(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    bench.find(opened, an_order(), job())
    strokes = Strokes(Mask.from_box((128, 128), (0, 0, 20, 20)), Mask.from_box((128, 128), (50, 50, 70, 70)))
    for threshold in (0.1, 0.6):
        region = bench.cut(opened, an_order(switches={**QUICK, "threshold": threshold}), strokes).region
        assert region is not None
        assert region.pixels.values[:20, :20].min() == 1
        assert region.pixels.values[50:70, 50:70].max() == 0


def test_the_files_of_a_version_are_those_of_its_command(
    bench: Bench, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    include = Mask.open(mask_file(tmp_path / "i.png", (64, 64), (2, 2, 12, 12)))
    order = an_order(seeds=(5,), switches={**QUICK, "eta": 0.6, "threshold": 0.3}, negative="a cat")
    version = paint(bench, visitor, order, Strokes(include=include))[0]
    monkeypatch.chdir(tmp_path)
    Path("fox.png").write_bytes(FOX.read_bytes())
    for name, data in version.masks().items():
        Path(name).write_bytes(data)
    words = shlex.split(version.command)
    assert words[:2] == ["wordbrush", "edit"]
    assert "--contrast-seed" in words
    assert main(words[1:]) == 0
    assert Path(version.name).read_bytes() == version.png


def test_new_seeds_run_the_decode_alone_and_deeper_ratios_extend(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    steps = {**QUICK, "steps": 10, "eta": 0.6}
    paint(bench, visitor, an_order(switches={**steps, "ratio": 0.5}), picture=opened)
    again = paint(bench, visitor, an_order(switches={**steps, "ratio": 0.5}, seeds=(1,)), picture=opened)[0]
    assert again.report.evaluations == {"decode": 10}
    assert set(again.report.reused) == {"latent", "contrast", "trajectory"}
    deeper = paint(bench, visitor, an_order(switches={**steps, "ratio": 0.8}), picture=opened)[0]
    assert deeper.report.evaluations == {"invert": 3, "decode": 16}
    assert "part of the trajectory" in deeper.report.reused
    other = paint(bench, visitor, an_order(query="a cat on snow", switches={**steps, "ratio": 0.8}), picture=opened)[0]
    assert other.report.evaluations == {"contrast": 4, "decode": 16}


def test_several_seeds_differ_on_one_region(bench: Bench, visitor: Visitor) -> None:
    made = paint(bench, visitor, an_order(seeds=(0, 1), switches={**QUICK, "eta": 0.6}))
    assert [version.seed for version in made] == [0, 1]
    assert made[0].mask == made[1].mask
    assert made[0].png != made[1].png
    assert [version.number for version in made] == [1, 2]


def test_stopping_keeps_what_was_painted_and_the_bench_usable(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    work = job()
    order = an_order(seeds=(0, 1, 2), switches={**QUICK, "eta": 0.6})

    def stop_after_one(version: Version) -> None:
        work.stop.set()

    with pytest.raises(Cancelled):
        bench.paint(visitor, opened, order, Strokes(), work, stop_after_one)
    assert len(visitor.versions) == 1
    assert len(paint(bench, visitor, an_order(), picture=opened)) == 1


def test_a_stop_takes_effect_at_the_next_step(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    states: list[dict[str, Any]] = []
    work = Job(states.append, threading.Event(), previews=False)

    def put(state: dict[str, Any]) -> None:
        stage = state["stages"][-1] if state["stages"] else {}
        if stage.get("label", "").startswith("Paint") and stage["done"] == 2:
            work.stop.set()

    work.put = put
    before = rows(bench)
    with pytest.raises(Cancelled):
        bench.paint(visitor, opened, an_order(switches={**QUICK, "steps": 20}), Strokes(), work, lambda _: None)
    assert rows(bench) - before == 4 + 18 + 3 * 2


def test_a_result_brings_its_settings_and_its_picture_back(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    strokes = Strokes(exclude=Mask.from_box((32, 32), (0, 0, 4, 32)))
    order = an_order(seeds=(4,), switches={**QUICK, "threshold": 0.3, "eta": 0.6}, contrast_seed=2)
    version = paint(bench, visitor, order, strokes, picture=opened)[0]
    dropped = bench.open(visitor, version.png, version.name)
    record = dropped.record()
    assert record is not None
    assert bench.origin(visitor, record) is opened
    restored = Order.of_record(record, ("pocket",), lambda _: 128)
    assert restored == order
    again, given = Strokes.of_record(record)
    assert given is None
    assert again.include is None
    assert again.exclude is not None
    assert strokes.exclude is not None
    assert np.array_equal(again.exclude.values, strokes.exclude.values)
    assert paint(bench, visitor, restored, again, picture=opened)[0].png == version.png


def test_a_closed_picture_is_opened_again_for_its_version(bench: Bench) -> None:
    visitor = bench.visitors.welcome(None)
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    version = paint(bench, visitor, an_order(), picture=opened)[0]
    for _ in range(bench.options.limits.pictures):
        bench.open(visitor, FOX.read_bytes(), "fox.png")
    assert visitor.picture(opened.id) is None
    assert bench.reopen(visitor, version).id == opened.id
    for _ in range(bench.options.limits.pictures):
        bench.open(visitor, (samples_folder() / "apple.png").read_bytes(), "apple.png")
    again = bench.origin(visitor, read_provenance(version.png))
    assert again is not None
    assert again.picture.sha256 == opened.picture.sha256


def test_the_zip_holds_every_version_with_its_masks_and_commands(bench: Bench, visitor: Visitor) -> None:
    import io
    import zipfile

    strokes = Strokes(include=Mask.from_box((16, 16), (0, 0, 4, 4)))
    made = paint(bench, visitor, an_order(), strokes) + paint(bench, visitor, an_order())
    with zipfile.ZipFile(io.BytesIO(zip_of(made))) as archive:
        assert archive.namelist() == ["fox-1.png", "fox-1/include.png", "fox-2.png", "commands.txt"]
        assert archive.read("fox-1.png") == made[0].png
        assert archive.read("commands.txt").decode().splitlines() == [version.command for version in made]
    assert zip_of(made) == zip_of(made)
    assert read_provenance(made[0].png).query == "a penguin on snow"


def test_a_given_mask_takes_the_place_of_the_found_one_and_can_be_inverted(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    opened.given = Mask.from_box((128, 128), (0, 0, 64, 128))
    before = rows(bench)
    plain = bench.cut(opened, an_order(), Strokes())
    turned = bench.cut(opened, an_order(switches={**QUICK, "invert": True}), Strokes())
    assert plain.area == pytest.approx(0.5)
    assert plain.region is not None
    assert turned.region is not None
    assert np.array_equal(turned.region.pixels.values, 1 - plain.region.pixels.values)
    assert rows(bench) == before


def test_large_pictures_are_cut_on_a_copy_for_the_eye_and_whole_for_the_file(bench: Bench, visitor: Visitor) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.open(FOX).convert("RGB").resize((2400, 1800)).save(buffer, "PNG")
    opened = bench.open(visitor, buffer.getvalue(), "large.png")
    bench.find(opened, an_order(), job())
    seen = bench.cut(opened, an_order(), Strokes()).region
    assert seen is not None
    assert seen.pixels.size == (1024, 768)
    whole = bench.region(opened)
    assert whole is not None
    assert whole.size == (2400, 1800)
    small = whole.resize((1024, 768), "area").binarise()
    assert np.mean(small.values == seen.pixels.binarise().values) > 0.995


def test_refused_pictures_leave_nothing_behind(bench: Bench, visitor: Visitor) -> None:
    with pytest.raises(PictureError, match=r"not a picture|cannot be"):
        bench.open(visitor, b"no picture", "x.png")
    assert not visitor.pictures
    small = Bench(Options(limits=Limits(pixels=100)), bench.files)
    with pytest.raises(PictureError, match="pixels"):
        small.open(visitor, FOX.read_bytes(), "fox.png")


def test_words_the_model_does_not_know_are_named_with_near_ones(bench: Bench) -> None:
    found = bench.unknown_words("pocket", "a pengiun on snow")
    assert [(word.word, word.near[0]) for word in found] == [("pengiun", "penguin")]
    assert bench.unknown_words("pocket", "a penguin on snow") == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("my photo (1).png", "my photo (1).png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\fox.png", "fox.png"),
        ("a\x00b\n.png", "ab.png"),
        ("", "picture.png"),
        ("..", "picture.png"),
        ("-", "picture.png"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
    ],
)
def test_names_are_bare(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_the_input_opened_after_its_result_brings_the_record_into_force(bench: Bench) -> None:
    first, second = bench.visitors.welcome(None), bench.visitors.welcome(None)
    version = paint(bench, first, an_order(seeds=(3,)))[0]
    dropped = bench.open(second, version.png, "result.png")
    record = dropped.record()
    assert record is not None
    assert bench.origin(second, record) is None
    assert bench.awaited(second, bench.open(second, FOX.read_bytes(), "fox.png")) == record
    assert bench.awaited(second, bench.open(second, FOX.read_bytes(), "fox.png")) is None  # once is enough


def test_sessions_of_one_picture_are_few_however_many_sizes_are_asked_for(bench: Bench, visitor: Visitor) -> None:
    opened = bench.open(visitor, FOX.read_bytes(), "fox.png")
    for size in range(64, 64 + 16 * 12, 16):
        bench.cut(opened, an_order(switches={**QUICK, "resolution": size}), Strokes())
    assert len(opened._sessions) <= 6
    assert opened.held() > opened.picture.pixels.nbytes
