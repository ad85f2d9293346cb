"""The data sets of the protocols in miniature: their exact layouts, invented content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEADER = ",path,source,source_id,target,target_id,is_test"
"""The first line of FlexIT's queries.csv."""

QUERIES = (
    "3741,n02000001/ILSVRC2012_val_00000003.JPEG,marsh hopper,2,hill hopper,5,False",
    "17,n02000002/ILSVRC2012_val_00000001.JPEG,hill hopper,5,marsh hopper,2,True",
    "520,n02000001/ILSVRC2012_val_00000004.JPEG,marsh hopper,2,reed hopper,7,True",
)

BISON = (
    (11, "two grey cats sleep on a red sofa", 42, 7),
    (12, "a man rides a horse along the shore", 9, 300001),
)
"""bison_id, caption, true_image_id, the other picture."""

CAPTIONS = (
    (3, 7, "Two grey cats sleep on a blue sofa."),
    (1, 7, "Cats at rest."),
    (2, 300001, "A kitchen with a wooden table"),
)
"""id, image_id, caption."""


def save_picture(path: Path, size: tuple[int, int] = (70, 64), seed: int = 0) -> Path:
    """Write a picture of coloured blocks; JPEG or PNG by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    pixels = np.kron(blocks, np.ones((16, 16, 1), np.uint8))[:height, :width]
    suffix = path.suffix.lower()
    Image.fromarray(pixels).save(path, "PNG" if suffix == ".png" else "JPEG", quality=95)
    return path


def write_imagenet(folder: Path, *, flat: bool = False, queries: tuple[str, ...] = QUERIES) -> tuple[Path, Path]:
    """Write val/ (by wnid, or flat) and queries.csv; returns both."""
    for index, line in enumerate(queries):
        name = line.split(",")[1]
        save_picture(folder / "val" / (Path(name).name if flat else name), seed=index)
    path = folder / "queries.csv"
    path.write_text("\n".join((HEADER, *queries)) + "\n")
    return folder / "val", path


def coco_name(image: int) -> str:
    """Return the file name of a picture of val2014."""
    return f"COCO_val2014_{image:012d}.jpg"


def write_coco(folder: Path) -> tuple[Path, Path, Path]:
    """Write val2014/, BISON's annotations and COCO's captions; returns the three."""
    data = []
    for number, caption, true, other in BISON:
        candidates = [{"image_id": image, "image_filename": coco_name(image)} for image in sorted((true, other))]
        item = {"bison_id": number, "caption": caption, "caption_id": number * 7, "true_image_id": true}
        data.append({**item, "image_candidates": candidates})
        for image in (true, other):
            save_picture(folder / "val2014" / coco_name(image), seed=image)
    bison = folder / "bison_annotations.cocoval2014.json"
    bison.write_text(json.dumps({"info": {"source": "coco", "split": "val2014"}, "data": data}))
    captions = folder / "captions_val2014.json"
    rows = [{"image_id": image, "id": number, "caption": text} for number, image, text in CAPTIONS]
    captions.write_text(json.dumps({"info": {}, "images": [], "licenses": [], "annotations": rows}))
    return folder / "val2014", bison, captions


def pie_items() -> dict[str, Any]:
    """Return three items of a PIE-Bench mapping file: a box, everything, and nothing."""
    box = [number for row in range(100, 300) for number in (512 * row + 150, 200)]
    common = {"blended_word": "", "editing_instruction": ""}
    return {
        "000000000000": {
            "image_path": "0_random_140/000000000000.jpg",
            "original_prompt": "a [red] boat on a lake",
            "editing_prompt": "a [green] boat on a lake",
            "editing_type_id": "0",
            "mask": box,
            **common,
        },
        "911000000001": {
            "image_path": "9_change_style_80/1_artificial/1_animal/911000000001.jpg",
            "original_prompt": "a cat",
            "editing_prompt": "[a drawing of] a cat",
            "editing_type_id": "9",
            "mask": [0, 512 * 512],
            **common,
        },
        "212000000002": {
            "image_path": "2_add_object_80/2_natural/212000000002.jpg",
            "original_prompt": "a field",
            "editing_prompt": "a field [and a dog]",
            "editing_type_id": "2",
            "mask": [],
            **common,
        },
    }


def write_pie(folder: Path, items: dict[str, Any] | None = None, size: tuple[int, int] = (512, 512)) -> Path:
    """Write mapping_file.json and annotation_images/; returns the folder."""
    chosen = pie_items() if items is None else items
    for index, item in enumerate(chosen.values()):
        save_picture(folder / "annotation_images" / item["image_path"], size, seed=index)
    (folder / "mapping_file.json").write_text(json.dumps(chosen))
    return folder
