from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.command import Command, mask_file, picture_file
from wordbrush.editor import Editor
from wordbrush.errors import ProvenanceError
from wordbrush.notation import edit_command
from wordbrush.record.provenance import encode_image, read_provenance
from wordbrush.settings import Settings

TEXTS = ("--from", "a horse on grass", "--to", "a zebra on grass")


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_an_edit_writes_everything_asked_for(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    names = {kind: tmp_path / f"{kind}.png" for kind in ("output", "mask", "contrast", "panel")}
    done = wordbrush(
        "edit", picture, *TEXTS, *quick, "-o", names["output"], "--save-mask", names["mask"],
        "--save-contrast", names["contrast"], "--panel", names["panel"], "--check-inversion", "--json",
        "--rim", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert result["files"] == {kind: str(path) for kind, path in names.items()}
    assert done.json["input"]["name"] == "in.png"
    assert (done.json["input"]["width"], done.json["input"]["height"]) == (61, 47)
    assert set(result["timings"]) == {"encode", "contrast", "invert", "check", "decode", "compose"}
    # 2 maps at two strengths, two texts; 4 of 5 levels up two by two, all down again, and down with guidance in
    # two of the three that are noisier than position .25.
    assert result["evaluations"] == {"contrast": 8, "invert": 2, "check": 4, "decode": 6}
    assert 0 < result["mask_area"] < 1
    assert result["reconstruction_error"] >= 0
    assert result["seed"] == 0
    with Image.open(names["output"]) as image, Image.open(names["mask"]) as mask, Image.open(names["contrast"]) as soft:
        assert image.size == mask.size == soft.size == (61, 47)
        assert mask.mode == soft.mode == "L"
    outside = pixels(names["mask"])[..., 0] == 0
    assert outside.any()
    assert np.array_equal(pixels(names["output"])[outside], pixels(picture)[outside])
    assert read_provenance(names["output"]).query == "a zebra on grass"


def test_several_texts_and_seeds_are_numbered(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    done = wordbrush(
        "edit",
        picture,
        "--to",
        "a zebra",
        "--to",
        "a cat",
        "--seed",
        "3,7-8",
        *quick,
        "-o",
        tmp_path / "out.png",
        "--json",
    )
    assert done.code == 0, done.err
    marks = [f"-q{q}-s{s}" for q in (1, 2) for s in (3, 7, 8)]
    assert [Path(r["files"]["output"]).name for r in done.json["results"]] == [f"out{mark}.png" for mark in marks]
    assert [(r["query"], r["seed"]) for r in done.json["results"]] == [
        (text, seed) for text in ("a zebra", "a cat") for seed in (3, 7, 8)
    ]
    assert all((tmp_path / f"out{mark}.png").is_file() for mark in marks)
    assert "trajectory" in done.json["results"][1]["reused"]


def test_nothing_is_overwritten_and_nothing_is_run(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "keep.png"
    kept.write_bytes(b"mine")
    command = ("edit", picture, *TEXTS, *quick)
    wordbrush(*command, "-o", kept).failed(3, "keep.png", "--force")
    wordbrush(*command, "-o", tmp_path / "new.png", "--panel", kept).failed(3, "keep.png")
    wordbrush(*command, "-o", tmp_path / "new.png", "--save-mask", tmp_path / "new.png").failed(2, "written twice")
    wordbrush(*command, "-o", tmp_path / "no" / "new.png").failed(3, "folder")
    wordbrush(*command, "-o", tmp_path).failed(2)
    assert kept.read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "keep.png"]
    assert wordbrush(*command, "-o", kept, "--force").code == 0
    assert pixels(kept).shape == (47, 61, 3)


def test_a_dry_run_runs_no_network(wordbrush: Command, picture: Path, tiny_folder: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: seen.append(type(module).__name__)
    )
    try:
        done = wordbrush("edit", picture, *TEXTS, "--model", tiny_folder, "--dry-run", "--json", "--seed", "1,2")
        told = wordbrush("edit", picture, *TEXTS, "--model", tiny_folder, "--dry-run", "-o", tmp_path / "out.png")
    finally:
        hook.remove()
    assert seen == []
    assert done.code == told.code == 0, (done.err, told.err)
    assert done.json["evaluations"] == {"contrast": 8, "invert": 5, "check": 0, "decode": 26}
    assert done.json["evaluations_total"] == 39
    assert done.json["size"] == [61, 47]
    assert done.json["memory_bytes"] > 0
    assert told.out == b""
    assert "22 evaluations" in told.err
    assert not (tmp_path / "out.png").exists()


def test_the_plan_counts_what_an_edit_then_needs(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    flags = (*quick, "--solver", "ddim", "--fixed-point", "1", "--strength", "0.5,0.7", "--check-inversion", "--json")
    plan = wordbrush("edit", picture, *TEXTS, *flags, "--dry-run").json
    done = wordbrush("edit", picture, *TEXTS, *flags, "-o", tmp_path / "out.png").json
    assert plan["evaluations"] == done["results"][0]["evaluations"]


def test_equal_texts_change_nothing(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    done = wordbrush("edit", picture, "--from", "a cat", "--to", "a cat", *quick, "-o", tmp_path / "out.png", "--json")
    assert done.code == 0
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(picture))
    assert done.json["results"][0]["mask_area"] == 0
    assert any("empty" in warning for warning in done.json["results"][0]["warnings"])
    assert "warning: " in done.err


def test_own_masks(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    mine = mask_file(tmp_path / "mine.png", (61, 47), (20, 10, 40, 30))
    left = mask_file(tmp_path / "left.png", (122, 94), (0, 0, 60, 94))
    out = tmp_path / "out.png"
    done = wordbrush("edit", picture, "--to", "a zebra", *quick, "--mask", mine, "--feather", "0", "-o", out, "--json")
    assert done.code == 0, done.err
    assert "contrast" not in done.json["results"][0]["evaluations"] or (
        done.json["results"][0]["evaluations"]["contrast"] == 0
    )
    changed = (pixels(out) != pixels(picture)).any(axis=-1)
    assert changed[10:30, 20:40].any()
    changed[10:30, 20:40] = False
    assert not changed.any()

    done = wordbrush("edit", picture, "--to", "a zebra", *quick, "--exclude", left, "-o", out, "--force", "--json")
    assert done.code == 0, done.err
    assert np.array_equal(pixels(out)[:, :30], pixels(picture)[:, :30])
    wordbrush("edit", picture, "--to", "a", *quick, "--mask", mine, "--save-contrast", tmp_path / "c.png", "-o", out,
              "--force").failed(2, "--save-contrast")  # fmt: skip


def test_standard_input_and_output(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(picture.read_bytes())))
    piped = wordbrush("edit", "-", *TEXTS, *quick, "-o", "-")
    assert piped.code == 0, piped.err
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", tmp_path / "out.png").code == 0
    with Image.open(io.BytesIO(piped.out)) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels(tmp_path / "out.png"))
    wordbrush("edit", picture, *TEXTS, *quick, "-o", "-", "--json").failed(2, "standard output")
    wordbrush("edit", picture, *TEXTS, *quick, "-o", "-", "--seed", "1,2").failed(2, "standard output")


def test_metadata_can_be_left_out(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    bare, silent = tmp_path / "bare.png", tmp_path / "silent.png"
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", bare, "--strip-metadata").code == 0
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", silent, "--no-prompt").code == 0
    with pytest.raises(ProvenanceError):
        read_provenance(bare)
    assert b"zebra" not in bare.read_bytes()
    assert b"wordbrush" not in bare.read_bytes()
    assert b"zebra" not in silent.read_bytes()
    assert read_provenance(silent).withheld
    assert np.array_equal(pixels(bare), pixels(silent))


def test_transparency_into_jpeg_is_refused_before_the_work(
    wordbrush: Command, quick: list[str], tmp_path: Path
) -> None:
    clear = picture_file(tmp_path / "clear.png", mode="RGBA")
    wordbrush("edit", clear, *TEXTS, "--model", "no/such", "-o", tmp_path / "out.jpg").failed(3, "JPEG", "transparency")
    assert wordbrush("edit", clear, *TEXTS, *quick, "-o", tmp_path / "out.webp").code == 0
    with Image.open(tmp_path / "out.webp") as image, Image.open(clear) as before:
        assert np.array_equal(np.asarray(image)[..., 3], np.asarray(before)[..., 3])


def test_mask_writes_what_edit_would_use(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    found, used, cells = tmp_path / "found.png", tmp_path / "used.png", tmp_path / "soft.npy"
    done = wordbrush("mask", picture, *TEXTS, *quick, "-o", found, "--contrast", cells, "--json")
    assert done.code == 0, done.err
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", tmp_path / "o.png", "--save-mask", used).code == 0
    assert (pixels(found) <= pixels(used)).all()  # the seam may lie further out than the region
    still = (*quick, "--rim", "0")
    assert wordbrush("mask", picture, *TEXTS, *still, "-o", tmp_path / "still.png").code == 0
    done_still = wordbrush("edit", picture, *TEXTS, *still, "-o", tmp_path / "s.png", "--save-mask", tmp_path / "u.png")
    assert done_still.code == 0, done_still.err
    assert np.array_equal(pixels(tmp_path / "still.png"), pixels(tmp_path / "u.png"))
    assert done.json["mask_area"] == pytest.approx(pixels(found).mean() / 255, abs=2e-3)
    soft = np.load(cells, allow_pickle=False)
    assert soft.shape == (47, 61)
    assert soft.dtype == np.float32
    assert 0 <= soft.min() <= soft.max() <= 1
    wordbrush("mask", picture, *TEXTS, *quick, "-o", tmp_path / "m.png", "--seed", "1,2").failed(2, "one")
    wordbrush("mask", picture, *TEXTS, *quick, "-o", tmp_path / "m.jpg").failed(2, ".png")


def test_the_seed_of_the_contrast_keeps_the_mask(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    seed, out = str(2**40), tmp_path / "out.png"
    flags = (*TEXTS, *quick, "--edges", "cells")
    assert wordbrush("mask", picture, *flags, "--seed", seed, "-o", tmp_path / "seed.png").code == 0
    assert wordbrush("mask", picture, *flags, "--contrast-seed", seed, "-o", tmp_path / "own.png").code == 0
    assert wordbrush("mask", picture, *flags, "-o", tmp_path / "other.png").code == 0
    done = wordbrush(
        "edit", picture, *flags, "--contrast-seed", seed, "--seed", "1,2", "--eta", "1",
        "-o", out, "--save-mask", tmp_path / "used.png", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    wanted = pixels(tmp_path / "seed.png")
    assert (pixels(tmp_path / "other.png") != wanted).any()
    for name in ("own", "used-s1", "used-s2"):
        assert np.array_equal(pixels(tmp_path / f"{name}.png"), wanted), name
    assert "contrast" in done.json["results"][1]["reused"]
    assert (pixels(tmp_path / "out-s1.png") != pixels(tmp_path / "out-s2.png")).any()
    wordbrush("edit", picture, *flags, "--contrast-seed", str(2**63), "-o", out).failed(2, "contrast_seed")


def test_inverted_the_rest_is_edited(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("found.png", "turned.png", "used.png", "none.png")]
    flags = (*TEXTS, *quick, "--rim", "0", "--blend", "0")  # without a seam beyond the outline, on either side
    assert wordbrush("mask", picture, *flags, "-o", names[0]).code == 0
    assert wordbrush("mask", picture, *flags, "--invert", "-o", names[1]).code == 0
    done = wordbrush("edit", picture, *flags, "--invert", "-o", tmp_path / "out.png", "--save-mask", names[2])
    assert done.code == 0, done.err
    assert np.array_equal(pixels(names[1]), 255 - pixels(names[0]))
    assert np.array_equal(pixels(names[1]), pixels(names[2]))
    kept = pixels(names[1])[..., 0] == 0
    assert np.array_equal(pixels(tmp_path / "out.png")[kept], pixels(picture)[kept])
    done = wordbrush("mask", picture, *flags, "--invert", "--threshold", "1", "-o", names[3], "--json")
    assert done.json["mask_area"] == 0


def test_the_command_of_an_edit_gives_its_bytes(
    wordbrush: Command, picture: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Whole numbers, as sliders give them, too: the record of a command has 3.0 where it says 3."""
    settings = Settings.from_preset(
        "paper", steps=5, maps=2, rule="area", guidance=3, invert=True, contrast_seed=2**40, eta=1, grow=-1
    )
    editor = Editor.from_pretrained(str(tiny_folder), local_files_only=True)
    texts: dict[str, Any] = {"query": "a zebra,\nsaid -it", "reference": "it's a horse", "negative": "--to"}
    result = editor.edit(picture, **texts, seed=7, preset="paper", settings=settings)
    words = edit_command(
        picture=str(picture), **texts, seed=7, preset="paper", settings=settings, model=str(tiny_folder),
        output=str(tmp_path / "out.png"),
    )  # fmt: skip
    done = wordbrush(*words[1:])
    assert done.code == 0, done.err
    assert (tmp_path / "out.png").read_bytes() == encode_image(result.image, ".png", result.provenance)


def test_quiet_says_nothing(wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path) -> None:
    done = wordbrush("edit", picture, *TEXTS, *quick, "-o", tmp_path / "out.png", "--quiet")
    assert (done.code, done.out, done.err) == (0, b"", "")


def test_bars_name_the_stages(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    done = wordbrush("edit", picture, *TEXTS, *quick, "-o", tmp_path / "out.png", "--seed", "1,2")
    assert done.code == 0, done.err
    assert done.out == b""
    for stage in ("encode the picture", "contrast the texts", "invert into the noise", "decode under the query"):
        assert stage in done.err, stage
    assert "(seed 2)" in done.err
