"""The workbench in a real browser, from the first upload to the downloaded file.

One visit is told in order, as a person would make it; each test goes on where the one before stopped, and leaves a
screenshot of its state in `tests/e2e/screenshots` (not kept in the repository).
"""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import Launched, Traffic, launched
from tests.support.workbench import Running, running
from wordbrush.cli import main
from wordbrush.picture.samples import samples_folder
from wordbrush.web.options import Limits

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

FOX = samples_folder() / "fox.png"
SHOTS = Path(__file__).parent / "screenshots"
SLOW = 60_000
COUNT = "(many) => document.querySelectorAll('#versions [data-version]').length === many"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Launched]:
    with launched() as found:
        yield found
        # A refused upload is told on the page; the browser logs its status as well.
        assert [line for line in found.errors.lines if "422" not in line] == []


@pytest.fixture(scope="module")
def visit(server: Running, browser: Launched) -> Page:
    page = browser.context(viewport={"width": 1280, "height": 1000}).new_page()
    page.goto(server.address)
    page.wait_for_selector("#stage [data-part=samples] button")
    return page


class Bench:
    """What a person sees and does on the page."""

    def __init__(self, page: Page, server: Running) -> None:
        self.page, self.server, self.traffic = page, server, Traffic(page)
        self.stage = self.page.locator("#stage .stage")

    def rest(self) -> None:
        """Wait until everything that was begun has ended and is seen: what is told comes before the end of its work."""
        self.traffic.rest(lambda: self.server.jobs == 0)
        self.page.locator("#stage .stage[data-ready=true]").wait_for(timeout=SLOW)

    def shot(self, name: str, at: str | None = None) -> None:
        """Keep a picture of the page: of all of it, or of what is seen with an element at the top."""
        SHOTS.mkdir(exist_ok=True)
        if at is not None:
            self.page.evaluate("(at) => document.querySelector(at).scrollIntoView()", at)
        self.page.wait_for_timeout(400)  # pictures fade in
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=at is None)

    def write(self, field: str, text: str) -> None:
        """Fill a text field and leave it."""
        box = self.page.locator(f"#{field} textarea, #{field} input").first
        box.fill(text)
        box.blur()

    def slide(self, name: str, value: float) -> None:
        """Type a number beside a slider."""
        box = self.page.locator(f"#{name} input[type=number]")
        box.fill(str(value))
        box.blur()

    def attribute(self, name: str) -> str:
        """Read a fact of the stage."""
        return self.stage.get_attribute(f"data-{name}") or ""

    def until(self, told: str) -> None:
        """Wait until the progress box says so."""
        self.page.locator("#progress").get_by_text(told).first.wait_for(timeout=SLOW)

    def changed(self, name: str, before: str) -> str:
        """Wait until a fact of the stage is another one; return it."""
        self.page.wait_for_function(
            "([name, before]) => (document.querySelector('#stage .stage')?.dataset[name] ?? before) !== before",
            arg=[name, before],
            timeout=SLOW,
        )
        return self.attribute(name)

    @property
    def cards(self) -> Any:
        """The cards of the history."""
        return self.page.locator("#versions [data-version]")

    def command(self) -> list[str]:
        """The words of the shown command."""
        drawer = self.page.locator("#drawer")
        if not self.page.locator("#command").is_visible():
            drawer.locator("button").first.click()
        return shlex.split(self.page.input_value("#command textarea"))

    def download(self, locator: Any) -> Path:
        """Click what downloads, and return the file."""
        with self.page.expect_download() as found:
            locator.click()
        return Path(found.value.path())


@pytest.fixture(scope="module")
def bench(visit: Page, server: Running) -> Bench:
    return Bench(visit, server)


def test_the_empty_page_teaches_in_a_line(bench: Bench) -> None:
    assert "Drop a picture here" in bench.page.locator("#stage .lesson").inner_text()
    assert bench.page.locator("#stage [data-part=samples] button").count() == 14
    bench.shot("1-empty")


def test_upload_and_unknown_words(bench: Bench) -> None:
    bench.page.set_input_files("#stage [data-part=file]", FOX)
    bench.changed("picture", "")
    bench.rest()
    bench.write("from", "a fox on snow")
    bench.write("to", "a pengiun on snow")
    bench.page.locator("#words [data-near=penguin]").click()
    bench.page.wait_for_function("document.querySelector('#to textarea').value === 'a penguin on snow'")
    bench.page.locator("#words").get_by_text("pengiun").wait_for(state="hidden")
    bench.rest()


