"""What `models show` says of a model before it is loaded, against the loaded model, for every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.families import z_image
from tests.support.family_rows import ROWS
from wordbrush.models import load_model
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.outline import decided, outline


def saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_what_is_foretold_is_what_loading_decides(name: str, tmp_path: Path) -> None:
    pipeline = ROWS[name].build()
    folder = saved(pipeline, tmp_path / name)
    before = outline(locate(folder))
    assert before.foretold() == decided(load_model(folder))
    sizes = {part.name: part.parameters for part in before.parts}
    for part, expected in sizes.items():
        state = getattr(pipeline, part).state_dict()
        own = {value.data_ptr(): value.numel() for value in state.values()}  # tied weights are stored once
        assert expected == sum(own.values()), part
    facts = before.facts()
    assert facts["parameters"] == sum(sizes.values())
    assert (facts["float32_bytes"], facts["half_bytes"]) == (4 * facts["parameters"], 2 * facts["parameters"])


def test_no_weight_is_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(z_image(shift=3.0), tmp_path / "turbo")
    for path in folder.rglob("*.safetensors"):  # all numbers NaN: loading would refuse them
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        path.write_bytes(path.read_bytes()[:header] + b"\xff" * (path.stat().st_size - header))
    told = outline(locate(folder)).foretold()
    assert (told["guidance_kind"], told["guidance"], told["inversion"]) == ("none", 1.0, "noised")
    assert told["sibling"] == "Tongyi-MAI/Z-Image"
    assert told["notes"] == []


def test_half_precision_files_are_counted_as_they_are_stored(tmp_path: Path) -> None:
    folder = saved(z_image().to(torch.bfloat16), tmp_path / "half")
    for part in outline(locate(folder)).facts()["parts"]:
        assert part["stored_bytes"] == part["half_bytes"] == part["float32_bytes"] // 2, part["name"]


def test_wordbrush_json_is_taken_at_its_word(tmp_path: Path) -> None:
    folder = saved(z_image(shift=3.0), tmp_path / "turbo")
    (folder / "wordbrush.json").write_text(json.dumps({"distilled": False, "guidance": 2.5, "resolution": 96}))
    before = outline(locate(folder))
    told = before.foretold()
    assert (told["guidance"], told["inversion"], told["resolution"]) == (2.5, "inverted", 96)
    assert before.facts()["evidence"] == before.family.card.evidence
    (folder / "wordbrush.json").write_text(json.dumps({"evidence": "measured: by us"}))
    assert outline(locate(folder)).facts()["evidence"] == "measured: by us"
