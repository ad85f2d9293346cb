"""The report: numbers that can be checked by hand, a page that needs nothing else, text that stays text."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.bench import BENCH
from wordbrush.evaluation.examples import keep_example
from wordbrush.evaluation.items import KINDS, LOCAL_KINDS, MEAN_KINDS, Outcome, Variant
from wordbrush.evaluation.plan import PANELS, Row, Rows, RunPlan
from wordbrush.evaluation.plots import Series, bars, curve, lines_with_bands
from wordbrush.evaluation.report import summary_table, write_report
from wordbrush.evaluation.run_plots import plots_of
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import summarise
from wordbrush.evaluation.truth import load_truth
from wordbrush.pages.svg import INK, PAPER, inline

EVIL = "<script>alert(1)</script> & \"$x_1$\" 'é'"
FACTS: dict[str, Any] = {
    "version": "0",
    "model": {"name": EVIL, "family": "f", "sha256": "0" * 64, "parametrisation": "epsilon", "dtype": "float32"},
    "bench": {"split": "dev", "kinds": list(KINDS), "limit": 2, "items": 14, "sha256": "1" * 64},
    "judge": "2" * 64,
    "critic": None,
    "lpips": {"skipped": "no weights were named"},
    "seed": 0,
    "variants": [],
}
RAN = {"settings": {"steps": 7, "ratio": 0.5}, "guidance": 4.0}


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Two variants on two items of each kind, with scores drawn at random; one row failed."""
    items = tuple(load_truth(BENCH, "dev", limit=2))
    variants = (Variant(EVIL, tags={PANELS: 1}), Variant("plain"))
    plan = RunPlan(variants, BENCH, BENCH / "judge", limit=2)
    random, made = np.random.default_rng(0), []
    for item in items:
        for variant in variants:
            metrics = {
                "mask_iou": None if variant.name == "plain" else float(random.random()),
                "success": bool(random.random() < 0.5),
                "rms": float(10 + 20 * random.random()),
                "closeness_psnr": float(10 + 20 * random.random()),
                "evaluations": 130,
                "seconds": float(random.random()),
            }
            made.append(Row(item.id, item.kind, variant.name, metrics))
    made[-1] = replace(made[-1], metrics={}, error="RuntimeError: <b>bad</b>")
    facts = {**FACTS, "variants": [variant_facts(v) for v in variants]}
    return Rows(tuple(made), plan, facts, items)


def variant_facts(variant: Variant) -> dict[str, Any]:
    return {"name": variant.name, "method": "diffedit", "phrasing": "captions", **RAN, "tags": {}}


