"""`wordbrush mask`: the region two texts disagree about, without an edit."""

from __future__ import annotations

from wordbrush.cli.commands.edit import MaskCommand
from wordbrush.cli.loading import load_editor, open_masks, open_picture
from wordbrush.cli.outputs import save_contrast
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.models.addons.embeddings import unused_embeddings
from wordbrush.region.region import cut_region, region_of

__all__ = ["mask"]


def mask(command: MaskCommand) -> None:
    """Find the region and write it.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal, settings = Terminal(quiet=command.quiet), command.settings
    terminal.tell_texts(command.to, command.reference)
    source = open_picture(command.picture, terminal)
    user = open_masks({"include": command.include, "exclude": command.exclude}, source, terminal)
    editor = load_editor(command.model_choice, terminal, lean=True)
    for sentence in unused_embeddings(editor.model.identity.embeddings, (command.to, command.reference)):
        terminal.warn(sentence)
    session = editor.open(source, resolution=settings.resolution)
    with stage_bars(terminal) as callback:
        contrast = session.contrast(
            command.to, command.reference, seed=command.one_seed, settings=settings, callback=callback
        )
    region = region_of(session.frame, cut_region(session.frame, contrast, settings), settings, **user).pixels
    region.save(command.output, force=command.force)
    files = {"mask": command.output}
    if command.contrast is not None:
        save_contrast(contrast.on_picture(session.fit), command.contrast, force=command.force)
        files["contrast"] = command.contrast
    drawn = f", seed {command.one_seed}" if command.seed == "random" else ""
    terminal.note(f"{command.output}: {region.area:.1%} of the picture{drawn}")
    if command.json:
        texts = {"query": command.to, "reference": command.reference, "seed": command.one_seed}
        area = {"mask_area": region.area, "mask_sha256": region.digest()}
        print_json({"schema": 1, "command": "mask", **texts, **area, "files": files})
