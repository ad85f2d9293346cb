"""Make the pictures of README.md and docs/ with the shipped model and samples, and the table of flags in docs/cli.md.

make pictures
"""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import numpy as np

from wordbrush import Editor
from wordbrush.cli.options import bound
from wordbrush.cli.samples import Sample, load_samples
from wordbrush.files import write_atomic
from wordbrush.panel import make_panel, make_sheet
from wordbrush.provenance import encode_image
from wordbrush.settings import Settings

DOCS = Path(__file__).resolve().parent
BEGIN, END = "<!-- flags: written by docs/make_pictures.py -->", "<!-- end of flags -->"


def panel_of(editor: Editor, sample: Sample, *, tile: int) -> Any:
    """Edit one sample and return its panel."""
    result: Any = editor.edit(sample.path, sample.query, sample.reference)
    after = np.asarray(result.image.convert("RGB"))
    caption = f"{sample.reference} > {sample.query}"
    return make_panel(result.picture.srgb, result.contrast, result.mask, after, tile=tile, caption=caption)


def flag_table() -> str:
    """Return the switches of the algorithm as a Markdown table."""
    hints = typing.get_type_hints(Settings)
    rows = ["| flag | takes | default | what it does |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        low, high = field.metadata["range"]
        kinds = [k for k in (typing.get_args(hints[field.name]) or (hints[field.name],)) if k is not type(None)]
        if isinstance(kinds[0], str):
            takes = ", ".join(f"`{kind}`" for kind in kinds)
        else:
            takes = (
                f"{bound(low)} ... {bound(high)}"
                if low is not None
                else {bool: "on, off", int: "whole number"}.get(kinds[0], "number")
            )
        default = ("on" if field.default else "off") if kinds[0] is bool else field.default
        name = "--" + field.name.replace("_", "-")
        rows.append(f"| `{name}` | {takes} | {'' if default is None else default} | {field.metadata['help']} |")
    return "\n".join(rows)


def write_flags(path: Path = DOCS / "cli.md") -> None:
    """Put the table between its marks."""
    text = path.read_text("utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), flags=re.DOTALL)
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{flag_table()}\n{END}", text), encoding="utf-8")


def write_pictures(folder: Path = DOCS / "images") -> None:
    """Make the panel of the first sample and a sheet of all."""
    editor = Editor.from_pretrained("pocket")
    samples = load_samples()
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "demo.png", encode_image(panel_of(editor, samples[0], tile=256), ".png", None), force=True)
    sheet = make_sheet([panel_of(editor, sample, tile=160) for sample in samples], columns=2)
    write_atomic(folder / "samples.png", encode_image(sheet, ".png", None), force=True)


if __name__ == "__main__":
    write_flags()
    write_pictures()
