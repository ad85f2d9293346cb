"""Versions, compare, words and progress in a real browser; visitors' texts, phone width, contrast in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.component_page import (
    Shown,
    components_shown,
    data_url,
    disc_mask,
    facts,
    heat_map,
    sheet_url,
    stage_value,
)  # fmt: skip
from tests.support.pictures import scene

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVIL = '<img src=x onerror="window.hurt = 1"><script>window.hurt = 1</script>${window.hurt = 1}{{value}}"\u202eabc'


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    with components_shown() as running:
        yield running


def version(number: int, **changes: Any) -> dict[str, Any]:
    id_ = f"v{number}"
    urls = {"thumb": f"/wordbrush/thumb/{id_}", "url": f"/wordbrush/version/{id_}/zebra-{number}.png"}
    facts = {"id": id_, "title": f"{number}. a zebra", "detail": f"seed {number}", "name": f"zebra-{number}.png"}
    return {**facts, **urls, "seed": number, "current": False, **changes}


def history(*versions: dict[str, Any], left: str | None = None, right: str | None = None) -> dict[str, Any]:
    return {"versions": list(versions), "left": left, "right": right}


def everything(text: str) -> dict[str, Any]:
    """Give every component something to show, with this text wherever a visitor's may stand."""
    side = {"url": "/wordbrush/picture/p1", "label": text}
    stages = [{"label": text, "done": 3, "total": 8}, {"label": "Decode", "done": 0, "total": 8}]
    preview = data_url(Image.fromarray(scene(32, 24)))
    strokes = {"include": sheet_url((40, 30, 100, 90)), "exclude": sheet_url((180, 100, 260, 160))}
    return {
        "stage": stage_value(
            picture=facts(name=text), heat=heat_map(), mask=disc_mask(0.5, 0.5, 0.3), strokes=strokes, strokes_key=7,
            samples=[{"index": 0, "url": "/wordbrush/sample/0", "from": text, "to": text}],
        ),
        "versions": history(version(2, title=text, detail=text, name=text, current=True), version(1), right="v2"),
        "compare": {"left": side, "right": side},
        "words": {"words": [{"field": "to", "word": text, "near": [text, "penguin"]}]},
        "progress": {"title": text, "stages": stages, "preview": preview, "note": text, "state": "failed"},
    }  # fmt: skip


def test_version_cards_show_and_send_what_is_done_with_them(shown: Shown) -> None:
    with shown.page() as page:
        assert page.inner_text("#versions .quiet") == (
            "Nothing was painted yet: results are kept here, with their settings."
        )
        shown.give(page, versions=history(version(2, current=True), version(1), right="v2"))
        cards = page.locator("#versions .card")
        assert [cards.nth(i).get_attribute("data-version") for i in range(cards.count())] == ["v2", "v1"]
        assert page.get_attribute("#versions [data-part=zip]", "href") == "/wordbrush/versions.zip"
        old = page.locator("#versions [data-version=v1]")
        assert old.locator("[data-act=enlarge]").get_attribute("href") == "/wordbrush/version/v1/zebra-1.png"
        link = old.locator("[data-act=download]")
        assert link.get_attribute("href") == "/wordbrush/version/v1/zebra-1.png?download=1"
        assert link.get_attribute("download") == "zebra-1.png"
        for act in ("restore", "reuse", "remove"):
            button = old.locator(f"[data-act={act}]")
            assert "1. a zebra" in (button.get_attribute("aria-label") or "")
            button.click()
            assert shown.desk.wait(act)[0] == {"id": "v1"}
        old.locator("[data-act=left]").click()
        assert shown.desk.wait("pick")[0] == {"side": "left", "id": "v1"}
        right = page.locator("#versions [data-version=v2] [data-act=right]")
        assert right.get_attribute("aria-pressed") == "true"
        right.click()
        assert shown.desk.wait("pick", 2)[0] == {"side": "right", "id": None}


def test_focus_stays_in_the_history_when_it_changes(shown: Shown) -> None:
    with shown.page() as page:
        shown.give(page, versions=history(version(2), version(1)))
        page.focus("#versions [data-version=v1] [data-act=restore]")
        shown.give(page, versions=history(version(3), version(2), version(1)))
        where = "document.activeElement.closest('.card')?.dataset.version + document.activeElement.dataset.act"
        assert page.evaluate(where) == "v1restore"
        shown.give(page, versions=history(version(3), version(2)))
        assert page.evaluate(where) == "v2enlarge"


def test_slider_moves_the_clip_by_keyboard(shown: Shown) -> None:
    with shown.page() as page:
        assert page.is_hidden("#compare .pair")
        sides = [{"url": f"/wordbrush/picture/{name}", "label": name} for name in ("before", "after")]
        shown.give(page, compare={"left": sides[0], "right": sides[1]})
        page.wait_for_selector("#compare .pair")
        assert page.locator("#compare .labels").inner_text().split() == ["A", "before", "B", "after"]
        clip = "getComputedStyle(document.querySelector('#compare .left')).clipPath"
        assert page.evaluate(clip) == "inset(0px 50% 0px 0px)"
        page.focus("#compare input")
        assert "before" in (page.get_attribute("#compare input", "aria-label") or "")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        assert page.evaluate(clip) == "inset(0px 46% 0px 0px)"
        box = page.locator("#compare .pair").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
        assert page.input_value("#compare input") == "25"
        shown.give(page, compare={"left": None, "right": sides[1]})
        assert page.is_hidden("#compare .pair")