@pytest.fixture(scope="module")
def folder(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    for item in rows.items:
        contrast = np.linspace(0, 3, 256, dtype=np.float32).reshape(16, 16)
        keep_example(out, EVIL, item.id, Outcome(item.counterfactual, 1, mask=item.region * 1.0, contrast=contrast))
    write_report(rows, out, command=f"wordbrush {EVIL}")
    return out


def values(rows: Rows, variant: str, metric: str, kind: str) -> list[float]:
    found = [r.metrics.get(metric) for r in rows.rows if (r.variant, r.kind) == (variant, kind)]
    return [float(v) for v in found if v is not None]


def test_means_are_over_kinds_of_each_kinds_mean(rows: Rows, folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    assert (result["schema"], result["command"], result["baseline"]) == (2, "eval truth", EVIL)
    for metric in ("mask_iou", "success", "closeness_psnr"):
        by_kind = {kind: np.mean(values(rows, EVIL, metric, kind)) for kind in KINDS}
        summary = result["summary"][EVIL]
        for kind, mean in by_kind.items():
            assert summary[kind][metric]["mean"] == pytest.approx(mean)
            assert summary[kind][metric]["low"] <= mean <= summary[kind][metric]["high"]
        assert summary["all"][metric]["mean"] == pytest.approx(np.mean([by_kind[k] for k in MEAN_KINDS]))
        assert summary["local"][metric]["mean"] == pytest.approx(np.mean([by_kind[k] for k in LOCAL_KINDS]))
        assert (summary["all"][metric]["n"], summary["local"][metric]["n"]) == (12, 8)
    # The row that failed is left out and named; what no row has is absent.
    assert result["summary"]["plain"]["all"]["success"]["n"] == 12
    assert result["summary"]["plain"]["addition"]["success"]["n"] == 1
    assert "mask_iou" not in result["summary"]["plain"]["all"]
    assert [f["error"] for f in result["failed"]] == ["RuntimeError: <b>bad</b>"]


def test_seconds_stand_apart_from_what_can_be_reproduced(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    assert set(result["timed"][EVIL]["all"]) == {"seconds"}
    assert "seconds" not in result["summary"][EVIL]["all"]
    assert {"python", "torch", "wordbrush"} <= result["versions"].keys()


def test_differences_are_item_by_item(rows: Rows, folder: Path) -> None:
    found = json.loads((folder / "result.json").read_text())["differences"]["plain"]
    by_kind = []
    for kind in MEAN_KINDS:
        first, second = ([r for r in rows.rows if (r.variant, r.kind) == (name, kind)] for name in ("plain", EVIL))
        both = [(a.metrics, b.metrics) for a, b in zip(first, second, strict=True) if a.metrics]
        by_kind.append(np.mean([float(a["closeness_psnr"] or 0) - float(b["closeness_psnr"] or 0) for a, b in both]))
    assert found["all"]["closeness_psnr"]["mean"] == pytest.approx(np.mean(by_kind))
    assert found["all"]["closeness_psnr"]["n"] == 12
    assert "mask_iou" not in found["all"]
    # Two items a kind are too few for any claim, and the page says so.
    assert all(figure["p"] is None for scope in found.values() for figure in scope.values())
    table = (folder / "report.html").read_text().split("<h2>Differences")[1].split("<h2>")[0]
    assert "n too small" in table
    assert "class=better" not in table


def test_the_tables_parse(rows: Rows, folder: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((folder / "rows.csv").read_text())))
    assert len(lines) == len(rows.rows) == 28
    assert list(lines[0]) == ["item", "kind", "variant", *METRICS, "error"]
    for line, row in zip(lines, rows.rows, strict=True):
        assert (line["item"], line["variant"], line["error"]) == (row.item, row.variant, row.error or "")
        for name in METRICS:
            value = row.metrics.get(name)
            assert line[name] == "" if value is None else float(line[name]) == float(value)
    means = list(csv.DictReader(io.StringIO((folder / "summary.csv").read_text())))
    (line,) = [m for m in means if (m["variant"], m["scope"], m["metric"]) == (EVIL, "all", "success")]
    assert float(line["low"]) <= float(line["mean"]) <= float(line["high"])
    assert (int(line["n"]), line["how"]) == (12, "exact")


class Page(HTMLParser):
    """Reads a page: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert "://" not in text
    assert not {"script", "link", "iframe", "object", "embed", "base", "b"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        if name in {"src", "href"}:
            assert value.startswith(("data:image/png;base64,", "#")), value
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0
    targets = {v[1:] for n, v in page.attributes if n == "href"} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert targets <= set(ids)


def test_what_a_name_says_stays_text(folder: Path) -> None:
    page = Page((folder / "report.html").read_text())
    assert page.shown.count(EVIL) >= 5  # title, heading, command, tables, legends, examples
    assert "RuntimeError: <b>bad</b>" in page.shown
    assert "skipped: no weights were named" in page.shown


def test_the_page_shows_best_median_and_worst(rows: Rows, folder: Path) -> None:
    page = Page((folder / "report.html").read_text())
    assert page.tags.count("img") == 3 * 6
    ranked = sorted((r for r in rows.rows if r.variant == EVIL), key=lambda r: -float(r.metrics["closeness_psnr"] or 0))
    for rank, row in (("best", ranked[0]), ("median", ranked[7]), ("worst", ranked[-1])):
        assert re.search(rf"{rank}: “[^”]+” → “[^”]+” {row.item}, closeness", page.shown), rank
    assert ("name", "viewport") in page.attributes
    text = (folder / "report.html").read_text()
    assert "prefers-color-scheme: dark" in text


def test_the_same_rows_give_the_same_bytes(rows: Rows, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").symlink_to(folder / "pictures")
    write_report(rows, tmp_path, command=f"wordbrush {EVIL}")
    for name in ("result.json", "rows.csv", "summary.csv", "report.html"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_short_table_is_aligned(rows: Rows, folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    title, head, *body = summary_table(rows, result).splitlines()
    assert title.startswith("dev, 14 items, scope all")
    assert head.replace(" (", "(").split() == [
        *("variant", "n", "mask_iou", "rms(determined)", "success", "evaluations", "seconds")
    ]
    assert len(body) == 2
    assert len({len(line) for line in (head, *body)}) == 1
    assert " - " in body[1]
    assert body[1].split()[1] == "12"


def test_every_table_says_how_many_items_it_is_of(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    tables = re.findall(r"<table><tr>(.*?)</tr>", text, flags=re.DOTALL)
    assert len(tables) == 20  # three wide scopes and seven kinds: means, and differences
    assert all(head.startswith("<th>Variant</th><th>n</th>") for head in tables)


def test_the_page_says_what_ran_and_what_its_figures_see(folder: Path) -> None:
    shown = Page((folder / "report.html").read_text()).shown
    assert "diffedit, captions; 4 of 7 steps (ratio 0.571), guidance 4; steps=7, ratio=0.5" in shown
    assert "(f, float32)" in shown
    assert "one flat colour" in shown
    assert "none here: nothing is said to be clean" in shown


def test_tags_make_trade_offs_and_ablations(rows: Rows) -> None:
    ratio = [
        Variant(f"{m} {r}", m, tags={"vary": "ratio", "value": r, "line": m, "curve": m, "ratio": r})
        for m in ("sdedit", "diffedit")
        for r in (0.5, 0.8)
    ]
    words = [Variant(f"rule {v}", tags={"vary": "rule", "value": v, "line": "diffedit"}) for v in ("fixed", "otsu")]
    variants = (*ratio, *words)
    metrics: Any = {"success": True, "distance_to_input": 0.1, "background_rms": 3.0, "mask_iou": 0.5, "rms": 9.0}
    made = tuple(
        Row(i.id, i.kind, v.name, {**metrics, "distance_to_input": 0.1 + n / 10})
        for i in rows.items
        for n, v in enumerate(variants)
    )
    run = replace(rows, rows=made, plan=replace(rows.plan, variants=variants))
    drawn = plots_of(run, summarise(run))
    titles = [title for title, _ in drawn]
    assert sum("along the ratio" in title for title in titles) == 2
    assert sum("by ratio" in title for title in titles) == sum("by rule" in title for title in titles) == 3
    trade = dict(drawn)[titles[0]]
    assert all(word in trade for word in ("sdedit", "diffedit", ">0.5<", ">0.8<", "distance to the input"))
    assert all(word in dict(drawn)[titles[-1]] for word in ("fixed", "otsu"))


@pytest.mark.parametrize("draw", ["bars", "curve", "lines"])
def test_plots_are_reproducible_and_take_the_pages_colours(draw: str) -> None:
    one = Series("a $b$ <c>", [0.1, 0.2], [0.3, 0.5], [0.2, 0.4], [0.4, 0.6], ["x", "y"])

    def made() -> str:
        if draw == "bars":
            return bars(["g", "h"], {"a $b$ <c>": [(0.5, 0.4, 0.6), None], "b": [None, (1, 1, 1)]}, y_label="share")
        if draw == "curve":
            return curve([one], x_label="paid", y_label="won", title="t")
        return lines_with_bands([one, replace(one, dashed=True)], x_label="r", y_label="error", log_y=True)

    svg = made()
    assert svg == made()
    assert "a $b$ &lt;c&gt;" in svg
    assert INK in svg
    element = inline(svg, "name")
    assert element.startswith("<svg")
    assert INK not in element
    assert PAPER not in element
    assert "currentColor" in element
    assert "://" not in element
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', element)) <= set(re.findall(r' id="([^"]+)"', element))
