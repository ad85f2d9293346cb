"""The workbench: open, find, cut, paint, restore, with the pocket model and without a page."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import mask_file
from wordbrush.cli import main
from wordbrush.errors import Cancelled, PictureError, ProvenanceError
from wordbrush.picture.samples import samples_folder
from wordbrush.record.provenance import read_provenance
from wordbrush.region.mask import Mask
from wordbrush.web.options import Limits, Options
from wordbrush.web.state.pictures import Strokes, clean_name
from wordbrush.web.state.request import PageRequest
from wordbrush.web.state.versions import Version, zip_of
from wordbrush.web.state.visitors import Visitor
from wordbrush.web.state.work import Work
from wordbrush.web.workbench import Workbench

FOX = samples_folder() / "fox.png"
QUICK: dict[str, Any] = {
    "steps": 6, "maps": 3, "strength": (0.6,), "rim": 0.0,
    "solver": "ddim", "spacing": "model", "inversion_stride": 1, "guidance_low": 0.0,
    "guidance_every": 1,
}  # fmt: skip
"""One strength, plain walks, and a seam that the painting does not move."""


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(Options(), tmp_path_factory.mktemp("files"))


@pytest.fixture
def visitor(workbench: Workbench) -> Visitor:
    return workbench.visitors.welcome(None)


def a_request(**changes: Any) -> PageRequest:
    given: dict[str, Any] = {"query": "a penguin on snow", "reference": "a fox on snow", "switches": QUICK}
    return PageRequest(**(given | changes))


def rows(workbench: Workbench) -> int:
    return workbench.models.editor("pocket").driver.rows


def work_told(states: list[dict[str, Any]] | None = None) -> Work:
    return Work((lambda _: None) if states is None else states.append)


def paint(
    workbench: Workbench, visitor: Visitor, request: PageRequest, strokes: Strokes | None = None, **opened: Any
) -> list[Version]:
    picture = opened.get("picture") or workbench.open(visitor, FOX.read_bytes(), "fox.png")
    return workbench.paint(visitor, picture, request, strokes or Strokes(), work_told(), lambda _: None)


def test_cutting_runs_no_network_and_follows_the_threshold(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    request = a_request()
    assert workbench.cut(opened, request, Strokes()).region is None
    before = rows(workbench)
    workbench.find(opened, request, work_told())
    assert rows(workbench) - before == 3 * 2
    areas = []
    for threshold in (0.1, 0.24, 0.5, 0.9):
        cut = workbench.cut(opened, a_request(switches={**QUICK, "threshold": threshold}), Strokes())
        areas.append(cut.area)
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[-1]
    assert rows(workbench) - before == 6


def test_other_texts_are_not_cut_from_what_was_found(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    workbench.find(opened, a_request(), work_told())
    assert workbench.cut(opened, a_request(query="a cat on snow"), Strokes()).region is None
    assert workbench.cut(opened, a_request(contrast_seed=1), Strokes()).region is None


def test_strokes_add_and_protect_whatever_the_threshold(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    workbench.find(opened, a_request(), work_told())
    strokes = Strokes(Mask.from_box((128, 128), (0, 0, 20, 20)), Mask.from_box((128, 128), (50, 50, 70, 70)))
    for threshold in (0.1, 0.6):
        region = workbench.cut(opened, a_request(switches={**QUICK, "threshold": threshold}), strokes).region
        assert region is not None
        assert region.pixels.values[:20, :20].min() == 1
        assert region.pixels.values[50:70, 50:70].max() == 0


def test_the_files_of_a_version_are_those_of_its_command(
    workbench: Workbench, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    include = Mask.open(mask_file(tmp_path / "i.png", (64, 64), (2, 2, 12, 12)))
    request = a_request(seeds=(5,), switches={**QUICK, "eta": 0.6, "threshold": 0.3}, negative="a cat")
    version = paint(workbench, visitor, request, Strokes(include=include))[0]
    monkeypatch.chdir(tmp_path)
    Path("fox.png").write_bytes(FOX.read_bytes())
    for name, data in version.masks().items():
        Path(name).write_bytes(data)
    words = shlex.split(version.command)
    assert words[:2] == ["wordbrush", "edit"]
    assert "--contrast-seed" in words
    assert main(words[1:]) == 0
    assert Path(version.name).read_bytes() == version.png


def test_new_seeds_run_the_decode_alone_and_deeper_ratios_extend(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    steps = {**QUICK, "steps": 10, "eta": 0.6}
    paint(workbench, visitor, a_request(switches={**steps, "ratio": 0.5}), picture=opened)
    again = paint(workbench, visitor, a_request(switches={**steps, "ratio": 0.5}, seeds=(1,)), picture=opened)[0]
    assert again.report.evaluations == {"decode": 10}
    assert set(again.report.reused) == {"latent", "contrast", "trajectory"}
    deeper = paint(workbench, visitor, a_request(switches={**steps, "ratio": 0.8}), picture=opened)[0]
    assert deeper.report.evaluations == {"invert": 3, "decode": 16}
    assert "part of the trajectory" in deeper.report.reused
    cat = a_request(query="a cat on snow", switches={**steps, "ratio": 0.8})
    other = paint(workbench, visitor, cat, picture=opened)[0]
    assert other.report.evaluations == {"contrast": 3, "decode": 16}


def test_several_seeds_differ_on_one_region(workbench: Workbench, visitor: Visitor) -> None:
    made = paint(workbench, visitor, a_request(seeds=(0, 1), switches={**QUICK, "eta": 0.6}))
    assert [version.seed for version in made] == [0, 1]
    assert made[0].mask == made[1].mask
    assert made[0].png != made[1].png
    assert [version.number for version in made] == [1, 2]


def test_stopping_keeps_what_was_painted_and_the_workbench_usable(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    work = work_told()
    request = a_request(seeds=(0, 1, 2), switches={**QUICK, "eta": 0.6})

    def stop_after_one(version: Version) -> None:
        work.stop.set()

    with pytest.raises(Cancelled):
        workbench.paint(visitor, opened, request, Strokes(), work, stop_after_one)
    assert len(visitor.versions) == 1
    assert len(paint(workbench, visitor, a_request(), picture=opened)) == 1


def test_a_stop_takes_effect_at_the_next_step(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    states: list[dict[str, Any]] = []
    work = Work(states.append, threading.Event(), previews=False)

    def put(state: dict[str, Any]) -> None:
        stage = state["stages"][-1] if state["stages"] else {}
        if stage.get("label", "").startswith("Paint") and stage["done"] == 2:
            work.stop.set()

    work.put = put
    before = rows(workbench)
    with pytest.raises(Cancelled):
        workbench.paint(visitor, opened, a_request(switches={**QUICK, "steps": 20}), Strokes(), work, lambda _: None)
    assert rows(workbench) - before == 6 + 18 + 3 * 2


def test_a_result_brings_its_settings_and_its_picture_back(workbench: Workbench, visitor: Visitor) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    strokes = Strokes(exclude=Mask.from_box((32, 32), (0, 0, 4, 32)))
    request = a_request(seeds=(4,), switches={**QUICK, "threshold": 0.3, "eta": 0.6}, contrast_seed=2)
    version = paint(workbench, visitor, request, strokes, picture=opened)[0]
    dropped = workbench.open(visitor, version.png, version.name)
    record = dropped.record()
    assert record is not None
    assert workbench.origin(visitor, record) is opened
    restored = PageRequest.of_record(record, ("pocket",), lambda _: 128)
    assert restored == request
    with pytest.raises(ProvenanceError, match="settings"):
        PageRequest.of_record(replace(record, settings={"shell": "rm"}), ("pocket",), lambda _: 128)
    carried = {**record.mask["given_exclude"], "sha256": "0" * 64}
    with pytest.raises(ProvenanceError, match="not the recorded exclude"):
        Strokes.of_record(replace(record, mask={**record.mask, "given_exclude": carried}))
    again, given = Strokes.of_record(record)
    assert given is None
    assert again.include is None
    assert again.exclude is not None
    assert strokes.exclude is not None
    assert np.array_equal(again.exclude.values, strokes.exclude.values)
    assert paint(workbench, visitor, restored, again, picture=opened)[0].png == version.png


def test_a_closed_picture_is_opened_again_for_its_version(workbench: Workbench) -> None:
    visitor = workbench.visitors.welcome(None)
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    version = paint(workbench, visitor, a_request(), picture=opened)[0]
    for _ in range(workbench.options.limits.pictures):
        workbench.open(visitor, FOX.read_bytes(), "fox.png")
    assert visitor.picture(opened.id) is None
    assert workbench.reopen(visitor, version).id == opened.id
    for _ in range(workbench.options.limits.pictures):
        workbench.open(visitor, (samples_folder() / "apple.png").read_bytes(), "apple.png")
    again = workbench.origin(visitor, read_provenance(version.png))
    assert again is not None
    assert again.picture.sha256 == opened.picture.sha256


def test_the_zip_holds_every_version_with_its_masks_and_commands(workbench: Workbench, visitor: Visitor) -> None:
    import io
    import zipfile

    strokes = Strokes(include=Mask.from_box((16, 16), (0, 0, 4, 4)))
    made = paint(workbench, visitor, a_request(), strokes) + paint(workbench, visitor, a_request())
    with zipfile.ZipFile(io.BytesIO(zip_of(made))) as archive:
        assert archive.namelist() == ["fox-1.png", "fox-1/include.png", "fox-2.png", "commands.txt"]
        assert archive.read("fox-1.png") == made[0].png
        assert archive.read("commands.txt").decode().splitlines() == [version.command for version in made]
    assert zip_of(made) == zip_of(made)
    assert read_provenance(made[0].png).query == "a penguin on snow"


def test_a_given_mask_takes_the_place_of_the_found_one_and_can_be_inverted(
    workbench: Workbench, visitor: Visitor
) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    opened.own_mask = Mask.from_box((128, 128), (0, 0, 64, 128))
    before = rows(workbench)
    plain = workbench.cut(opened, a_request(), Strokes())
    turned = workbench.cut(opened, a_request(switches={**QUICK, "invert": True}), Strokes())
    assert plain.area == pytest.approx(0.5)
    assert plain.region is not None
    assert turned.region is not None
    assert np.array_equal(turned.region.pixels.values, 1 - plain.region.pixels.values)
    assert rows(workbench) == before


def test_large_pictures_are_cut_on_a_copy_for_the_eye_and_whole_for_the_file(
    workbench: Workbench, visitor: Visitor
) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.open(FOX).convert("RGB").resize((2400, 1800)).save(buffer, "PNG")
    opened = workbench.open(visitor, buffer.getvalue(), "large.png")
    workbench.find(opened, a_request(), work_told())
    seen = workbench.cut(opened, a_request(), Strokes()).region
    assert seen is not None
    assert seen.pixels.size == (1024, 768)
    whole = workbench.region(opened)
    assert whole is not None
    assert whole.size == (2400, 1800)
    small = whole.resize((1024, 768), "area").binarise()
    assert np.mean(small.values == seen.pixels.binarise().values) > 0.995


def test_refused_pictures_leave_nothing_behind(workbench: Workbench, visitor: Visitor) -> None:
    with pytest.raises(PictureError, match=r"not a picture|cannot be"):
        workbench.open(visitor, b"no picture", "x.png")
    assert not visitor.pictures
    small = Workbench(Options(limits=Limits(pixels=100)), workbench.files)
    with pytest.raises(PictureError, match="pixels"):
        small.open(visitor, FOX.read_bytes(), "fox.png")


def test_words_the_model_does_not_know_are_named_with_near_ones(workbench: Workbench) -> None:
    found = workbench.unknown_words("pocket", "a pengiun on snow")
    assert [(word.word, word.near[0]) for word in found] == [("pengiun", "penguin")]
    assert workbench.unknown_words("pocket", "a penguin on snow") == ()


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


def test_the_input_opened_after_its_result_brings_the_record_into_force(workbench: Workbench) -> None:
    first, second = workbench.visitors.welcome(None), workbench.visitors.welcome(None)
    version = paint(workbench, first, a_request(seeds=(3,)))[0]
    dropped = workbench.open(second, version.png, "result.png")
    record = dropped.record()
    assert record is not None
    assert workbench.origin(second, record) is None
    assert workbench.awaited(second, workbench.open(second, FOX.read_bytes(), "fox.png")) == record
    assert workbench.awaited(second, workbench.open(second, FOX.read_bytes(), "fox.png")) is None  # once is enough


def test_sessions_of_one_picture_are_few_however_many_sizes_are_asked_for(
    workbench: Workbench, visitor: Visitor
) -> None:
    opened = workbench.open(visitor, FOX.read_bytes(), "fox.png")
    for size in range(64, 64 + 16 * 12, 16):
        workbench.cut(opened, a_request(switches={**QUICK, "resolution": size}), Strokes())
    assert len(opened._sessions) <= 6
    assert opened.held() > opened.picture.pixels.nbytes
