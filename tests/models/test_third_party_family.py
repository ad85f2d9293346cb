"""A family of somebody else's package, found by its entry point, edits a picture like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.third_party_package import HALVES, install
from wordbrush.record.provenance import read_provenance

EDIT = """
import json, sys
import numpy as np
from wordbrush import Editor
from wordbrush.errors import SettingsError
from wordbrush.models import load_model
editor = Editor.from_pretrained(sys.argv[1])
plain = {"steps": 20, "solver": "ddim", "spacing": "model", "inversion_stride": 1, "rim": 0.0}
result = editor.edit(sys.argv[2], "dark left, dark right", "dark left, light right", **plain)
try:
    editor.edit(sys.argv[2], "dark left", guidance=3.0)
    refusal = ""
except SettingsError as error:
    refusal = str(error)
mask = np.asarray(result.mask.values) > 0
before, after = np.asarray(editor.open(sys.argv[2]).picture.srgb), np.asarray(result.image)
result.save(sys.argv[3])
print(json.dumps({
    "left": float(mask[:, :16].mean()), "right": float(mask[:, 16:].mean()),
    "kept": bool((before[~mask] == after[~mask]).all()),
    "brightness": [float(before[mask].mean()), float(after[mask].mean())],
    "identity": editor.model.identity.as_dict(), "refusal": refusal,
    "pocket": load_model("pocket").identity.family,
}))
"""


COMMANDS = """
import contextlib, io, json, sys
from wordbrush.cli import main
done = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search path with the family, and beside it one that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "wordbrush_halves", HALVES.read_text("utf-8"), "halves = wordbrush_halves:FAMILY")
    return install(folder, "wordbrush_torn", "raise RuntimeError('torn\\nin two')\n", "torn = wordbrush_torn:FAMILY")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the family."""
    folder = tmp_path_factory.mktemp("halves")
    (folder / "transformer").mkdir()
    index = {"_class_name": "HalvesPipeline", "transformer": ["wordbrush_halves", "Halves"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "transformer" / "config.json").write_text('{"_class_name": "Halves"}')
    weights = {"tones": torch.tensor([-0.5, 0.0, 0.5])}
    save_file(weights, folder / "transformer" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, dark on the left and light on the right, that no two pixels of a row are alike in."""
    columns = np.where(np.arange(32) < 16, 64, 191) + np.arange(32) % 16
    path = tmp_path_factory.mktemp("picture") / "halves.png"
    Image.fromarray(np.tile(columns.astype(np.uint8)[None, :, None], (32, 1, 3))).save(path)
    return path


def python(site: Path, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds the packages of `site`."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_it_is_one_short_file_that_knows_nothing_of_us_but_public_modules() -> None:
    text = HALVES.read_text("utf-8")
    assert len(text.splitlines()) <= 60
    assert "tests" not in text


def test_the_editor_works_with_it(site: Path, checkpoint: Path, picture: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads(python(site, "-c", EDIT, checkpoint, picture, tmp_path / "out.png").stdout)
    assert found["left"] < 0.2 < 0.8 < found["right"]
    assert found["kept"]
    before, after = found["brightness"]
    assert 50 < before - after < 70  # the inversion is told nothing, which is grey: dark is 0.5, or 64 values, darker
    assert (found["identity"]["family"], found["identity"]["parametrisation"]) == ("halves", "flow")
    assert len(found["identity"]["sha256"]) == 64
    assert "guidance 3" in found["refusal"]
    assert found["pocket"].startswith("stable-diffusion")


def test_the_command_line_works_with_it(site: Path, checkpoint: Path, picture: Path, tmp_path: Path) -> None:
    mask, out = tmp_path / "mask.png", tmp_path / "out.png"
    white = np.zeros((32, 32), np.uint8)
    white[:, 16:] = 255
    Image.fromarray(white).save(mask)
    words = ("--from", "light right", "--to", "dark right", "--mask", mask, "--model", checkpoint, "--steps", "20")
    plain = ("--solver", "ddim", "--spacing", "model", "--inversion-stride", "1")
    python(site, "-m", "wordbrush", "edit", picture, *words, *plain, "-o", out)
    before, after = np.asarray(Image.open(picture).convert("RGB")), np.asarray(Image.open(out).convert("RGB"))
    assert np.array_equal(before[:, :16], after[:, :16])
    assert 50 < before[:, 20:].mean() - after[:, 20:].mean() < 70
    assert json.loads(read_provenance(out).to_json())["model"]["family"] == "halves"


def test_a_family_that_cannot_be_imported_is_told_in_a_sentence(site: Path, checkpoint: Path, tmp_path: Path) -> None:
    sentence = "the family 'torn' of the package wordbrush-torn cannot be imported: RuntimeError: torn"
    (tmp_path / "model_index.json").write_text('{"_class_name": "TornPipeline"}')
    words = [["list", "--families", "--json"], ["show", str(tmp_path)], ["show", str(checkpoint), "--json"]]
    commands = json.dumps([["models", *rest] for rest in [*words, ["show", "pocket", "--json"]]])
    listed, failed, shown, pocket = json.loads(python(site, "-c", COMMANDS, commands).stdout)
    known = [family["name"] for family in json.loads(listed[1])["families"]]
    assert (known[0], known[-1]) == ("stable-diffusion", "halves")
    assert listed[2] == f"warning: {sentence}\n"
    assert failed[0] == 4
    assert failed[2].count("\n") == 1
    assert sentence in failed[2]
    facts = json.loads(shown[1])
    assert (facts["identity"]["family"], facts["guidance_kind"], shown[2]) == ("halves", "none", "")
    assert (json.loads(pocket[1])["guidance_kind"], pocket[2]) == ("cfg", "")
