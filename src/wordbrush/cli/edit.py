"""`wordbrush edit`: one picture, one or several texts and seeds."""

from __future__ import annotations

import itertools
from typing import Any

from wordbrush.cli.commands.edit import EditCommand
from wordbrush.cli.loading import load_editor, open_masks, open_picture
from wordbrush.cli.outputs import save_contrast
from wordbrush.cli.plans import show_plan
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.targets import STDIO, check_alpha
from wordbrush.cli.terminal import Terminal, print_json, write_stdout
from wordbrush.editor import Editor
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import encode_image, save_image
from wordbrush.record.replay import MASKS
from wordbrush.result import EditResult

__all__ = ["edit"]


def edit(command: EditCommand) -> None:
    """Edit the picture with every text and seed, write the files of each result, and print reports with `--json`.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal = Terminal(quiet=command.quiet)
    if command.output == STDIO:
        write_stdout(b"")  # closed, it is refused before the work
    for query in command.to:
        terminal.tell_texts(query, command.reference, command.negative)
    source = open_picture(command.picture, terminal)
    check_alpha(command.output, alpha=source.alpha is not None)
    masks = open_masks({name: getattr(command, name) for name in MASKS}, source, terminal)
    editor = load_editor(command.model_choice, terminal, lean=True)
    if command.dry_run:
        show_plan(editor, source, command, terminal)
        return
    session = editor.open(source, resolution=command.settings.resolution)
    results = []
    for (query, seed), mark in zip(itertools.product(command.to, command.seeds), command.marks, strict=True):
        with stage_bars(terminal, f"{query}  (seed {seed})" if mark else "") as callback:
            result = session.edit(
                query,
                command.reference,
                negative=command.negative,
                seed=seed,
                preset=command.preset,
                settings=command.settings,
                check_inversion=command.check_inversion,
                callback=callback,
                **masks,
            )
        files = command.targets(mark)
        _save(result, command, files, terminal)
        results.append({"query": query, **result.report.as_dict(), "files": files})
    if command.json:
        print_json(_document(editor, source, command, results))


def _save(result: EditResult, command: EditCommand, files: dict[str, str], terminal: Terminal) -> None:
    """Write the files of one result, and print its warnings."""
    for warning in result.report.warnings:
        terminal.warn(warning)
    target, force = files["output"], command.force
    if target == STDIO:
        record = None if command.strip_metadata else result.provenance
        write_stdout(encode_image(result.image, ".png", record, include_prompt=not command.no_prompt))
    else:
        result.save(
            target, force=force, strip_metadata=command.strip_metadata, include_prompt=not command.no_prompt
        )
        terminal.note(f"{target}: {result.report.mask_area:.1%} of the picture edited{_seed_of(result, command)}")
    if "mask" in files:
        result.mask.save(files["mask"], force=force)
    if "contrast" in files and result.contrast is not None:
        save_contrast(result.contrast.on_picture(result.fit), files["contrast"], force=force)
    if "panel" in files:
        save_image(result.panel(), files["panel"], None, force=force)


def _seed_of(result: EditResult, command: EditCommand) -> str:
    return f", seed {result.report.seed}" if "random" in command.seed else ""


def _document(editor: Editor, source: Picture, command: EditCommand, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what `--json` prints."""
    width, height = source.size
    return {
        "schema": 1,
        "command": "edit",
        "input": {"name": source.name, "sha256": source.sha256, "width": width, "height": height},
        "model": editor.model.identity.as_dict(),
        "reference": command.reference,
        "negative": command.negative,
        "preset": command.preset,
        "results": results,
    }