def test_unknown_words_are_named_and_near_ones_can_be_chosen(shown: Shown) -> None:
    with shown.page() as page:
        assert page.locator("#words [role=status]").inner_text() == ""
        words = [{"field": "to", "word": "pengiun", "near": ["penguin"]}, {"field": "from", "word": "qwrt", "near": []}]
        shown.give(page, words={"words": words})
        lines = [line.strip() for line in page.locator("#words p").all_inner_texts()]
        assert lines[0].startswith("The model does not know “pengiun”. Did you mean")
        assert lines[1] == "The model does not know “qwrt”."
        page.click("#words button")
        choice, asked = shown.desk.wait("choose")
        assert choice == {"field": "to", "word": "pengiun", "near": "penguin"}
        assert asked["edition"] == 1
        shown.give(page, words={"words": words[1:], "edition": 1})
        assert page.locator("#words p").count() == 1
        # Asked before the choice, answered after it.
        shown.give(page, words={"words": words, "edition": 0})
        assert page.locator("#words p").count() == 1
        shown.give(page, words={"words": words})
        assert page.locator("#words p").count() == 2
        page.click("#words button")
        assert shown.desk.wait("choose", 2)[1]["edition"] == 2


def test_progress_shows_bars_and_preview_without_a_jump(shown: Shown) -> None:
    with shown.page() as page:
        assert page.is_hidden("#progress .progress")
        state = everything("Painting")["progress"] | {"state": "running"}
        shown.give(page, progress=state | {"preview": None})
        before = page.locator("#progress .progress").bounding_box()
        assert page.locator("#progress .step").all_inner_texts() == ["Painting\n3 of 8", "Decode\n0 of 8"]
        shares = page.locator("#progress progress").evaluate_all("(bars) => bars.map((b) => b.value / b.max)")
        assert shares == [0.375, 0]
        shown.give(page, progress=state)
        assert page.locator("#progress .progress").bounding_box() == before
        assert page.is_visible("#progress img")
        assert page.locator("#progress [aria-live] progress").count() == 0
        idle: dict[str, Any] = {"title": "", "stages": [], "preview": None, "note": "", "state": "idle"}
        shown.give(page, progress=idle)
        assert page.is_hidden("#progress .progress")
        shown.give(page, progress=idle | {"note": "The picture was restored."})
        assert page.is_visible("#progress .note")


def test_texts_of_visitors_are_shown_as_text(shown: Shown) -> None:
    with shown.page() as page:
        shown.give(page, **everything(EVIL))
        page.wait_for_selector("#compare .pair")
        page.click("#stage [data-part=new]")
        page.wait_for_timeout(200)
        assert page.evaluate("window.hurt") is None
        places = (
            "#versions .title", "#versions .detail", "#words bdi", "#words button", "#progress .title",
            "#progress .note", "#progress .label", "#compare [data-part=left-label]", "#stage [data-part=name]",
        )  # fmt: skip
        for place in places:
            assert page.locator(place).first.text_content() == EVIL, place
        assert page.locator("#stage [data-sample] span").text_content() == f"{EVIL} → {EVIL}"
        assert page.locator("script:text('window.hurt'), img[src=x]").count() == 0


@pytest.mark.parametrize("picture", [True, False])
def test_nothing_runs_over_a_phones_edge(shown: Shown, picture: bool) -> None:
    with shown.page(width=360, has_touch=True, is_mobile=True) as page:
        values = everything("a very long text about a zebra-on-grass" + "g" * 80)
        if not picture:
            values["stage"]["picture"] = None
        shown.give(page, **values)
        over = page.evaluate(
            """() => [...document.querySelectorAll('.gradio-container *')].filter((node) => {
              const box = node.getBoundingClientRect();
              const clipped = node.closest('.unseen, .title, .name, svg') !== null;
              return box.width > 0 && !clipped && (box.right > innerWidth + 0.5 || box.left < -0.5);
            }).map((node) => `${node.tagName}.${node.className} ${node.getBoundingClientRect().right}`)"""
        )
        assert over == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360


CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  for (const node of document.querySelectorAll('.gradio-container *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('.unseen, style, :disabled')) continue;
    const grounds = [];
    for (let at = node; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const ground = over(['#fff', ...grounds]);
    const text = over([`rgb(${ground})`, getComputedStyle(node).color]);
    const [a, b] = [light(ground), light(text)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), `${node.tagName}.${node.className}: ${node.textContent.slice(0, 30)}`]);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_the_contrast_of_aa(shown: Shown, theme: str) -> None:
    with shown.page(theme=theme) as page:
        shown.give(page, **everything("a zebra"))
        page.wait_for_selector("#compare .pair")
        page.mouse.move(0, 0)
        found = contrasts(page)
        page.click("#stage [data-part=new]")
        page.mouse.move(0, 0)
        found += contrasts(page)
    assert len(found) > 60
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


def contrasts(page: Page) -> list[tuple[float, str]]:
    page.wait_for_timeout(400)  # until colours have faded in
    return [(ratio, text) for ratio, text in page.evaluate(CONTRASTS)]


def test_focus_is_seen_on_everything_that_takes_it(shown: Shown) -> None:
    with shown.page() as page:
        shown.give(page, **everything("a zebra"))
        page.wait_for_selector("#compare .pair")
        page.focus("#stage button[data-tool=look]")
        seen = 0
        for _ in range(40):
            ring, inside = page.evaluate(
                "(() => { const node = document.activeElement; const style = getComputedStyle(node);"
                " return [`${style.outlineStyle} ${parseFloat(style.outlineWidth) >= 2}`,"
                " node.closest('#stage, #versions, #compare, #words') !== null]; })()"
            )
            if inside:
                seen += 1
                assert ring == "solid true"
            page.keyboard.press("Tab")
        assert seen > 20
