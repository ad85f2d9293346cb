"""Masks in the workbench and the API: read by the same rule, refused or told of before the model runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.support.calls import FOX, TEXTS, ask, upload
from tests.support.workbench import Running, Visit, running
from wordbrush.region.mask import Mask
from wordbrush.web.state.pictures import Strokes

EMPTY: dict[str, Any] = {"versions": [], "left": None, "right": None}
QUICK = {**TEXTS, "flags": "--maps 1", "steps": 4}
BOX = np.zeros((128, 128), np.uint8)
BOX[20:90, 30:100] = 1


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as workbench:
        yield workbench


@pytest.fixture
def me(served: Running) -> Iterator[Visit]:
    with Visit.to(served.address) as visit:
        visit.upload(FOX)
        yield visit


def file(image: Image.Image | NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, "PNG")
    return buffer.getvalue()


def erased() -> bytes:
    """The fox with the box erased."""
    with Image.open(FOX) as image:
        fox = image.convert("RGBA")
    fox.putalpha(Image.fromarray(255 - 255 * BOX))
    return file(fox)


def given(me: Visit, data: bytes) -> tuple[int, dict[str, Any]]:
    answer = me.client.post(f"/wordbrush/mask/{me.stage['picture']['id']}", content=data)
    return answer.status_code, answer.json()


# ---- the workbench


@pytest.mark.parametrize("data", [file(BOX), file(BOX * 255), file(BOX.astype(np.uint16) * 256), erased()])
def test_a_mask_file_of_any_kind_is_the_same_region(me: Visit, served: Running, data: bytes) -> None:
    rows = served.rows
    status, answer = given(me, data)
    assert status == 200
    assert answer["area"] == pytest.approx(BOX.mean())
    opened = served.workbench.visitors.of(me.key).picture(me.stage["picture"]["id"])  # type: ignore[union-attr]
    assert opened is not None
    assert opened.own_mask is not None
    assert np.array_equal(opened.own_mask.values, BOX)
    told = me.call("stage", "masked", [me.stage, *me.controls(**QUICK)])[1]
    if data == erased():
        assert "erased part (29.9 %)" in answer["notes"][0]
        assert told["note"] == f"29.9% of the picture. A{answer['notes'][0][1:]}."
    else:
        assert answer["notes"] == []
        assert told["note"] == "29.9% of the picture."
    assert served.rows == rows


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file(BOX * 7), "labels of classes, or a very dark mask"),
        (FOX.read_bytes(), "it is a picture, not a mask"),
        (file(np.asarray(Image.open(FOX).convert("L"))), "this is the picture itself"),
        (file(Image.new("RGB", (40, 40), (255, 255, 255)).convert("P", palette=Image.Palette.ADAPTIVE)), ""),
    ],
)
def test_a_mask_file_that_is_none_is_refused_at_once(me: Visit, data: bytes, words: str) -> None:
    status, answer = given(me, data)
    if not words:
        assert (status, answer["notes"]) == (200, ["it leaves nothing to keep"])
        return
    assert status == 422
    assert words in answer["error"]
    assert "#" not in answer["error"]
    assert "label=" not in answer["error"]


def test_a_mask_of_another_shape_is_told_and_told_again_when_painted(me: Visit) -> None:
    status, answer = given(me, file(np.repeat(BOX, 2, axis=0) * 255))
    words = "its shape is not that of the picture: 128 × 256 for a picture of 128 × 128; it is stretched"
    assert (status, answer["notes"]) == (200, [words])
    painted = me.call("paint", "click", [me.stage, EMPTY, *me.controls(**QUICK)])
    assert f"mask: {words}." in painted[1]["note"]


def test_a_turned_mask_is_refused(served: Running) -> None:
    buffer = io.BytesIO()
    Image.open(FOX).convert("RGB").resize((192, 128)).save(buffer, "PNG")
    visitor = served.workbench.visitors.welcome(None)
    opened = served.workbench.open(visitor, buffer.getvalue(), "wide.png")
    with pytest.raises(Exception, match="turned by a quarter"):
        served.workbench.own_mask(opened, file(np.repeat(BOX, 2, axis=0)[:192]))
    assert opened.own_mask is None


def test_the_box_says_when_next_to_nothing_is_edited_or_kept(me: Visit) -> None:
    def note(include: NDArray[Any] | None, exclude: NDArray[Any] | None) -> str:
        pairs = (("include", include), ("exclude", exclude))
        stage = {**me.stage, "strokes": {name: None if v is None else address(v) for name, v in pairs}}
        told: str = me.call("threshold", "input", [stage, *me.controls(**QUICK)])[1]["note"]
        return told

    whole, dot = np.full((128, 128), 255, np.uint8), np.zeros((128, 128), np.uint8)
    dot[:5, :5] = 255
    assert note(whole, None) == "100.0% of the picture. Nothing is kept."
    assert note(whole, whole) == "0.0% of the picture. Nothing is edited."
    assert note(dot, None) == "0.2% of the picture. Next to nothing is edited."
    assert note(BOX * 255, None) == "29.9% of the picture."


# ---- the brush is not read as anybody's file


def address(alpha: NDArray[Any]) -> str:
    """What the page sends: white on nothing."""
    return "data:image/png;base64," + base64.b64encode(file(Image.fromarray(sheet(alpha)))).decode()


def sheet(alpha: NDArray[Any]) -> NDArray[np.uint8]:
    """As a canvas gives it: where nothing was drawn the colours are 0, too."""
    white = np.where(alpha > 0, 255, 0)
    return np.dstack((white, white, white, alpha)).astype(np.uint8)


def strokes() -> dict[str, NDArray[Any]]:
    fine = Image.new("L", (512, 512))
    ImageDraw.Draw(fine).line((60, 60, 400, 200), fill=255, width=40)
    line = np.asarray(fine.resize((128, 128), Image.Resampling.BOX))
    frame = np.full((128, 128), 255, np.uint8)
    frame[30:60, 30:60] = 0
    levels = {"line": line, "frame": frame, "nothing": line * 0, "all": frame * 0 + 255, "one cell": line * 0}
    levels["one cell"][5, 5] = 255
    return levels | {"faint": line // 40, "fainter": (line > 128).astype(np.uint8), "unlike": line // 2 + line % 2}


@pytest.mark.parametrize("name", strokes())
def test_strokes_are_their_opacity_whatever_it_is(name: str) -> None:
    alpha = strokes()[name]
    drawn = Strokes.of({"include": address(alpha), "exclude": None}).include
    assert drawn is not None
    assert np.array_equal(drawn.values, alpha.astype(np.float32) / np.float32(255))
    assert drawn.notes == ()
    assert Mask.open(drawn.grey_png()).digest() == drawn.digest()  # the file that goes with the command


# ---- the HTTP API


def test_the_api_reads_masks_by_the_same_rule_and_warns(served: Running) -> None:
    picture = upload(served, FOX.read_bytes())
    answers = {}
    for name, data in (("plain", file(BOX * 255)), ("ones", file(BOX)), ("erased", erased())):
        good, answers[name] = ask(served, "edit", picture=picture, mask=upload(served, data), steps=3, **TEXTS)
        assert good
    reports = {name: answer[-1] for name, answer in answers.items()}
    assert len({report["sha256"] for report in reports.values()}) == 1
    assert reports["plain"]["warnings"] == reports["ones"]["warnings"] == []
    assert "mask: a picture with an erased part" in reports["erased"]["warnings"][0]
    wide = upload(served, file(np.repeat(BOX, 2, axis=1) * 255))
    good, (_, report) = ask(served, "mask", picture=picture, include=wide, exclude=wide, switches="--maps 1", **TEXTS)
    assert good
    shape = "its shape is not that of the picture: 256 × 128 for a picture of 128 × 128; it is stretched"
    assert report["warnings"][:3] == [
        f"include: {shape}", f"exclude: {shape}", "exclude: it leaves next to nothing of include to edit",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mask", "include", "exclude"])
def test_the_api_refuses_before_the_device_is_asked(served: Running, name: str) -> None:
    picture, before = upload(served, FOX.read_bytes()), served.rows
    refused = {
        "labels of classes": file(BOX * 3),
        "it is a picture, not a mask": FOX.read_bytes(),
        "this is the picture itself": file(np.asarray(Image.open(FOX).convert("L"))),
    }
    for words, data in refused.items():
        good, answer = ask(served, "edit", picture=picture, steps=3, **TEXTS, **{name: upload(served, data)})
        assert not good
        assert f"{name}: " in str(answer)
        assert words in str(answer)
    assert served.rows == before
