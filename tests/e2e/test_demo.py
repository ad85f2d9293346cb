from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command import Command
from wordbrush.errors import InputError
from wordbrush.picture.samples import load_samples
from wordbrush.record.provenance import read_provenance


def test_demo_makes_the_panel_and_prints_its_path(wordbrush: Command, tmp_path: Path) -> None:
    done = wordbrush("demo", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    assert done.text == f"{tmp_path / 'demo' / 'panel.png'}\n"
    with Image.open(done.text.strip()) as panel:
        assert panel.width >= 4 * 256
        assert panel.height >= 256
    (result,) = sorted((tmp_path / "demo").glob("01-*.png"))
    sample = load_samples()[0]
    assert read_provenance(result).query == sample.query
    with Image.open(result) as after, Image.open(sample.path) as before:
        changed = (np.asarray(after.convert("RGB")) != np.asarray(before.convert("RGB"))).any(axis=-1)
    assert 0.02 < changed.mean() < 0.9  # something was repainted, and not everything
    wordbrush("demo", "--out", tmp_path / "demo").failed(3, "--force")
    assert wordbrush("demo", "--out", tmp_path / "demo", "--force", "--quiet").code == 0


@pytest.mark.slow
def test_demo_all_edits_every_sample(wordbrush: Command, tmp_path: Path) -> None:
    done = wordbrush("demo", "--all", "--out", tmp_path, "--preset", "fast", "--json")
    assert done.code == 0, done.err
    samples = load_samples()
    assert len(samples) >= 8
    assert [(r["from"], r["to"]) for r in done.json["results"]] == [(s.reference, s.query) for s in samples]
    assert all(Path(r["file"]).is_file() for r in done.json["results"])
    with Image.open(done.json["panel"]) as sheet:
        assert sheet.width >= 8 * 256


def test_demo_says_where_it_cannot_write(wordbrush: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    wordbrush("demo", "--out", tmp_path / "file" / "demo").failed(3, "--out")
    wordbrush("demo", "--seed", "-1").failed(2, "--seed")
    wordbrush("demo", "--preset", "magic", "--out", tmp_path / "demo").failed(2, "magic")


def test_a_broken_list_of_samples_is_told(tmp_path: Path) -> None:
    for text in ("", "{}", "[]", '[{"file": "a.png"}]', "[1]", '{"a": 1}'):
        (tmp_path / "examples.json").write_text(text)
        with pytest.raises(InputError, match="sample"):
            load_samples(tmp_path)


def test_unknown_words_are_told_with_near_ones(wordbrush: Command, tmp_path: Path) -> None:
    sample = load_samples()[0]
    flags = ("--steps", "4", "--maps", "1", "-o", tmp_path / "out.png")
    done = wordbrush("edit", sample.path, "--to", "a zebraa on grass", *flags, "--json")
    assert done.code == 0, done.err
    (warning,) = [w for w in done.json["results"][0]["warnings"] if "zebraa" in w]
    assert "near" in warning
    assert "zebra" in warning.split("near")[1]
    assert "zebraa" in done.err
