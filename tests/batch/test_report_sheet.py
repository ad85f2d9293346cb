"""The contact sheet: complete, escaped, relative, paged, and the same every time."""

from __future__ import annotations

import re
import shutil
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.batch_folder import Drawn, flat, half, put, run_into
from wordbrush.batch import sheet
from wordbrush.batch.ledger import Ledger
from wordbrush.batch.sheet import REPORT, write_sheet
from wordbrush.errors import InputError, OutputError

EVIL = "<script>alert(1)</script> “q” & \"'><img src=x onerror=alert(1)> \u202eback"


class Read(HTMLParser):
    """Reads a page: tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.shown += data

    def named(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        of_tag = [found for name, found in self.tags if name == tag]
        return [found for found in of_tag if not kind or kind in found.get("class", "").split()]

    def addresses(self) -> list[str]:
        return [found[name] for _, found in self.tags for name in ("href", "src") if name in found]


def read(path: Path) -> Read:
    return Read(path.read_text("utf-8"))


def write(folder: Path) -> Read:
    with Ledger.open(folder, read_only=True) as ledger:
        return read(write_sheet(ledger, run=ledger.run))


def files_of(folder: Path) -> dict[str, bytes]:
    pages = [folder / REPORT, *(folder / "sheet").rglob("*.*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in pages}


def check_addresses(page: Path) -> None:
    for address in read(page).addresses():
        assert not re.match(r"[a-z]+:|/|\\", address, re.IGNORECASE), address
        assert (page.parent / unquote(address)).is_file(), address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five items: one plain, one hostile, one that cannot be read, one row that is none, one waiting."""
    place = tmp_path_factory.mktemp("in")
    picture, other = put(place / "a #1 %41.png", flat(10)), put(place / "other.png", flat(90))
    rows = [
        Drawn({"picture": picture, "query": "a cat", "reference": "a dog", "ratio": 0.7}, flat(200), half()),
        Drawn({"picture": other, "query": EVIL, "output": EVIL, EVIL: EVIL}, flat(30), half(), warnings=(EVIL,)),
        Drawn({"picture": f"{place}/gone.png", "query": "a cow"}, error=f"no such {EVIL}\0"),
        Drawn({"query": "no picture"}),
        Drawn({"picture": picture, "query": "not yet"}),
    ]
    out = run_into(tmp_path_factory.mktemp("out") / "b", rows, name=f"folder/{EVIL}")
    write(out)
    return out


def test_every_item_is_shown_with_its_pictures_and_what_failed_with_its_reason(folder: Path) -> None:
    page = read(folder / REPORT)
    assert page.shown.count("2 of 5 edits done") == 2  # title and heading
    for text in ("2 done", "2 failed", "1 waiting", "“a dog” → “a cat”", "ratio 0.7", "0.5 s, 10 evaluations"):
        assert text in page.shown, text
    assert len(page.named("article", "card")) == 4
    assert len(page.named("article", "failed")) == 2
    assert [image["alt"] for image in page.named("img")][:3] == [
        "input: a dog", "mask: 50% of the picture", "result: a cat",
    ]  # fmt: skip
    assert all(image["alt"] for image in page.named("img"))
    assert "no input to show" in page.shown
    assert len(page.named("details", "group")) == 2
    assert re.search(r"InputError 1: line 4: there is no picture", page.shown)
    assert "not yet" not in page.shown


def test_what_names_and_errors_say_stays_text_and_nothing_is_fetched(folder: Path) -> None:
    text, page = (folder / REPORT).read_text("utf-8"), read(folder / REPORT)
    safe = EVIL.replace("\u202e", "�")
    assert page.shown.count(safe) >= 6  # error, twice, texts, warning, column and its value
    assert f"{safe}�" in page.shown
    assert len(page.named("script")) == 1
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "://" not in text
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {name for name, _ in page.tags}
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    policy = next(found["content"] for found in page.named("meta") if "Security" in found.get("http-equiv", ""))
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='$", policy)


def test_a_folder_that_is_moved_keeps_its_links_and_a_second_report_its_bytes(folder: Path, tmp_path: Path) -> None:
    before = files_of(folder)
    write(folder)
    assert files_of(folder) == before
    moved = tmp_path / "élsewhere #2"
    shutil.copytree(folder, moved)
    check_addresses(moved / REPORT)
    write(moved)  # times of files may differ, which is no reason to show another picture
    assert files_of(moved) == before


