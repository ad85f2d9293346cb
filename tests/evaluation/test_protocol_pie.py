"""PIE-Bench's mapping file, its masks, and what is measured outside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.protocols import pie_items, write_pie
from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.common import Entry, Runs
from wordbrush.evaluation.protocols.measures import mask_measure, pie_background
from wordbrush.evaluation.protocols.measuring import Pair
from wordbrush.evaluation.protocols.pie import framed, parse_runs, read_pie

BOX = np.zeros((512, 512), dtype=np.bool_)
BOX[100:300, 150:350] = True


def test_items_have_their_texts_types_and_masks(tmp_path: Path) -> None:
    protocol = read_pie(write_pie(tmp_path))
    boat, cat, field = protocol.entries
    assert (boat.reference, boat.query) == ("a red boat on a lake", "a green boat on a lake")
    assert (cat.query, field.query) == ("a drawing of a cat", "a field and a dog")
    assert [entry.groups["edit type"] for entry in protocol.entries] == ["0 random", "9 change style", "2 add object"]
    assert all(entry.picture.is_file() for entry in protocol.entries)
    regions = [entry.region.region() for entry in protocol.entries if entry.region is not None]
    assert np.array_equal(regions[0], BOX)
    assert regions[1].all()
    assert not regions[2].any()
    assert [entry.reference for entry in read_pie(tmp_path, reference="empty").entries] == ["", "", ""]


def test_runs_are_row_by_row_and_cut_at_the_end() -> None:
    region = parse_runs([2, 3, 510, 4], "x").region()
    assert np.flatnonzero(region).tolist() == [2, 3, 4, 510, 511, 512, 513]
    assert region[1, :2].all()
    assert parse_runs([512 * 512 - 1, 99], "x").region().sum() == 1
    assert np.array_equal(parse_runs("2 3, 510 4", "x").region(), region)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ([1, 2, 3], "start without a length"),
        ([512 * 512, 1], "starts at 262144"),
        ([-1, 4], "whole number"),
        ([1, -4], "whole number"),
        ([1, 2.5], "whole number"),
        ([True, 2], "whole number"),
        ("1 x", "whole number"),
        ("1 -2", "whole number"),
        (None, "mask is missing"),
        ({"counts": [1]}, "mask is dict"),
    ],
)
def test_wrong_runs_name_file_and_item(tmp_path: Path, mask: Any, told: str) -> None:
    items = pie_items()
    items["212000000002"]["mask"] = mask
    with pytest.raises(InputError, match=told) as caught:
        read_pie(write_pie(tmp_path, items))
    assert f"{tmp_path / 'mapping_file.json'}: item '212000000002'" in str(caught.value)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "\\\\host\\share\\x.jpg", "C:x.jpg", ""])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    write_pie(tmp_path)
    items = pie_items()
    items["000000000000"]["image_path"] = name
    (tmp_path / "mapping_file.json").write_text(json.dumps(items))
    with pytest.raises(InputError, match="leads out of"):
        read_pie(tmp_path)


def test_names_that_are_no_file_names_are_refused(tmp_path: Path) -> None:
    write_pie(tmp_path)
    for name in ("../x", "a/b", "", ".hidden", "a b", "x" * 200, "a."):
        (tmp_path / "mapping_file.json").write_text(json.dumps({name: pie_items()["000000000000"]}))
        with pytest.raises(InputError, match="cannot be a file name"):
            read_pie(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mapping file is not there"):
        read_pie(tmp_path)
    mapping = tmp_path / "mapping_file.json"
    mapping.write_text("{}")
    with pytest.raises(InputError, match="annotation_images: this folder is missing"):
        read_pie(tmp_path)
    (tmp_path / "annotation_images").mkdir()
    with pytest.raises(InputError, match="no item"):
        read_pie(tmp_path)
    mapping.write_text("[1]")
    with pytest.raises(InputError, match="document is list"):
        read_pie(tmp_path)
    mapping.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="cannot be read"):
        read_pie(tmp_path)
    mapping.write_text(json.dumps({"a": {**pie_items()["000000000000"], "editing_type_id": "10"}}))
    with pytest.raises(InputError, match="editing_type_id"):
        read_pie(tmp_path)


def _pair(folder: Path, region: np.ndarray[Any, Any], before: Any, after: Any, mask: Any = None) -> Pair:
    for name, pixels in (("before.png", before), ("after.png", after), ("mask.png", mask)):
        if pixels is not None:
            Image.fromarray(pixels).save(folder / name)
    flat = region.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
    runs = [int(n) for start, stop in zip(edges[::2], edges[1::2], strict=True) for n in (start, stop - start)]
    entry = Entry("x", folder / "before.png", "b", region=Runs(tuple(runs), (region.shape[1], region.shape[0])))
    return Pair(entry, {"output": "after.png", "mask": None if mask is None else "mask.png"}, folder)


def test_the_background_is_measured_as_published(tmp_path: Path) -> None:
    before = np.full((40, 50, 3), 100, np.uint8)
    after = np.full((40, 50, 3), 110, np.uint8)
    region = np.zeros((40, 50), dtype=np.bool_)
    region[10:20, 10:30] = True
    found = pie_background().compute(_pair(tmp_path, region, before, after))
    outside = 38 * 48 - 200  # the frame of one pixel counts as mask
    assert found["background_psnr"] == pytest.approx(10 * np.log10(255**2 / 100))
    assert found["pie_mse"] == pytest.approx(100 / 255**2 * outside / 2000)
    assert found["pie_psnr"] == pytest.approx(10 * np.log10(2000 / outside * 255**2 / 100))
    # By torchmetrics' own class, as PIE-Bench calls it, on the blackened pictures.
    import torch
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    keep = ~framed(region)[..., None]
    planes = [torch.from_numpy((p * keep).astype(np.float32) / 255).permute(2, 0, 1)[None] for p in (before, after)]
    assert found["pie_ssim"] == pytest.approx(float(StructuralSimilarityIndexMeasure(data_range=1.0)(*planes)))


def test_a_mask_that_fills_the_picture_leaves_nothing_to_measure(tmp_path: Path) -> None:
    before = np.full((40, 50, 3), 100, np.uint8)
    full = np.ones((40, 50), dtype=np.bool_)
    almost = np.pad(np.ones((38, 48), dtype=np.bool_), 1)  # the frame is added, so nothing is left either
    for region in (full, almost):
        pair = _pair(tmp_path, region, before, before + np.uint8(9), np.full((40, 50), 255, np.uint8))
        assert set(pie_background().compute(pair).values()) == {None}
        masks = mask_measure().compute(pair)
        assert masks["local_mask_iou"] is None
        assert masks["mask_iou"] == pytest.approx(region.mean())


def test_equal_backgrounds_are_capped_not_infinite(tmp_path: Path) -> None:
    before = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    after, region = before.copy(), np.zeros((40, 50), dtype=np.bool_)
    region[5:25, 5:25] = True
    after[region] = 0
    mask = np.zeros((40, 50), np.uint8)
    mask[5:25, 5:15] = 255
    pair = _pair(tmp_path, region, before, after, mask)
    assert pie_background().compute(pair) == {
        "pie_psnr": 100.0,
        "pie_mse": 0.0,
        "pie_ssim": pytest.approx(1.0),
        "background_psnr": 100.0,
    }
    assert mask_measure().compute(pair) == {
        "mask_iou": 0.5,
        "mask_precision": 1.0,
        "mask_recall": 0.5,
        "local_mask_iou": 0.5,
    }
