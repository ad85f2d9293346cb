"""`wordbrush demo`: the shipped sample pictures, edited by the pocket model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

    from wordbrush.editor import Editor
    from wordbrush.picture.samples import Sample

__all__ = ["demo", "edit_sample"]

DEFAULT_FOLDER = Path("wordbrush-demo")


def demo(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Edit every sample picture, one sheet.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures.", metavar="FOLDER")] = DEFAULT_FOLDER,
    seed: Annotated[int, typer.Option("--seed", help="One seed.", min=0)] = 0,
    preset: opt.Preset = opt.DEFAULT_PRESET,
    device: opt.Device = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Edit a shipped sample picture with the pocket model and print the path of the panel.

    The panel shows input | contrast | mask | result; the result itself is written beside it.
    """
    from wordbrush.cli.loading import ModelChoice, load_editor
    from wordbrush.picture.samples import load_samples
    from wordbrush.settings import Settings

    Settings.from_preset(preset)  # refuse an unknown one before anything is made
    samples = load_samples()
    chosen = samples if everything else samples[:1]
    target = out / ("all.png" if everything else "panel.png")
    results = [out / f"{index:02d}-{sample.path.stem}.png" for index, sample in enumerate(chosen, 1)]
    _prepare(out, [target, *results], force=force)
    terminal = Terminal(quiet=quiet)
    editor = load_editor(ModelChoice(device=device), terminal)
    panels, records = [], []
    for sample, path in zip(chosen, results, strict=True):
        panel, record = edit_sample(editor, sample, path, terminal, seed=seed, preset=preset, force=force)
        panels.append(panel)
        records.append(record)
    _write_panel(panels, target, force=force)
    if json:
        print_json({"schema": 1, "command": "demo", "panel": str(target), "results": records})
    else:
        print(target)


def edit_sample(
    editor: Editor, sample: Sample, path: Path, terminal: Terminal, *, seed: int, preset: str, force: bool
) -> tuple[Image.Image, dict[str, Any]]:
    """Edit one sample, write its result, and return its panel and its JSON record."""
    import numpy as np

    from wordbrush.picture.panel import make_panel

    title = f"{sample.reference} > {sample.query}"
    with terminal.stages(title) as callback:
        session = editor.open(sample.path)
        result = session.edit(sample.query, sample.reference, seed=seed, preset=preset, callback=callback)
    for warning in result.report.warnings:
        terminal.warn(f"{sample.path.name}: {warning}")
    result.save(path, force=force)
    record = {"from": sample.reference, "to": sample.query, "kind": sample.kind, "file": str(path)}
    after = np.asarray(result.image.convert("RGB"))
    panel = make_panel(result.picture.srgb, result.contrast, result.mask.values, after, caption=title)
    return panel, {**record, **result.report.as_dict()}


def _prepare(folder: Path, files: list[Path], *, force: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be made ({error.strerror}); choose another with --out"
        ) from error
    from wordbrush.cli.outputs import check_free

    check_free((str(file) for file in files), force=force)


def _write_panel(panels: list[Image.Image], target: Path, *, force: bool) -> None:
    from wordbrush.cli.outputs import save_plain
    from wordbrush.picture.panel import make_sheet

    sheet = panels[0] if len(panels) == 1 else make_sheet(panels, columns=2 if len(panels) > 3 else 1)
    save_plain(sheet, str(target), force=force)