def test_a_picture_that_several_items_share_is_drawn_once(folder: Path) -> None:
    drawn = list((folder / "sheet" / "thumbs").rglob("*.webp"))
    assert len(drawn) == 2 + 2 + 1  # two inputs, two results, one mask


def test_a_result_that_is_gone_and_one_that_leads_out_of_the_folder_are_told(tmp_path: Path) -> None:
    picture = put(tmp_path / "a.png", flat(10))
    rows = [Drawn({"picture": picture, "query": f"q{n}"}, flat(n), half()) for n in range(3)]
    out = run_into(tmp_path / "out", rows)
    with Ledger.open(out) as ledger:
        names = [row["output"] for row in ledger.rows()]
        ledger._base.execute("UPDATE items SET output='../a.png' WHERE number=2")
    (out / names[0]).unlink()
    page = write(out)
    assert "no result to show: the file is gone" in page.shown
    assert "no result to show: there is no result" in page.shown
    assert not [address for address in page.addresses() if ".." in address]


def test_pages_of_a_hundred_and_failures_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "PAGE", 10)
    monkeypatch.setattr(sheet, "LINES", 15)
    picture = put(tmp_path / "a.png", flat(10))
    rows = [
        Drawn({"picture": picture, "query": f"q{n}"}, flat(n), error="it broke" if n % 2 else "") for n in range(45)
    ]
    out = run_into(tmp_path / "out", rows)
    first = write(out)
    pages = sorted(path.name for path in (out / "sheet").glob("*.html"))
    assert pages[:2] == ["failed-01PictureError-0001.html", "failed-01PictureError-0002.html"]
    assert pages[2:] == [f"items-{n:04d}.html" for n in range(2, 6)]
    for name in pages:
        check_addresses(out / "sheet" / name)
    check_addresses(out / REPORT)
    assert len(first.named("article")) == 10
    assert "Items: 10 of 45" in first.shown
    assert first.shown.count("it broke") == 1 + 20 + 5  # of the type, of those that are named, of this page's cards
    last = read(out / "sheet" / "items-0005.html")
    assert "Items 41–45 of 45" in last.shown
    assert len(last.named("article")) == 5
    assert "Next page" not in last.shown
    lists = [read(out / "sheet" / name).shown.count("it broke") for name in pages[:2]]
    assert lists == [15, 7]
    # A later run asks for fewer: the pages of more are gone.
    write(run_into(out, rows[:5]))
    assert not list((out / "sheet").glob("*.html"))
    assert "40 items that only earlier runs asked for" in read(out / REPORT).shown


def test_choices_are_those_that_tell_items_apart(folder: Path) -> None:
    page = read(folder / REPORT)
    assert re.search(r"Show\s*all\s*done 2\s*failed 2\s*with warnings 1", page.shown)
    marks = {found["id"].removeprefix("show-") for found in page.named("input") if "id" in found}
    assert marks == {"done", "failed", "warned"}
    text = (folder / REPORT).read_text("utf-8")
    assert all(f"main:has(#show-{mark}:checked) .card:not(.{mark})" in text for mark in marks)


def test_memory_does_not_grow_with_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "PAGE", 5)
    picture = put(tmp_path / "a.png", flat(10, 8))
    peaks = []
    for count in (15, 60):
        rows = [Drawn({"picture": picture, "query": f"q{n}"}, error="x") for n in range(count)]
        out = run_into(tmp_path / str(count), rows)
        write(out)  # what is made once
        tracemalloc.start()
        write(out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0], peaks


def test_a_folder_without_a_batch_and_one_that_cannot_be_written_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no batch"):
        write(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "sheet")
    (copy / "sheet").write_text("a file")
    with pytest.raises(OutputError, match="cannot be made"):
        write(copy)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_read_in_light_and_dark() -> None:
    least = {"ink": 7, "soft": 4.5, "link": 4.5, "failed": 4.5, "warn": 4.5, "waiting": 3, "done": 3}
    style = (Path(sheet.__file__).parents[1] / "pages" / "style.css").read_text("utf-8")
    for root in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", root))
        for ground in ("paper", "panel"):
            for name, ratio in least.items():
                light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= ratio, (name, ground)
