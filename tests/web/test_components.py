"""The stage in a real browser: opening, painting by mouse and keyboard, what reaches Python, and what is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.support.component_page import (
    LIMIT,
    SIZE,
    Shown,
    at,
    components_shown,
    disc_mask,
    drag,
    facts,
    hand_over,
    heat_map,
    look,
    sheet_url,
    stage_value,
    stroke_pixels,
    told,
    tool,
)
from tests.support.pictures import encode, scene

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page, Route

ROOT = "#stage .stage"
VIEW = "#stage canvas.view"


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    with components_shown() as running:
        yield running


@pytest.fixture
def page(shown: Shown) -> Iterator[Page]:
    with shown.page() as page:
        shown.give(page, stage=stage_value())
        yield page


def png_file(name: str = "grün & blau.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": encode(Image.fromarray(scene(60, 40)))}


def test_empty_stage_teaches_in_one_line_and_offers_samples(shown: Shown) -> None:
    samples = [{"index": 4, "url": "/wordbrush/sample/4", "from": "a horse", "to": "a zebra"}]
    with shown.page() as page:
        shown.give(page, stage=stage_value(picture=None, samples=samples))
        assert page.inner_text("#stage .lesson") == (
            "Drop a picture here, paste one, or take a sample: write what it shows and what it should show"
        )
        assert page.get_attribute("#stage [data-sample] img", "alt") == "Sample: a horse"
        page.click("#stage [data-sample]")
        assert shown.desk.wait("sample")[0] == {"index": 4}


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_picture_can_be_chosen_dropped_and_pasted(shown: Shown, way: str) -> None:
    with shown.page() as page:
        if way == "choose":
            with page.expect_file_chooser() as chooser:
                page.click("#stage [data-part=choose]")
            chooser.value.set_files([png_file()])
        else:
            hand_over(page, ROOT if way == "drop" else "body", way)
        assert shown.desk.wait("opened")[0] == {"id": "up1"}
        _, value = shown.desk.wait("opened")
        route, name, body = shown.desk.uploads[0]
        assert route == "/wordbrush/picture"
        assert value["picture"] == facts("up1", name)
        if way == "choose":
            assert (name, body) == ("grün & blau.png", png_file()["buffer"])
        page.wait_for_selector(f"{ROOT}[data-picture=up1][data-ready=true]")
        hand_over(page, "#stage .board", "drop")
        page.wait_for_selector(f"{ROOT}[data-picture=up2][data-ready=true]")


def test_text_pasted_into_a_field_stays_text(shown: Shown, page: Page) -> None:
    hand_over(page, "#to textarea, #to input", "paste", "a zebra")
    page.wait_for_timeout(300)
    assert shown.desk.uploads == []


def test_files_refused_here_and_there_are_told_of_in_place(shown: Shown, page: Page) -> None:
    big: FilePayload = {"name": "big.png", "mimeType": "image/png", "buffer": bytes(LIMIT + 1)}
    page.set_input_files("#stage [data-part=file]", [big])
    message = page.inner_text("#stage [role=alert]")
    assert message.startswith("“big.png” has 2 MB; at most 2 MB")
    assert shown.desk.wait("problem")[0] == {"message": message}
    assert shown.desk.uploads == []
    assert told(page, "picture") == "p1"


@pytest.mark.parametrize("key", ["error", "detail"])
def test_refusal_by_the_server_is_told_of_in_place(shown: Shown, key: str) -> None:
    with shown.page() as page:
        shown.desk.refusal = (422, {key: "<b>not</b> a picture"})
        page.set_input_files("#stage [data-part=file]", [png_file()])
        shown.desk.wait("problem")
        assert page.inner_text("#stage [role=alert]") == "<b>not</b> a picture"
        assert told(page, "picture") == ""
        shown.chrome.errors.lines = [line for line in shown.chrome.errors.lines if "422" not in line]


def test_mouse_strokes_reach_python_where_they_were_drawn(shown: Shown, page: Page) -> None:
    tool(page, "add")
    drag(page, (0.2, 0.5), (0.8, 0.5))
    _, value = shown.desk.wait("stroke")
    include = stroke_pixels(value["strokes"]["include"])
    assert include.shape == SIZE[::-1]
    assert value["strokes"]["exclude"] is None
    # The brush is 8 % of the longer side: 24 pixels, 12 to each side of the line.
    assert at(include, 0.5, 0.5) == at(include, 0.5, 0.55) == 255
    assert at(include, 0.5, 0.57) == at(include, 0.1, 0.5) == 0
    tool(page, "remove")
    drag(page, (0.5, 0.2), (0.5, 0.8))
    _, value = shown.desk.wait("stroke", 2)
    include, exclude = (stroke_pixels(value["strokes"][name]) for name in ("include", "exclude"))
    assert (at(include, 0.5, 0.5), at(exclude, 0.5, 0.5)) == (0, 255)
    assert (at(include, 0.3, 0.5), at(exclude, 0.3, 0.5)) == (255, 0)
    assert not np.any((include > 127) & (exclude > 127))
    tool(page, "add")
    drag(page, (0.5, 0.3), (0.5, 0.3))
    _, value = shown.desk.wait("stroke", 3)
    include, exclude = (stroke_pixels(value["strokes"][name]) for name in ("include", "exclude"))
    assert (at(include, 0.5, 0.3), at(exclude, 0.5, 0.3)) == (255, 0)
    assert told(page, "strokes") == "3"


def test_look_does_not_paint_and_touch_scrolls(shown: Shown, page: Page) -> None:
    drag(page, (0.2, 0.5), (0.8, 0.5))
    action = f"getComputedStyle(document.querySelector('{VIEW}')).touchAction"
    assert page.evaluate(action) == "auto"
    tool(page, "add")
    assert page.evaluate(action) == "none"
    assert told(page, "strokes") == "0"
    assert shown.desk.count("stroke") == 0


def test_keyboard_paints_alone(shown: Shown, page: Page) -> None:
    page.focus(VIEW)
    page.keyboard.press("b")
    assert page.get_attribute("#stage button[data-tool=add]", "aria-pressed") == "true"
    before = float(page.input_value("#stage [data-part=size]"))
    page.keyboard.press("]")
    assert float(page.input_value("#stage [data-part=size]")) > before
    page.keyboard.press("[")
    assert float(page.input_value("#stage [data-part=size]")) == before
    box = page.locator(VIEW).bounding_box()
    assert box is not None
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    aim = "document.querySelector('#stage canvas.aim').getContext('2d')"
    drawn = f"{aim}.getImageData(0, 0, 5000, 5000).data.some((v) => v > 0)"
    assert page.evaluate(drawn)
    page.keyboard.press("Space")
    _, value = shown.desk.wait("stroke")
    include = stroke_pixels(value["strokes"]["include"])
    rows, columns = np.nonzero(include > 127)
    assert columns.mean() / SIZE[0] == pytest.approx(0.5 + 120 / box["width"], abs=0.01)
    assert rows.mean() / SIZE[1] == pytest.approx(0.5 - 8 / box["height"], abs=0.01)
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    _, value = shown.desk.wait("stroke", 2)
    assert value["strokes"]["include"] is None
    assert np.array_equal(stroke_pixels(value["strokes"]["exclude"]) > 127, include > 127)


def test_undo_redo_and_clear(shown: Shown, page: Page) -> None:
    tool(page, "add")
    drag(page, (0.2, 0.3), (0.7, 0.3))
    first = shown.desk.wait("stroke")[1]["strokes"]
    drag(page, (0.2, 0.7), (0.7, 0.7))
    second = shown.desk.wait("stroke", 2)[1]["strokes"]
    page.keyboard.press("Control+z")
    assert shown.desk.wait("stroke", 3)[1]["strokes"] == first
    page.keyboard.press("Control+Shift+Z")
    assert shown.desk.wait("stroke", 4)[1]["strokes"] == second
    page.click("#stage [data-part=clear]")
    assert shown.desk.wait("stroke", 5)[1]["strokes"] == {"include": None, "exclude": None}
    assert told(page, "strokes") == "0"
    page.click("#stage [data-part=undo]")
    assert shown.desk.wait("stroke", 6)[1]["strokes"] == second
    assert told(page, "strokes") == "2"


def test_strokes_survive_the_same_key_and_go_under_another(shown: Shown, page: Page) -> None:
    tool(page, "add")
    drag(page, (0.2, 0.3), (0.7, 0.3))
    own = shown.desk.wait("stroke")[1]["strokes"]
    shown.give(page, stage=stage_value(mask=disc_mask(0.5, 0.5, 0.3)))
    assert told(page, "strokes") == "1"
    # The answer was older than the stroke: the page has the region cut again with what it has, once.
    assert shown.desk.wait("stroke", 2)[1]["strokes"] == own
    page.wait_for_timeout(300)
    assert shown.desk.count("stroke") == 2
    given = {"include": None, "exclude": sheet_url((30, 20, 90, 80))}
    shown.give(page, stage=stage_value(strokes=given, strokes_key=2))
    assert told(page, "strokes") == "1"
    assert page.is_disabled("#stage [data-part=undo]")
    drag(page, (0.8, 0.8), (0.8, 0.8))
    _, value = shown.desk.wait("stroke", 3)
    assert value["strokes_key"] == 2
    exclude = stroke_pixels(value["strokes"]["exclude"])
    assert np.array_equal(np.argwhere(exclude > 127)[[0, -1]], [[20, 30], [79, 89]])
    include = stroke_pixels(value["strokes"]["include"])
    assert at(include, 0.5, 0.3) == 0
    assert at(include, 0.8, 0.8) == 255


def test_strokes_of_another_picture_do_not_stay(shown: Shown, page: Page) -> None:
    tool(page, "add")
    drag(page, (0.2, 0.3), (0.7, 0.3))
    shown.desk.wait("stroke")
    shown.give(page, stage=stage_value(picture=facts("p2")))
    assert (told(page, "picture"), told(page, "strokes")) == ("p2", "0")


def test_late_answers_take_nothing_back(shown: Shown, page: Page) -> None:
    page.set_input_files("#stage [data-part=file]", [png_file()])
    shown.desk.wait("opened")
    mask = disc_mask(0.5, 0.5, 0.3)
    # About the picture before, from work begun before the upload.
    shown.give(page, stage=stage_value(mask=mask))
    assert (told(page, "picture"), told(page, "outline")) == ("up1", "")
    # The server may answer with another picture than the one sent: the one that it was made from.
    strokes = {"include": sheet_url((30, 20, 90, 80)), "exclude": None}
    shown.give(page, stage=stage_value(strokes=strokes, strokes_key=2))
    assert (told(page, "picture"), told(page, "strokes")) == ("p1", "1")
    # Older work about this picture: its region is shown, its strokes are not.
    shown.give(page, stage=stage_value(mask=mask, strokes_key=1))
    assert told(page, "outline") != ""
    assert told(page, "strokes") == "1"
    shown.give(page, stage=stage_value(picture=facts("p0"), strokes_key=1))
    assert told(page, "picture") == "p1"


def test_late_answers_take_nothing_back_while_a_picture_is_still_loading(shown: Shown, page: Page) -> None:
    held: list[Route] = []
    page.route("**/picture/slow", lambda route: held.append(route))
    strokes = {"include": sheet_url((30, 20, 90, 80)), "exclude": None}
    begun = [
        stage_value(picture=facts("slow"), strokes=strokes, strokes_key=2),
        stage_value(picture=None),
        stage_value(picture=facts("slow"), mask=disc_mask(0.5, 0.5, 0.3)),
    ]
    for value in begun:
        shown.desk.given = {"stage": value}
        page.click("#give")
        page.wait_for_timeout(200)
    assert told(page, "ready") == "false"
    (slow,) = held
    slow.continue_()
    page.wait_for_selector("#stage .stage[data-ready=true]")
    assert (told(page, "picture"), told(page, "strokes")) == ("slow", "1")
    assert told(page, "outline") != ""


def test_the_first_upload_is_not_taken_back_by_what_came_before_it(shown: Shown) -> None:
    with shown.page() as page:
        page.set_input_files("#stage [data-part=file]", [png_file()])
        shown.desk.wait("opened")
        shown.give(page, stage=stage_value(picture=None, strokes_key=0))
        assert told(page, "picture") == "up1"


def test_heat_outline_strokes_and_dimming_are_seen_and_can_be_hidden(shown: Shown, page: Page) -> None:
    plain = look(page)
    strokes = {"include": sheet_url((30, 150, 60, 180)), "exclude": sheet_url((240, 20, 270, 50))}
    mask = disc_mask(0.5, 0.5, 0.3)
    shown.give(page, stage=stage_value(heat=heat_map(), mask=mask, strokes=strokes, strokes_key=2))
    everything = look(page)
    first = told(page, "outline")
    assert first
    assert told(page, "heat") == "on"
    page.click("#stage [data-layer=heat]")
    assert told(page, "heat") == "off"
    coloured = look(page)
    assert np.abs(at(coloured, 0.5, 0.5) - at(plain, 0.5, 0.5)).max() == 0
    assert np.abs(at(everything, 0.5, 0.5) - at(plain, 0.5, 0.5)).max() > 30
    # The outline runs where the disc ends and nowhere else, in white and black.
    band = coloured[coloured.shape[0] // 2, int(0.79 * coloured.shape[1]) : int(0.81 * coloured.shape[1])]
    assert np.abs(band - plain[plain.shape[0] // 2, int(0.79 * plain.shape[1]) : int(0.81 * plain.shape[1])]).max() > 60
    page.click("#stage [data-layer=outline]")
    page.click("#stage [data-layer=strokes]")
    assert np.array_equal(look(page), plain)
    page.click("#stage [data-layer=dim]")
    dimmed = look(page)
    assert np.array_equal(at(dimmed, 0.5, 0.5), at(plain, 0.5, 0.5))
    assert np.all(at(dimmed, 0.05, 0.5) <= at(plain, 0.05, 0.5) * 0.5 + 1)
    shown.give(page, stage=stage_value(mask=disc_mask(0.5, 0.5, 0.2), strokes=strokes, strokes_key=2))
    assert told(page, "outline") not in {first, ""}


def test_mask_file_is_sent_and_the_mask_can_be_fetched(shown: Shown, page: Page) -> None:
    assert page.is_hidden("#stage [data-part=mask-link]")
    page.set_input_files("#stage [data-part=mask-file]", [png_file("mask.png")])
    assert shown.desk.wait("masked")[0] == {"id": "p1"}
    assert shown.desk.uploads[0][0] == "/wordbrush/mask/p1"
    shown.give(page, stage=stage_value(mask=disc_mask(0.5, 0.5, 0.3)))
    assert page.get_attribute("#stage [data-part=mask-link]", "href") == "/wordbrush/mask/p1/mask.png?download=1"


def test_new_picture_can_be_thought_better_of(shown: Shown, page: Page) -> None:
    page.click("#stage [data-part=new]")
    assert page.is_visible("#stage .lesson")
    page.click("#stage [data-part=back]")
    assert page.is_visible(VIEW)
    assert told(page, "picture") == "p1"
