"""The studies behind the page: enough items, names that run, tables with their n, and no small numbers."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks import publish, tuning
from benchmarks.study import PEERS, STUDIES, peers, tradeoff
from wordbrush.diffusion.position import depth_of
from wordbrush.evaluation.intervals import clopper_pearson
from wordbrush.evaluation.items import DETERMINED_KINDS, KINDS, MEAN_KINDS, Scores, Variant
from wordbrush.evaluation.paired import FEWEST, mcnemar
from wordbrush.evaluation.plan import Row, Rows, RunPlan, find_method, settings_of
from wordbrush.evaluation.report import write_report

PAGE = publish.PAGE.read_text(encoding="utf-8")


def scores(variant: str, number: int) -> Scores:
    """The second variant has a smaller error, and succeeds where the first does and on two more of every ten."""
    second = variant == "second"
    return {
        "mask_iou": 0.7 + 0.01 * number,
        "mask_ceiling": 0.9,
        "rms": 30.0 + number - 2 * second,
        "success": number % 10 < (9 if second else 7),
        "clean": number % 2 == 0,
        "added": number % 2 == 0,
        "evaluations": 41 if second else 86,
        "seconds": 1.5,
    }


@lru_cache(maxsize=2)
def result_of(count: int) -> str:
    """Return the `result.json` of a made-up study of `count` items a kind."""
    variants = (Variant("first"), Variant("second", tags={"vary": "steps", "value": 12}))
    rows = [
        Row(f"{kind}/{i}", kind, v.name, scores(v.name, i)) for kind in KINDS for i in range(count) for v in variants
    ]
    facts = {
        "model": {"name": "m", "family": "f", "sha256": "0" * 64, "dtype": "float32"},
        "bench": {"split": "dev", "kinds": list(KINDS), "limit": count, "items": 7 * count, "sha256": "1" * 64},
        "judge": "2" * 64,
        "critic": "3" * 64,
        "lpips": {"skipped": "none"},
        "seed": 0,
        "variants": [
            {"name": v.name, "method": "diffedit", "phrasing": "captions", "tags": dict(v.tags), "guidance": 4.0}
            | {"settings": {"steps": 25, "ratio": 0.88}}
            for v in variants
        ],
    }
    with TemporaryDirectory() as folder:
        run = Rows(tuple(rows), RunPlan(variants, Path(), Path()), facts, ())
        write_report(run, Path(folder), command="c")
        return (Path(folder) / "result.json").read_text(encoding="utf-8")


def made(folder: Path, study: str, count: int) -> dict[str, Any]:
    """Put a made-up study into a folder of runs, and return its result."""
    (folder / study / "plots").mkdir(parents=True)
    (folder / study / "result.json").write_text(result_of(count), encoding="utf-8")
    return dict(json.loads(result_of(count)))


def cells(table: str, row: str) -> dict[str, str]:
    head, _, *lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return dict(zip(head, next(line for line in lines if line[0] == row), strict=True))


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_variants_that_run_and_enough_items(name: str) -> None:
    study = STUDIES[name]
    variants = tuple(study.variants())
    assert study.limit >= FEWEST
    assert study.split == ("test" if name in ("shipped", "peers") else "dev")
    RunPlan(variants, Path(), Path())  # names are unique
    for variant in variants:
        find_method(variant.method)
        assert settings_of(variant).steps >= 1


def test_peers_stand_at_their_defaults_and_tuned() -> None:
    names = {variant.name for variant in peers()}
    for name in ("diffusers_diffedit", "leditspp", "diffusers_img2img"):
        assert {name, f"{name}_tuned"} <= names
    assert "paper" in names
    paper = settings_of(next(v for v in peers() if v.name == "diffusers_diffedit_paper"))
    assert (paper.strength, paper.steps, paper.ratio) == ((0.5,), 50, 0.8)
    assert set(PEERS) <= names


def test_ratios_of_the_trade_off_run_as_they_are_written() -> None:
    for variant in tradeoff():
        settings = settings_of(variant)
        if "ratio" in variant.tags:
            assert depth_of(settings.ratio, settings.steps) / settings.steps == variant.tags["ratio"]


def test_tables_have_n_intervals_and_each_metric_at_its_scope(tmp_path: Path) -> None:
    result = made(tmp_path, "s", 10)
    table = publish.by_kind(result, "first", ("mask_iou", "mask_ceiling", "rms", "success"))
    assert cells(table, "all")["n"] == "60"
    assert cells(table, "object")["n"] == "10"
    assert cells(table, "all")["rms"] == cells(table, "local")["rms"] == "–"
    assert re.fullmatch(r"34\.5 \[\d+\.\d, \d+\.\d\]", cells(table, "determined")["rms"])
    assert cells(table, "object")["ceiling"] == "0.900"
    low, high = clopper_pearson(42, 60)
    assert cells(table, "all")["success"] == f"0.700 [{low:.3f}, {high:.3f}]"
    lines = publish.by_variant(result, ("rms", "added", "evaluations", "seconds"))
    assert lines.splitlines()[0] == (
        "| variant | n (determined / addition / all) | rms (determined) | added (addition) | evaluations | seconds |"
    )
    assert cells(lines, "second")["n (determined / addition / all)"] == "40 / 10 / 60"
    assert cells(lines, "second")["evaluations"] == "41"
    assert cells(lines, "second")["seconds"] == "1.50"
    assert publish.by_kind_of(result, "addition", ("added",)).splitlines()[2].startswith("| first | 10 | 0.500 [0.187,")


def test_differences_are_paired_and_name_their_test(tmp_path: Path) -> None:
    result = made(tmp_path, "s", 10)
    found = cells(publish.against(result, ("rms", "success", "band_rms")), "second")
    assert found["rms (determined)"] == "-2.0 (p < .001)"
    assert found["success"] == f"+0.200 (12 : 0, {publish.p_words(mcnemar(12, 0))})"
    assert found["band rms (determined)"] == "–"
    switch = publish.by_switch(result, ("rms", "success"))
    assert cells(switch, "default")["rms (determined) less the default's"] == ""
    assert cells(switch, "steps")["rms (determined) less the default's"] == "-2.0 (p < .001)"
    assert cells(switch, "steps")["value"] == "12"


def test_what_ran_is_told(tmp_path: Path) -> None:
    text = publish.how(made(tmp_path, "s", 10))
    assert "Split dev, 10 items a kind, seed 0; m in float32" in text
    assert "- `first`: 22 of 25 steps (ratio 0.88), guidance 4" in text


def test_the_sentences_of_the_readme_say_n_interval_and_p(tmp_path: Path) -> None:
    result = made(tmp_path, "s", 10)
    renamed: Any = json.loads(json.dumps(result).replace('"second"', '"diffusers_diffedit_tuned"'))
    text = " ".join(publish.measured(result, renamed).split())
    low, high = clopper_pearson(42, 60)
    assert "On 60 of them, scenes that the shipped model never saw, a small classifier sees" in text
    assert f"in 70 % ({100 * low:.0f} to {100 * high:.0f}), a critic of drawing faults calls 50 % clean" in text
    assert "overlaps the true region with an IoU of 0.74" in text
    assert f"succeeds in 90 % (at its defaults in –) and this in 70 %, {publish.p_words(mcnemar(12, 0))};" in text
    assert "by an rms of 32.5 of 255, these by 34.5, p < .001." in text
    assert "<!-- table measured -->\n" in publish.README.read_text(encoding="utf-8")


def test_a_study_of_few_items_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(publish, "PAGE", page)
    monkeypatch.setattr(publish, "PLOTS", tmp_path / "plots")
    few = made(tmp_path, "shipped", 9)
    assert publish.difference(few["differences"]["second"]["all"]["rms"], 1) == "n too small"
    publish.publish(tmp_path)
    assert page.read_text(encoding="utf-8") == PAGE
    assert "shipped: n too small: 9 items of a kind, 10 are needed" in capsys.readouterr().err


def test_a_study_fills_every_block_of_its_own_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(publish, "PAGE", page)
    monkeypatch.setattr(publish, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(publish, "README", tmp_path / "none")
    for study in STUDIES:
        if study != "peers":
            made(tmp_path, study, 10)
    (tmp_path / "tradeoff" / "plots" / "07-success-against-x.svg").write_text("<svg/>")
    publish.publish(tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- table ([\w-]+) -->\n(.*?)<!-- end -->", text, flags=re.DOTALL))
    before = dict(re.findall(r"<!-- table ([\w-]+) -->\n(.*?)<!-- end -->", PAGE, flags=re.DOTALL))
    assert set(blocks) == set(publish.TABLES) | {f"plots-{study}" for study in publish.PLOTS_OF}
    for block, (study, _) in publish.TABLES.items():
        if study == "peers":
            assert blocks[block] == before[block]
        else:
            assert re.search(r"first|\| n\b", blocks[block])
    assert "(plots/tradeoff-success-against-x.svg)" in blocks["plots-tradeoff"]
    assert (tmp_path / "plots" / "tradeoff-success-against-x.svg").is_file()


def test_no_published_table_rests_on_few_items() -> None:
    for block in re.findall(r"<!-- table [\w-]+ -->\n(\|.*?)<!-- end -->", PAGE, flags=re.DOTALL):
        head, _, *lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        at = next(place for place, name in enumerate(head) if re.match(r"n\b", name))
        assert all(int(count) >= FEWEST for line in lines for count in line[at].split(" / "))


def test_tuning_takes_the_lowest_error_among_the_most_successful() -> None:
    tries = [
        tuning.Try("all", 16, 16, 40.0),
        tuning.Try("one less", 15, 16, 30.0),
        tuning.Try("two less", 14, 16, 10.0),
    ]
    assert tuning.chosen(tries).numbers == "one less"


def test_tuning_varies_one_switch_after_the_other_from_the_best_so_far() -> None:
    seen: list[Any] = []

    def run(numbers: Any) -> tuning.Try:
        seen.append(numbers)
        return tuning.Try(numbers, 16, 16, abs(numbers.strength - 0.7) + abs(numbers.guidance - 7))

    best = tuning.tune("img2img", run).numbers
    assert (best.strength, best.guidance) == (0.72, 7.5)
    assert len(seen) == len(set(seen)) == 7
    assert {numbers.strength for numbers in seen[4:]} == {0.72}


def test_tuning_looks_at_dev_and_weighs_the_determined_kinds_the_same() -> None:
    assert {item.split for item in tuning.items()} == {"dev"}
    assert len(tuning.items()) == 16
    assert set(tuning.COUNTS) == set(MEAN_KINDS)
    rows = [{"kind": k, "rms": 10.0, "success": True} for k in DETERMINED_KINDS] + [
        {"kind": "removal", "rms": 30.0, "success": False},
        {"kind": "object", "rms": 900.0, "success": True},
    ]
    found = tuning.figures("x", rows)
    assert (found.success, found.edits, found.rms) == (5, 6, 12.5)
