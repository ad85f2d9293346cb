"""`wordbrush demo`: the shipped sample pictures, edited by the pocket model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from wordbrush.cli.commands.edit import DemoCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.targets import check_free
from wordbrush.cli.terminal import Terminal, print_json, print_text
from wordbrush.editor import Editor
from wordbrush.errors import OutputError
from wordbrush.picture.panel import make_sheet
from wordbrush.picture.samples import Sample, load_samples
from wordbrush.record.provenance import save_image

__all__ = ["demo"]


def demo(command: DemoCommand) -> None:
    """Edit one sample picture or all of them, and write a panel of each, several on one sheet.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    samples = load_samples()[: None if command.everything else 1]
    target = command.out / ("all.png" if command.everything else "panel.png")
    files = [command.out / f"{index:02d}-{sample.path.stem}.png" for index, sample in enumerate(samples, 1)]
    _prepare(command.out, [target, *files], force=command.force)
    terminal = Terminal(quiet=command.quiet)
    editor = load_editor(ModelChoice(device=command.device), terminal, lean=True)
    edits = [_edit(editor, sample, file, command, terminal) for sample, file in zip(samples, files, strict=True)]
    panels = [panel for panel, _ in edits]
    sheet = panels[0] if len(panels) == 1 else make_sheet(panels, columns=2 if len(panels) > 3 else 1)
    save_image(sheet, str(target), None, force=command.force)
    if command.json:
        results = [facts for _, facts in edits]
        print_json({"schema": 1, "command": "demo", "panel": str(target), "results": results})
    else:
        print_text(str(target))


def _edit(
    editor: Editor, sample: Sample, file: Path, command: DemoCommand, terminal: Terminal
) -> tuple[Image.Image, dict[str, Any]]:
    """Edit one sample, write its result, and return its panel and what `--json` says of it."""
    title = f"{sample.reference} > {sample.query}"
    with stage_bars(terminal, title) as callback:
        result = editor.open(sample.path).edit(
            sample.query, sample.reference, seed=command.one_seed, preset=command.preset, callback=callback
        )
    for warning in result.report.warnings:
        terminal.warn(f"{sample.path.name}: {warning}")
    result.save(file, force=command.force)
    texts = {"from": sample.reference, "to": sample.query, "kind": sample.kind, "file": str(file)}
    return result.panel(caption=title), {**texts, **result.report.as_dict()}


def _prepare(folder: Path, files: list[Path], *, force: bool) -> None:
    """Make the folder, and refuse to start where a file could not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be made ({error.strerror}); choose another with --out"
        ) from error
    check_free((str(file) for file in files), force=force)
