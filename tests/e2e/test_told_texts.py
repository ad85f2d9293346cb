"""Texts of other programs, empty texts and texts that are none, on the command line and in reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wordbrush as wb
from tests.support.command import Command

OTHER = "a ((zebra)) on {sand|mud} BREAK evening, <lyco:ink:0.4>"


def test_syntax_of_other_programs_is_told_once_for_all_seeds(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    flags = ("--from", "a [horse:1.1]", "--negative", "embedding:bad-artist", "--seed", "1,2,3")
    done = wordbrush("edit", picture, "--to", OTHER, *flags, *quick, "-o", tmp_path / "out.png")
    assert done.code == 0
    told = [line for line in done.err.splitlines() if "syntax of other programs" in line]
    assert [line.split(": ")[:2] for line in told] == [
        ["warning", "query"], ["warning", "reference"], ["warning", "negative"],
    ]  # fmt: skip
    assert "'((zebra))', '{sand|mud}', 'BREAK', '<lyco:ink:0.4>' are" in told[0]
    assert "--lora" in told[0]
    assert "'[horse:1.1]' is" in told[1]
    assert "--embedding" in told[2]


def test_it_is_told_before_the_model_is_loaded(wordbrush: Command, picture: Path, tmp_path: Path) -> None:
    for words in (("edit", picture), ("mask", picture)):
        done = wordbrush(*words, "--to", "a zebra++", "--model", "no-such-model", "-o", tmp_path / "out.png")
        warning, error = done.err.splitlines()
        assert warning.startswith("warning: query: 'zebra++' is syntax of other programs")
        assert error.startswith("wordbrush: ")
        assert done.code == 4


def test_ordinary_texts_raise_no_note(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    flags = ("--from", "a horse (brown) in 16:9", "--negative", "SAND AND SEA", "-q")
    done = wordbrush("edit", picture, "--to", "a zebra - striped - on hay", *flags, *quick, "-o", tmp_path / "out.png")
    assert (done.code, done.err) == (0, "")


def test_the_report_tells_it_whatever_the_family(tiny_folder: Path, picture: Path) -> None:
    for model in ("pocket", str(tiny_folder)):
        editor = wb.Editor.from_pretrained(model)
        result = editor.edit(picture, "a zebra --ar 16:9", "...", negative="__bad__", steps=2, maps=1, resolution=32)
        notes = [note for note in result.report.warnings if re.search("other programs|no word", note)]
        assert [note.partition(":")[0] for note in notes] == ["query", "reference", "negative"]
        assert len(notes) == 3


@pytest.mark.parametrize("text", ["", "   ", ".,;", "\u3000,"])
def test_a_query_that_says_nothing_is_told_and_edited(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, text: str
) -> None:
    done = wordbrush("edit", picture, "--to", text, *quick, "-o", tmp_path / "out.png", "--dry-run")
    assert done.code == 0
    assert done.err.splitlines()[0].startswith("warning: query: ")


@pytest.mark.parametrize("flag", ["--to", "--from", "--negative"])
def test_bytes_that_are_not_utf8_are_refused(wordbrush: Command, picture: Path, tmp_path: Path, flag: str) -> None:
    texts = {"--to": "a zebra", flag: "a \udce9tang"}
    words = [word for pair in texts.items() for word in pair]
    wordbrush("edit", picture, *words, "-o", tmp_path / "out.png").failed(3, f"the text of {flag} is not Unicode")


def test_a_random_seed_is_told_and_recorded(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    done = wordbrush("edit", picture, "--to", "a zebra", *quick, "-o", out, "--seed", "random", "--json")
    seed = done.json["results"][0]["seed"]
    assert wb.read_provenance(out).seed == seed
    assert f", seed {seed}\n" in done.err
    assert wordbrush("replay", out).text == "identical\n"
    for words in (("edit", picture, "--to", "a zebra"), ("mask", picture, "--to", "a zebra")):
        wordbrush(*words, "-o", tmp_path / "none.png", "--seed", "-1").failed(2, "'-1' is not a seed", "--seed random")
    wordbrush("demo", "--out", tmp_path / "demo", "--seed", "-1").failed(2, "--seed random")