def test_finding_the_region_shows_heat_and_outline(bench: Bench, server: Running) -> None:
    before = server.rows
    bench.page.click("#find")
    bench.until("Region found")
    bench.rest()
    assert server.rows - before == 4
    assert bench.attribute("outline") != ""
    assert bench.attribute("heat") == "on"
    bench.shot("2-region")


def test_moving_the_threshold_changes_the_outline_and_runs_no_network(bench: Bench, server: Running) -> None:
    outline, rows = bench.attribute("outline"), server.rows
    bench.slide("threshold", 0.5)
    higher = bench.changed("outline", outline)
    bench.slide("threshold", 0.26)
    bench.changed("outline", higher)
    assert bench.attribute("outline") == outline
    bench.rest()
    assert server.rows == rows


def test_strokes_change_the_region_survive_the_threshold_and_can_be_undone(bench: Bench, server: Running) -> None:
    outline, rows = bench.attribute("outline"), server.rows
    _stroke(bench, "add", (0.08, 0.1), (0.25, 0.1))
    added = bench.changed("outline", outline)
    _stroke(bench, "remove", (0.5, 0.55), (0.6, 0.6))
    removed = bench.changed("outline", added)
    assert bench.attribute("strokes") == "2"
    bench.slide("threshold", 0.4)
    moved = bench.changed("outline", removed)
    assert bench.attribute("strokes") == "2"
    bench.shot("3-strokes")
    bench.slide("threshold", 0.26)
    bench.changed("outline", moved)
    bench.page.click("#stage [data-part=undo]")
    bench.changed("outline", removed)
    assert bench.attribute("outline") == added
    bench.rest()
    assert server.rows == rows


def test_the_mask_is_downloaded_edited_elsewhere_and_uploaded(bench: Bench, tmp_path: Path, server: Running) -> None:
    rows, outline = server.rows, bench.attribute("outline")
    with Image.open(bench.download(bench.page.locator("#stage [data-part=mask-link]"))) as got:
        assert (got.mode, got.size) == ("L", (128, 128))
        turned = np.asarray(got.rotate(180))
    Image.fromarray(turned).save(tmp_path / "turned.png")
    bench.page.set_input_files("#stage [data-part=mask-file]", tmp_path / "turned.png")
    other = bench.changed("outline", outline)
    with Image.open(bench.download(bench.page.locator("#stage [data-part=mask-link]"))) as got:
        drawn = np.asarray(got) != turned
    assert 0 < drawn.mean() < 0.1  # the stroke that is still on the page
    bench.rest()
    assert bench.page.locator("#progress").get_by_text("Region found").count() == 0
    bench.page.click("#find")
    bench.until("Region found")
    assert bench.changed("outline", other) == outline
    bench.rest()
    assert server.rows == rows


def test_other_words_take_the_region_off_and_bring_it_back(bench: Bench, server: Running) -> None:
    rows, outline = server.rows, bench.attribute("outline")
    bench.write("to", "a cat on snow")
    stroke = bench.changed("outline", outline)  # what was painted by hand is all there is
    assert bench.attribute("heat") == "off"
    bench.write("to", "a penguin on snow")
    assert bench.changed("outline", stroke) == outline
    assert bench.attribute("heat") == "on"
    bench.rest()
    assert server.rows == rows


def test_a_field_left_while_finding_comes_to_its_end_finds_nothing_more(bench: Bench, server: Running) -> None:
    page, rows, outline = bench.page, server.rows, bench.attribute("outline")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if held or '"edition"' not in (route.request.post_data or ""):
            route.continue_()
        else:
            held.append(route)  # which words are unknown: the first question waits for its answer

    page.route("**/run/predict*", hold)
    page.click("#find")
    for _ in range(600):
        if held:
            break
        page.wait_for_timeout(50)
    bench.write("to", "a cat on snow")
    stroke = bench.changed("outline", outline)
    (first,) = held
    first.continue_()
    bench.rest()
    assert (bench.attribute("outline"), bench.attribute("heat")) == (stroke, "off")
    assert server.rows == rows
    page.unroute("**/run/predict*", hold)
    bench.write("to", "a penguin on snow")
    assert bench.changed("outline", stroke) == outline
    bench.rest()
    assert server.rows == rows


def _stroke(bench: Bench, tool: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    bench.page.click(f"#stage [data-tool={tool}]")
    box = bench.page.locator("#stage [data-part=view]").bounding_box()
    assert box is not None
    mouse = bench.page.mouse
    mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    mouse.down()
    mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=5)
    mouse.up()


def test_painting_tells_its_stages_and_keeps_a_version(bench: Bench) -> None:
    bench.page.click("#paint")
    bench.page.locator("#progress progress").first.wait_for(timeout=SLOW)
    bench.page.locator("#progress img[data-part=preview]").wait_for(timeout=SLOW)
    bench.until("Painted fox-1.png")
    bench.rest()
    assert "contrast" in bench.page.locator("#progress").inner_text()
    assert bench.cards.count() == 1
    bench.shot("4-painted")


