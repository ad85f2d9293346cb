"""The page over plain HTTP: what its events answer, with two models."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import hub, tiny
from tests.support.workbench import Running, Visit, running
from wordbrush.cli import main
from wordbrush.picture.samples import samples_folder
from wordbrush.web.page.controls import CONTROLS, SLIDERS

FOX = samples_folder() / "fox.png"
TEXTS = {"query": "a penguin on snow", "reference": "a fox on snow", "flags": "--maps 1", "steps": 4}
EMPTY: dict[str, Any] = {"versions": [], "left": None, "right": None}


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.write_folder(folder, "sd1")
    return str(folder)


@pytest.fixture(scope="module")
def server(tiny_model: str) -> Iterator[Running]:
    with running(models=("pocket", tiny_model)) as found:
        yield found


@pytest.fixture
def me(server: Running) -> Iterator[Visit]:
    with Visit.to(server.address) as visit:
        visit.upload(FOX)
        yield visit


def test_finding_and_cutting_by_every_rule(me: Visit, server: Running) -> None:
    stage, told = me.call("find", "click", [me.stage, *me.controls(**TEXTS)])
    assert told["title"] == "Region found"
    assert stage["heat"].startswith("data:image/png;base64,")
    rows = server.rows
    masks = set()
    for rule in SLIDERS:
        slider, cut, _ = me.call("rule", "input", [stage, *me.controls(**TEXTS, rule=rule)])
        assert slider["minimum"] <= slider["value"] <= slider["maximum"]
        assert slider["label"] == SLIDERS[rule][0]
        masks.add(cut["mask"])
    assert len(masks) > 1
    assert server.rows == rows


@pytest.mark.parametrize(
    ("name", "value"),
    [("grow", 2), ("grow", -1), ("invert", True), ("edges", "cells"), ("feather", 2), ("threshold", 0.5)],
)
def test_every_control_of_the_region_changes_the_mask(me: Visit, name: str, value: Any) -> None:
    stage = me.call("find", "click", [me.stage, *me.controls(**TEXTS)])[0]
    cut = me.call(name, "input", [stage, *me.controls(**{**TEXTS, name: value})])[0]
    assert cut["mask"] != stage["mask"]


def test_a_preset_moves_the_controls_and_leaves_texts_and_seeds(me: Visit) -> None:
    controls = me.controls(**{**TEXTS, "seeds": "7", "preset": "paper"})
    outputs = me.call("preset", "input", [me.stage, *controls])
    laid: dict[str, Any] = dict(zip(CONTROLS, outputs[1 : 1 + len(CONTROLS)], strict=True))
    assert (laid["steps"], laid["ratio"], laid["threshold"]["value"], laid["edges"]) == (50, 0.8, 0.5, "smooth")
    assert laid["flags"] == ""
    # The answer holds nothing of them, so that none typed since the question is lost.
    untouched = {"__type__": "update"}
    assert [laid[name] for name in ("seeds", "query", "reference", "negative", "eta")] == [untouched] * 5


def test_another_model_brings_its_own_guidance_and_paints(me: Visit, tiny_model: str) -> None:
    guidance, encoding, negative, *_ = me.call("model", "input", [me.stage, *me.controls(**TEXTS, model=tiny_model)])
    assert (guidance["value"], guidance["interactive"], negative["visible"]) == (7.5, True, True)
    assert "value" not in encoding | negative  # loading takes its time, in which they may be changed
    controls = me.controls(**{**TEXTS, "model": tiny_model, "guidance": 7.5, "threshold": 0.1})
    painted = me.call("paint", "click", [me.stage, EMPTY, *controls])
    assert painted[1]["state"] == "done", painted[1]
    assert f"--model {tiny_model}" in painted[5]
    assert "--guidance" not in painted[5]
    assert Path(tiny_model).name in painted[4]


def test_a_model_that_was_not_allowed_is_not_loaded(me: Visit, tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "other", "sd1")
    with pytest.raises(RuntimeError):  # Gradio's own check of the choices
        me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS, model=str(tmp_path / "other"))])


def test_words_are_named_and_replaced(me: Visit) -> None:
    (named,) = me.call("to", "blur", [{"words": [], "edition": 3}, "pocket", "a pengiun on snow", "a fxo", ""])
    assert [(word["field"], word["word"], word["near"][0]) for word in named["words"]] == [
        ("to", "pengiun", "penguin"),
        ("from", "fxo", "fox"),
    ]
    choice = {"field": "to", "word": "pengiun", "near": "penguin"}
    query, reference, _, left = me.call("words", "choose", [named, "pocket", "a pengiun on snow", "a fxo", ""], choice)
    assert (query, reference) == ("a penguin on snow", "a fxo")
    assert [word["word"] for word in left["words"]] == ["fxo"]
    assert (named["edition"], left["edition"]) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"query": ""}, "write what the picture should show"),
        ({"query": "a fox on snow"}, "both texts are the same"),
        ({"seeds": "1-9"}, "at most 8"),
        ({"seeds": "1,2", "eta": 0}, "variation 0"),
        ({"flags": "--wrong"}, "is not one"),
        ({"steps": 500}, "at most 200"),
        ({"ratio": 2}, "outside"),
        ({"contrast_seed": "x"}, "not a seed"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_told_in_a_sentence(
    me: Visit, changes: dict[str, Any], part: str
) -> None:
    told = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**{**TEXTS, **changes})])[1]
    assert told["state"] == "failed"
    assert part in told["note"]
    assert "\n" not in told["note"]


@pytest.mark.parametrize(
    "strokes",
    [
        {"include": "data:image/png;base64,AAAA", "exclude": None},
        {"include": "no data", "exclude": None},
        {"include": {"path": "x"}, "exclude": None},
        {"include": "data:image/png;base64,%%%", "exclude": 7},
    ],
)
def test_strokes_that_are_none_are_refused(me: Visit, strokes: dict[str, Any]) -> None:
    stage = {**me.stage, "strokes": strokes}
    told = me.call("threshold", "input", [stage, *me.controls(**TEXTS)])[1]
    assert told["state"] == "failed"


def test_a_mask_from_a_file_is_used_and_served_back(me: Visit, tmp_path: Path, server: Running) -> None:
    from tests.support.command import mask_file

    file = mask_file(tmp_path / "m.png", (128, 128), (0, 0, 64, 128))
    id_ = me.stage["picture"]["id"]
    answer = me.client.post(f"/wordbrush/mask/{id_}", content=file.read_bytes())
    assert answer.json() == {"area": 0.5, "notes": []}
    rows = server.rows
    cut, told = me.call("stage", "masked", [me.stage, *me.controls(**TEXTS)])
    assert cut["mask"] is not None
    assert told["note"] == "50.0% of the picture."
    assert server.rows == rows
    got = me.client.get(f"/wordbrush/mask/{id_}/mask.png?download=1")
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["content-type"] == "image/png"
    bad = me.client.post(f"/wordbrush/mask/{id_}", content=b"no mask")
    assert bad.status_code == 422
    painted = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS)])
    assert "--mask mask.png" in painted[5]


def test_versions_can_be_restored_used_compared_and_removed(me: Visit) -> None:
    first = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS)])
    second = me.call("paint", "click", [me.stage, first[2], *me.controls(**{**TEXTS, "seeds": "5"})])
    newest, oldest = second[2]["versions"]
    assert (newest["seed"], oldest["seed"]) == (5, 0)
    assert second[3]["left"]["label"] == "input: fox.png"
    picked = me.call("versions", "pick", [second[2]], {"side": "left", "id": oldest["id"]})
    assert picked[1]["left"]["label"].startswith("1. ")
    restored = me.call("versions", "restore", [me.stage, second[2]], {"id": oldest["id"]})
    assert dict(zip(CONTROLS, restored[1 : 1 + len(CONTROLS)], strict=True))["seeds"] == "0"
    reused = me.call("versions", "reuse", [me.stage, *me.controls(**TEXTS)], {"id": newest["id"]})
    assert reused[0]["picture"]["name"] == newest["name"]
    assert dict(zip(CONTROLS, reused[1 : 1 + len(CONTROLS)], strict=True))["reference"] == TEXTS["query"]
    removed = me.call("versions", "remove", [picked[0]], {"id": newest["id"]})
    assert [card["id"] for card in removed[0]["versions"]] == [oldest["id"]]
    assert me.client.get(newest["url"]).status_code == 404


def test_a_version_of_a_picture_with_any_name_can_be_fetched(me: Visit) -> None:
    me.upload(FOX, name="a #b? 100%.png")
    card = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**TEXTS)])[2]["versions"][0]
    assert card["name"].startswith("a #b? 100%-")
    got = me.client.get(card["url"])
    assert got.status_code == 200
    assert got.content.startswith(b"\x89PNG")


def test_a_hub_model_is_fetched_where_the_operator_lets_it(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "someone/tiny-diffusion"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub.serve(name, Path(tiny_model)) as remote:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", remote.url)
        template = remote.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        for allowed in (False, True):
            with running(models=("pocket", name), allow_download=allowed) as found, Visit.to(found.address) as visit:
                visit.upload(FOX)
                controls = visit.controls(**TEXTS, model=name)
                told = visit.call("model", "input", [visit.stage, *controls])[-1]
                painted = visit.call("paint", "click", [visit.stage, EMPTY, *controls])
            if not allowed:
                assert "not in the local hub cache" in told["note"]
                assert painted[1]["state"] == "failed"
                assert remote.requests == 0
        assert painted[1]["state"] == "done", painted[1]
        assert f"--model {name} --revision {hub.COMMIT}" in painted[5]
        assert hub.COMMIT in painted[4]


def test_words_that_were_changed_take_the_region_off_and_bring_it_back(me: Visit, server: Running) -> None:
    found = me.call("find", "click", [me.stage, *me.controls(**TEXTS)])[0]
    rows = server.rows
    other = me.call("contrast-seed", "blur", [found, *me.controls(**{**TEXTS, "query": "a cat on snow"})])[0]
    assert (other["heat"], other["mask"]) == (None, None)
    back = me.call("contrast-seed", "blur", [other, *me.controls(**TEXTS)])[0]
    assert back == found
    for unchanged in (TEXTS, {**TEXTS, "flags": "--wrong"}):  # what is wrong is told when it is asked for
        assert "mask" not in me.call("contrast-seed", "blur", [back, *me.controls(**unchanged)])[0]
    assert server.rows == rows


def test_what_is_asked_again_shares_no_event_with_what_runs_once(me: Visit) -> None:
    modes: dict[tuple[int, str], set[str]] = {}
    for dependency in me.config["dependencies"]:
        for id_, event in dependency["targets"]:
            if id_ is not None:
                modes.setdefault((id_, event), set()).add(dependency["trigger_mode"])
    assert {"always_last"} in modes.values()
    assert [event for event, found in modes.items() if "always_last" in found and len(found) > 1] == []


def test_the_command_says_how_the_model_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(dtype="bfloat16", device="cpu") as found, Visit.to(found.address) as visit:
        visit.upload(FOX)
        painted = visit.call("paint", "click", [visit.stage, EMPTY, *visit.controls(**TEXTS)])
        data = visit.client.get(painted[2]["versions"][0]["url"]).content
    monkeypatch.chdir(tmp_path)
    Path("fox.png").write_bytes(FOX.read_bytes())
    words = shlex.split(painted[5])
    assert main(words[1:]) == 0
    assert Path("fox-1.png").read_bytes() == data
    plain = [word for word in words[1:] if word not in {"--device", "cpu", "--dtype", "bfloat16"}]
    assert len(plain) == len(words) - 5
    assert main([*plain, "--force"]) == 0
    assert Path("fox-1.png").read_bytes() != data
