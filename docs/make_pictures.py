"""Make the pictures of README.md and docs/ with the shipped model and samples, and the table of flags in docs/cli.md.

make pictures

Those of the workbench are taken from what its browser test left in `tests/e2e/screenshots`, if it ran.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from training.pocket.words import COLOURS, GROUND_PHRASES, NOUNS, RECOLOURABLE, with_article
from wordbrush import Editor, batch_report
from wordbrush.batch.run import batch
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.files import write_atomic
from wordbrush.notation import bound, switches
from wordbrush.picture.panel import make_sheet
from wordbrush.picture.samples import Sample, load_samples
from wordbrush.record.provenance import encode_image

DOCS = Path(__file__).resolve().parent
MODEL = DOCS.parent / "src" / "wordbrush" / "models" / "pocket"
BEGIN, END = "<!-- flags: written by docs/make_pictures.py -->", "<!-- end of flags -->"


def panel_of(editor: Editor, sample: Sample, *, tile: int) -> Any:
    """Edit one sample and return its panel."""
    result: Any = editor.edit(sample.path, sample.query, sample.reference)
    return result.panel(tile=tile, caption=f"{sample.reference} > {sample.query}")


def flag_table() -> str:
    """Return the switches of the algorithm as a Markdown table."""
    rows = ["| flag | takes | default | what it does |", "|---|---|---|---|"]
    for switch in switches().values():
        if switch.choices:
            takes = ", ".join(f"`{choice}`" for choice in switch.choices)
        elif switch.range:
            takes = " ... ".join(map(bound, switch.range))
        else:
            takes = {bool: "on, off", int: "whole number"}.get(switch.kind, "number")
        rows.append(f"| `{switch.flag}` | {takes} | {switch.shown_default} | {switch.help} |")
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


BEFORE: dict[str, Any] = {
    "maps": 10, "strength": 0.6, "strength_axis": "time", "threshold": 0.24, "edges": "guided", "ring": 0, "rim": 0,
    "blend": 0, "match": 0, "solver": "ddim", "steps": 25, "spacing": "model", "inversion_stride": 1, "guidance_low": 0,
    "guidance_every": 1,
}  # fmt: skip
"""The default before the mask, the seam and the walks were chosen anew: 86 evaluations."""


def write_nouns(path: Path = DOCS / "images" / "pocket.png", across: int = 9) -> None:
    """Draw every noun that pocket knows, seed 0, on its grounds and in its colours by turns, with diffusers alone."""
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = []
    for number, noun in enumerate(NOUNS):
        colour = f"{COLOURS[number % len(COLOURS)]} " if noun in RECOLOURABLE else ""
        text = f"{with_article(colour + noun)} on {list(GROUND_PHRASES.values())[number % len(GROUND_PHRASES)]}"
        seed = torch.Generator().manual_seed(0)
        made = pipeline(text, num_inference_steps=20, guidance_scale=4.0, generator=seed, output_type="np")
        drawn.append((made.images[0] * 255).round().astype(np.uint8))
    rows = [np.concatenate(drawn[first : first + across], axis=1) for first in range(0, len(drawn), across)]
    write_atomic(path, encode_image(Image.fromarray(np.concatenate(rows)), ".png", None), force=True)


def write_before_and_after(path: Path = DOCS / "images" / "before-after.png", many: int = 3) -> None:
    """Make a sheet of the truth bench's first test edits of each kind: input, truth, result before, result now."""
    editor, items = Editor.from_pretrained("pocket"), load_truth(default_bench(), "test", limit=many)
    side, title, gap = items[0].picture.shape[0], 14, 20
    width, height = 4 * side + gap, side + title + gap // 2
    sheet = Image.new("RGB", (many * width - gap, len(items) // many * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, item in enumerate(items):
        left, top = number % many * width, number // many * height
        reference, query = item.texts["captions"]
        session = editor.open(item.picture)
        made = [session.edit(query, reference, **switches).image for switches in (BEFORE, {})]
        draw.text((left, top), f"{reference} > {query}", fill="black")
        for place, shown in enumerate((item.picture, item.counterfactual, *map(np.asarray, made))):
            sheet.paste(Image.fromarray(shown), (left + place * side, top + title))
    write_atomic(path, encode_image(sheet, ".png", None), force=True)


def write_screenshots(
    taken: Path = DOCS.parent / "tests" / "e2e" / "screenshots", folder: Path = DOCS / "images"
) -> None:
    """Take over two screenshots of the workbench, smaller."""
    for name, shot in {"workbench-region": "3-strokes", "workbench-versions": "6-seeds"}.items():
        if (taken / f"{shot}.png").is_file():
            with Image.open(taken / f"{shot}.png") as image:
                small = image.convert("RGB").resize((1000, round(1000 * image.height / image.width)))
            small.save(folder / f"{name}.png", optimize=True)


def write_batch_report(path: Path = DOCS / "images" / "batch-report.png", size: tuple[int, int] = (1200, 1000)) -> None:
    """Take a picture of the report of a small batch: edits with known truth, samples, and a file that is no picture."""
    if shutil.which("chromium") is None:
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = batch_report(batch(_rows(folder), folder / "batch").folder, by="kind").page
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": size[0], "height": size[1]})
            tab.goto(page.as_uri())
            tab.get_by_role("heading", name="Items").evaluate("heading => heading.scrollIntoView()")
            tab.wait_for_load_state("networkidle")
            tab.screenshot(path=folder / "shot.png")
            browser.close()
        with Image.open(folder / "shot.png") as image:
            image.convert("RGB").quantize(256).save(path, optimize=True)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Write the files of the batch, and return its rows."""
    rows: list[dict[str, Any]] = [
        {"picture": str(sample.path), "query": sample.query, "reference": sample.reference}
        for sample in load_samples()[:4]
    ]
    for item in load_truth(default_bench(), "test", ("object", "colour", "ground"), limit=1):
        stem = item.id.replace("/", "-")
        files = {"picture": item.picture, "truth": item.counterfactual, "truth_mask": item.region}
        for kind, pixels in files.items():
            Image.fromarray(pixels).save(folder / f"{stem}-{kind}.png")
        reference, query = item.texts["captions"]
        named = {kind: str(folder / f"{stem}-{kind}.png") for kind in files}
        rows.append({"query": query, "reference": reference, "kind": item.kind, "output": stem, **named})
    (folder / "broken.png").write_bytes(b"no picture")
    return [*rows[-3:], {"picture": str(folder / "broken.png"), "query": "a horse on grass"}, *rows[:-3]]


if __name__ == "__main__":
    write_flags()
    write_pictures()
    write_nouns()
    write_before_and_after()
    write_screenshots()
    write_batch_report()
