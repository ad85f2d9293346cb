"""`wordbrush batch report` as people run it, and its page in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wordbrush as wb
from tests.support.batch_folder import Drawn, flat, half, put, run_into
from tests.support.browser import launched
from tests.support.command import Command, command_of


@pytest.fixture
def command(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    return command_of(capsysbinary)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve items with a true region, of two kinds, and a failure with long words."""
    place = tmp_path_factory.mktemp("in")
    region = put(place / "m.png", flat(255)[..., 0])
    rows = [
        Drawn(
            {
                "picture": put(place / f"{n}.png", flat(n)),
                "query": f"{'long ' * 9}word {'a unicorn' if n == 7 else n}",
                "kind": f"k{n % 2}",
                "truth_mask": region,
            },
            flat(9),
            half(),
        )
        for n in range(12)
    ]
    rows.append(Drawn({"picture": str(place / f"{'x' * 90}.png"), "query": "x" * 200}, error="y" * 300))
    return run_into(tmp_path_factory.mktemp("out") / "b", rows)


def test_the_command_prints_figures_and_where_the_page_is(folder: Path, command: Command) -> None:
    told = command("batch", "report", str(folder), "--by", "kind")
    assert told.code == 0
    lines = told.text.splitlines()
    assert lines[0] == "12 of 13 items done, 1 failed"
    assert "mask: IoU 0.500, median 0.500, n 12" in lines
    assert "kind k1: mask: recall 0.500, median 0.500, n 6" in lines
    assert str(folder / "report.html") in told.err
    found = json.loads(command("batch", "report", str(folder), "--json", "--quiet").text)
    assert found == wb.batch_report(folder).as_dict()
    assert found["figures"]["all"]["mask_iou"]["how"] == "equal"


def test_what_is_no_batch_and_no_column_is_refused_by_its_kind(folder: Path, command: Command, tmp_path: Path) -> None:
    assert command("batch", "report", str(tmp_path)).code == 3
    told = command("batch", "report", str(folder), "--by", "knid")
    assert (told.code, "knid" in told.err) == (2, True)
    assert command("batch", "report", str(folder), "--lpips", str(tmp_path)).code == 3


@pytest.mark.slow
def test_a_browser_shows_the_page_at_any_width_and_its_choices_work(folder: Path) -> None:
    page_file = wb.batch_report(folder, by="kind").page
    with launched() as chromium:
        tab = chromium.context().new_page()
        tab.goto(page_file.as_uri())
        for width in (400, 1600):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        cards = tab.locator(".card:visible")
        assert cards.count() == 13
        tab.get_by_text("failed 1", exact=True).last.click()
        assert cards.count() == 1
        tab.keyboard.press("ArrowRight")  # choices are one group of radio buttons
        assert cards.count() == 6
        tab.get_by_text("all", exact=True).click()
        tab.get_by_placeholder("search these items").fill("WORD Unicorn")
        assert (cards.count(), tab.locator("output").inner_text()) == (1, "1 found")
        assert tab.evaluate("document.querySelector('.card:not([hidden]) img').naturalWidth") == 32
    assert chromium.errors.lines == []