def test_a_second_seed_costs_only_its_decode(bench: Bench, server: Running) -> None:
    rows = server.rows
    bench.write("seeds", "1")
    bench.page.click("#paint")
    bench.until("Painted fox-2.png")
    bench.rest()
    assert server.rows - rows == 13
    told = bench.page.locator("#progress").inner_text()
    assert "the contrast" in told
    assert "the inversion" in told


def test_the_download_is_the_file_that_the_shown_command_writes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = bench.command()
    got = bench.download(bench.cards.first.locator("[data-act=download]"))
    archive = bench.download(bench.page.locator("#versions [data-part=zip]"))
    monkeypatch.chdir(tmp_path)
    Path("fox.png").write_bytes(FOX.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        Path("include.png").write_bytes(packed.read("fox-2/include.png"))
        assert packed.read("fox-2.png") == got.read_bytes()
        assert set(packed.namelist()) >= {"fox-1.png", "fox-2.png", "commands.txt"}
    assert words[:3] == ["wordbrush", "edit", "fox.png"]
    assert main(words[1:]) == 0
    assert Path("fox-2.png").read_bytes() == got.read_bytes()


def test_stopping_works_within_a_step(bench: Bench, server: Running) -> None:
    bench.page.locator("#more button").first.click()
    bench.slide("steps", 100)
    bench.page.click("#paint")
    bench.page.locator("#progress").get_by_text("Paint under the new text").first.wait_for(timeout=SLOW)
    preview = bench.page.locator("#progress img[data-part=preview]")
    preview.wait_for(timeout=SLOW)
    looks = {preview.get_attribute("src")}
    while len(looks) < 2:  # it grows; a busy browser sees few of the looks before the edit ends
        bench.page.wait_for_function(
            "(seen) => !seen.includes(document.querySelector('#progress img[data-part=preview]').src)",
            arg=list(looks),
            timeout=SLOW,
        )
        looks.add(preview.get_attribute("src"))
    bench.page.click("#stop")
    bench.until("Stopped")
    bench.rest()
    rows = server.rows
    bench.page.wait_for_timeout(1500)
    assert server.rows == rows
    assert bench.cards.count() == 2
    bench.shot("5-stopped")


def test_several_seeds_at_once(bench: Bench) -> None:
    bench.page.locator("#preset input").click()
    bench.page.get_by_role("option", name="fast").click()
    bench.write("seeds", "3-5")  # before the preset's answer, which may come twice
    bench.page.wait_for_function("document.querySelector('#steps input[type=number]').value === '8'")
    bench.rest()
    assert bench.page.input_value("#seeds input, #seeds textarea") == "3-5"
    bench.page.click("#paint")
    bench.until("Painted fox-5.png")
    bench.rest()
    assert bench.cards.count() == 5
    bench.shot("6-seeds", at="#compare")


def test_what_is_moved_while_it_paints_is_what_is_seen_afterwards(bench: Bench) -> None:
    outline = bench.attribute("outline")
    bench.write("seeds", "6")
    bench.page.click("#paint")
    bench.page.locator("#progress progress").first.wait_for(timeout=SLOW)
    bench.slide("threshold", 0.5)
    moved = bench.changed("outline", outline)
    bench.page.wait_for_function(COUNT, arg=6, timeout=SLOW)
    bench.rest()
    assert bench.attribute("outline") == moved
    bench.slide("threshold", 0.26)
    assert bench.changed("outline", moved) == outline
    bench.cards.first.locator("[data-act=remove]").click()
    bench.page.wait_for_function(COUNT, arg=5)
    bench.rest()


def test_a_version_is_restored_with_its_settings_and_strokes(bench: Bench) -> None:
    bench.page.click("#stage [data-part=clear]")
    bench.write("to", "a cat on snow")
    bench.cards.last.locator("[data-act=restore]").click()
    bench.until("Version restored")
    bench.rest()
    page = bench.page
    assert page.input_value("#to textarea") == "a penguin on snow"
    assert page.input_value("#steps input[type=number]") == "10"
    assert page.input_value("#seeds input, #seeds textarea") == "0"
    assert bench.attribute("strokes") == "1"


def test_two_versions_are_compared_and_the_slider_moves_by_keyboard(bench: Bench) -> None:
    compare = bench.page.locator("#compare")
    assert "input: fox.png" in compare.inner_text()
    bench.cards.nth(1).locator("[data-act=left]").click()
    bench.page.locator("#compare").get_by_text("4. a penguin").wait_for()
    slider = compare.locator("input[type=range]")
    before = slider.input_value()
    slider.focus()
    bench.page.keyboard.press("ArrowRight")
    assert slider.input_value() != before
    bench.shot("7-compared")


def test_reloading_loses_nothing(bench: Bench) -> None:
    bench.page.reload()
    bench.changed("picture", "")
    bench.rest()
    assert bench.cards.count() == 5
    assert bench.page.input_value("#to textarea") == "a penguin on snow"


def test_a_result_becomes_the_next_input(bench: Bench) -> None:
    bench.cards.last.locator("[data-act=reuse]").click()
    bench.until("New input")
    bench.rest()
    assert bench.page.input_value("#from textarea") == "a penguin on snow"
    assert "fox-1.png" in bench.page.locator("#stage [data-part=name]").inner_text()


def test_dropping_a_result_brings_its_settings_and_its_picture_back(bench: Bench, tmp_path: Path) -> None:
    got = bench.download(bench.cards.last.locator("[data-act=download]"))
    result = tmp_path / "dropped.png"
    result.write_bytes(got.read_bytes())
    bench.page.set_input_files("#stage [data-part=file]", result)
    bench.until("Settings restored")
    bench.rest()
    assert bench.page.input_value("#to textarea") == "a penguin on snow"
    bench.page.locator("#stage [data-part=name]").get_by_text("fox.png", exact=True).wait_for()
    bench.shot("8-restored")


def test_what_is_not_a_picture_is_refused_in_place(bench: Bench, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    bench.page.set_input_files("#stage [data-part=file]", bad)
    bench.page.locator("#stage [data-part=alert]").get_by_text(re.compile("not a picture|cannot")).wait_for()


def test_the_page_works_at_phone_width_and_in_the_dark(server: Running, browser: Launched) -> None:
    page = browser.context(viewport={"width": 360, "height": 760}, color_scheme="dark").new_page()
    page.goto(server.address + "/?__theme=dark")
    page.locator("#stage [data-part=samples] button").first.click()
    page.wait_for_function("document.querySelector('#to textarea').value !== ''")
    bench = Bench(page, server)
    page.click("#find")
    bench.until("Region found")
    bench.rest()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    bench.shot("9-phone-dark")


def test_two_visitors_wait_for_one_another_and_see_nothing_of_each_other(server: Running, browser: Launched) -> None:
    first, second = (browser.context(viewport={"width": 1000, "height": 900}).new_page() for _ in range(2))
    for page in (first, second):
        page.goto(server.address)
        page.locator("#stage [data-part=samples] button").first.click()
        page.wait_for_function("document.querySelector('#to textarea').value !== ''")
    busy, waiting = Bench(first, server), Bench(second, server)
    first.locator("#more button").first.click()
    busy.slide("steps", 100)
    first.click("#paint")
    first.locator("#progress").get_by_text("Invert into the noise").first.wait_for(timeout=SLOW)
    second.click("#paint")
    second.get_by_text(re.compile(r"queue: 1/1")).first.wait_for()
    waiting.shot("10-queue")
    # Whoever waits can leave the queue at once, while the other goes on.
    second.click("#stop")
    waiting.until("It had not begun yet")
    first.click("#stop")
    busy.until("Stopped")
    theirs = f"/wordbrush/picture/{busy.attribute('picture')}"
    status = "async (address) => (await fetch(address)).status"
    assert first.evaluate(status, theirs) == 200
    browser.errors.lines.clear()
    assert second.evaluate(status, theirs) == 404
    assert len(browser.errors.lines) == 1  # that the picture was not to be had
    browser.errors.lines.clear()
    assert waiting.cards.count() == 0


def test_a_full_queue_is_told_on_the_page(browser: Launched) -> None:
    with running(Limits(queue=1)) as server:
        pages = [browser.context(viewport={"width": 1000, "height": 900}).new_page() for _ in range(2)]
        for page in pages:
            page.goto(server.address)
            page.locator("#stage [data-part=samples] button").first.click()
            page.wait_for_function("document.querySelector('#to textarea').value !== ''")
        pages[0].locator("#more button").first.click()
        busy, refused = (Bench(page, server) for page in pages)
        busy.slide("steps", 100)
        pages[0].click("#paint")
        pages[0].locator("#progress progress").first.wait_for(timeout=SLOW)
        pages[1].click("#paint")
        pages[1].get_by_text(re.compile("busy", re.IGNORECASE)).first.wait_for(timeout=3000)
        refused.shot("11-busy")
        pages[0].click("#stop")
        busy.until("Stopped")
        assert all("503" in line for line in browser.errors.lines)
        browser.errors.lines.clear()
