"""What `replay` makes of names, of threads, and of records that were not written in good faith."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support import tiny
from tests.support.command import Command, edited, mask_file, picture_file
from wordbrush.record.provenance import encode_image, read_provenance

TEXTS = ("--from", "a horse", "--to", "a zebra")


@pytest.fixture(scope="module")
def once(quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return edited(tmp_path_factory.mktemp("edited"), *TEXTS, *quick)


@pytest.fixture
def made(once: bytes, picture: Path) -> Path:
    """A copy of one edited file for each test, beside the picture that was edited."""
    out = picture.with_name("out.png")
    out.write_bytes(once)
    return out


def forge(made: Path, **changes: Any) -> Path:
    """Write the file again with another record; changes of a mapping are laid over it."""
    record = read_provenance(made)
    for name in {"model", "settings", "input"} & changes.keys():
        changes[name] = {**getattr(record, name), **changes[name]}
    record = dataclasses.replace(record, **changes)
    path = made.with_name("forged.png")
    with Image.open(made) as image:
        path.write_bytes(encode_image(image, ".png", record))
    return path


@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".webp", "WEBP"), (".TIF", "TIFF"), (".png", "PNG")])
def test_the_ending_decides_the_format_and_the_verdict_is_of_the_pixels(
    wordbrush: Command, made: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    target = tmp_path / f"again{suffix}"
    done = wordbrush("replay", made, "-o", target)
    assert (done.code, done.text) == (0, "identical\n"), done.err
    with Image.open(target) as image:
        assert image.format == kind
    assert read_provenance(target) == read_provenance(made)


def test_a_lossy_file_is_compared_in_its_own_format(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jpg"
    assert wordbrush("edit", picture, *TEXTS, *quick, "-o", out).code == 0
    done = wordbrush("replay", out, "-o", tmp_path / "again.png")
    assert (done.code, done.text) == (0, "identical\n"), done.err
    named = tmp_path / "camera.weird"
    named.write_bytes(out.read_bytes())
    done = wordbrush("replay", named, "--json")
    assert done.json["identical"] is True
    assert done.json["output"] == str(tmp_path / "camera-replay.jpg")


def test_a_dash_is_standard_output(wordbrush: Command, made: Path) -> None:
    done = wordbrush("replay", made, "-o", "-")
    assert done.code == 0
    with Image.open(io.BytesIO(done.out)) as image:
        assert image.format == "PNG"
    assert done.out == made.read_bytes()
    assert "identical" in done.err
    wordbrush("replay", made, "-o", "-", "--json").failed(2, "standard output")


@pytest.mark.parametrize("name", ["again", "again.gif", "again.", "again.npy"])
def test_other_endings_are_refused_before_the_work(wordbrush: Command, made: Path, tmp_path: Path, name: str) -> None:
    wordbrush("replay", made, "-o", tmp_path / name).failed(2, "must end in one of .png")
    assert not (tmp_path / name).exists()


def test_transparency_into_jpeg_is_refused_before_the_work(
    wordbrush: Command, quick: list[str], tmp_path: Path
) -> None:
    source = picture_file(tmp_path / "cut.png", mode="RGBA")
    assert wordbrush("edit", source, *TEXTS, *quick, "-o", tmp_path / "out.png").code == 0
    wordbrush("replay", tmp_path / "out.png", "-o", tmp_path / "again.jpg").failed(3, "transparency")


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_threads_are_recorded_told_of_and_matched(wordbrush: Command, made: Path) -> None:
    here = torch.get_num_threads()
    assert read_provenance(made).threads == here
    assert f"threads     {here}\n" in wordbrush("inspect", made).text
    torch.set_num_threads(here + 1)
    done = wordbrush("replay", made, "--threads", "recorded")
    assert (done.text, "made with" in done.err) == ("identical\n", False)
    assert torch.get_num_threads() == here + 1
    done = wordbrush("replay", made, "--threads", str(here), "--json", "--force")
    assert (done.json["identical"], done.json["threads"]) == (True, [here, here])
    done = wordbrush("replay", made, "--force")
    assert done.text in ("same pixels\n", "different\n")
    assert f"made with {here} thread" in done.err


def test_where_pixels_differ_the_threads_are_named(wordbrush: Command, made: Path) -> None:
    then = torch.get_num_threads() + 3
    forged = forge(made, threads=then)
    with Image.open(forged) as image:
        record, changed = read_provenance(forged), image.convert("RGB")
    changed.putpixel((0, 0), (1, 2, 3))
    forged.write_bytes(encode_image(changed, ".png", record))
    done = wordbrush("replay", forged)
    assert done.text == "different\n"
    assert f"made with {then} threads" in done.err
    assert "--threads recorded" in done.err


@pytest.mark.parametrize("threads", ["0", "-1", "1025", "two", "1.5", "", "99999999999", "٣"])
def test_numbers_of_threads_that_make_no_sense(wordbrush: Command, made: Path, threads: str) -> None:
    wordbrush("replay", made, f"--threads={threads}").failed(2, "--threads")


def test_threads_that_the_record_does_not_tell(wordbrush: Command, made: Path) -> None:
    record = read_provenance(forge(made, threads=None))
    assert "threads" not in json.loads(record.to_json())
    for count in (None, 10**9):
        wordbrush("replay", forge(made, threads=count), "--threads", "recorded", "-q").failed(3, "--threads N")
    assert wordbrush("replay", forge(made, threads=None)).text == "same pixels\n"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": {"device": "meta"}}, "--device"),
        ({"model": {"device": "gpu-of-mine"}}, "--device"),
        ({"model": {"dtype": "float8_e4m3fn"}}, "dtype"),
        ({"model": {"dtype": "int32"}}, "dtype"),
        ({"settings": {"clip_skip": 11}}, "clip skip"),
        ({"settings": {"guidance": 51}}, "guidance"),
        ({"query": "a \udc80 zebra"}, "query is not Unicode"),
        ({"negative": "\udfff"}, "negative is not Unicode"),
        ({"seed": -3}, "seed"),
        ({"seed": 2**64 - 1}, "seed"),
        ({"input": {"name": "b" * 3000 + ".png"}}, "--input"),
        ({"input": {"name": "\ud800.png"}}, "--input"),
        ({"settings": {"resolution": 4000}}, "--any-cost"),
        ({"settings": {"steps": 1000, "inversion_stride": 1}}, "--any-cost"),
        ({"settings": {"maps": 64, "strength": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "resolution": 96}}, "--any-cost"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_faults_of_a_record_are_3_and_one_line(
    wordbrush: Command, made: Path, changes: dict[str, Any], part: str
) -> None:
    wordbrush("replay", forge(made, **changes), "-q").failed(3, part)


def test_faults_of_flags_stay_2(wordbrush: Command, made: Path) -> None:
    wordbrush("replay", made, "--device", "meta").failed(2, "meta")
    wordbrush("replay", made, "--lora", ":3").failed(2, "--lora")


def test_a_costly_record_runs_where_it_is_allowed(wordbrush: Command, made: Path) -> None:
    costly = {"maps": 64, "strength": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "resolution": 128}
    mine = mask_file(made.with_name("mine.png"), (61, 47), (5, 5, 30, 30))
    forged = forge(made, settings={**costly, "steps": 5})
    wordbrush("replay", forged, "-q").failed(3, "1,0", "--any-cost")
    assert wordbrush("replay", made, "--mask", mine).code == 3  # it had none
    done = wordbrush("replay", forge(made, settings={"steps": 60}), "--any-cost", "-q")
    assert (done.code, done.text) == (0, "different\n")


def test_many_packages_are_one_line(wordbrush: Command, made: Path) -> None:
    packages = {f"package{'x' * 500}{i}": "1\x1b[31m" for i in range(3_000)}
    done = wordbrush("replay", forge(made, packages=packages), "-q")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("warning: other packages than then: ")
    assert "and 3004 more" in line
    assert "\x1b" not in done.err
    assert len(line) < 700


def test_a_folder_that_only_the_record_names_is_announced_and_must_be_the_recorded_one(
    wordbrush: Command, made: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    done = wordbrush("replay", made)
    assert f"from {tiny_folder}, as the record says" in done.err
    other = tmp_path / "other"
    tiny.write_folder(other, "sd2")
    wordbrush("replay", forge(made, model={"source": str(other)}), "-q", "--force").failed(3, str(other), "--model")
    assert not made.with_name("forged-replay.png").exists()
    done = wordbrush("replay", forge(made, model={"source": str(other)}), "--model", tiny_folder, "--force")
    assert "as the record says" not in done.err
    assert done.text == "identical\n" or "same pixels" in done.text


def test_a_lora_that_only_the_record_names_must_be_the_recorded_one(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path
) -> None:
    path, out = tmp_path / "style.safetensors", tmp_path / "out.png"
    save_file(tiny.lora_state("sd1"), path)
    done = wordbrush("edit", picture, *TEXTS, *quick, "--lora", path, "-o", out)
    assert done.code == 0, done.err
    done = wordbrush("replay", out)
    assert done.text == "identical\n"
    assert f"from {path}, as the record says" in done.err
    save_file(tiny.lora_state("sd1", seed=9), path)
    wordbrush("replay", out, "-q", "--force").failed(3, str(path), "--lora")
    done = wordbrush("replay", out, "--force", "--lora", path)
    assert done.code == 0
    assert "the LoRA style.safetensors is not as in the record" in done.err


def test_pixels_and_record_are_as_edit_wrote_them(wordbrush: Command, made: Path) -> None:
    assert wordbrush("replay", made).text == "identical\n"
    with Image.open(made) as then, Image.open(made.with_name("out-replay.png")) as now:
        assert np.array_equal(np.asarray(then), np.asarray(now))
