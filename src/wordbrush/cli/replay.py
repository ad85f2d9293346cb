"""`wordbrush replay`: find the recorded input, check that it is the recorded one, edit again, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wordbrush.cli.commands.records import ReplayCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.targets import check_free
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import ModelError, SettingsError
from wordbrush.files import write_atomic
from wordbrush.models.model import resolve_device
from wordbrush.notation import parse_embeddings, parse_loras
from wordbrush.record.provenance import encode_image
from wordbrush.record.replay import MASKS, Recorded

__all__ = ["replay"]


def replay(command: ReplayCommand) -> None:
    """Edit again by the record of a file, write the result beside it, and print how the two compare.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal, file = Terminal(quiet=command.quiet), command.file
    output = command.output or file.with_name(f"{file.stem}-replay{file.suffix}")
    recorded = Recorded.find(file, command.source, {name: getattr(command, name) for name in MASKS})
    check_free([str(output)], force=command.force)
    choice = _choice(recorded, command, terminal)
    outcome = _again(recorded, choice, terminal, file, output, force=command.force)
    for name, (then, now) in outcome["other_packages"].items():
        terminal.warn(f"{name} was {then}, here it is {now}")
    if command.json:
        print_json(outcome)
        return
    terminal.note(str(output))
    print("identical" if outcome["identical"] else "same pixels" if outcome["same_pixels"] else "different")


def _choice(recorded: Recorded, command: ReplayCommand, terminal: Terminal) -> ModelChoice:
    """Return the recorded model, or the one of the command.

    Raises:
        SettingsError: a LoRA or an embedding cannot be read.
        ModelError: neither says where the model is.
    """
    model, loras = recorded.record.model, parse_loras(command.lora or ())
    embeddings = parse_embeddings(command.embedding or ())
    source = command.model or model["source"]
    if source is None:
        raise ModelError("the record does not say where its model came from; give it with --model")
    given = {name: getattr(command, name) or value for name, value in _given(recorded, source).items()}
    return ModelChoice(
        name=source,
        revision=None if command.model else model["revision"] or None,
        allow_download=command.allow_download,
        device=command.device or _present(model["device"], terminal),
        dtype=model["dtype"],
        loras=loras or recorded.loras,
        embeddings=embeddings or recorded.embeddings,
        **given,
    )


def _given(recorded: Recorded, source: str) -> dict[str, str | None]:
    """Return what the recorded model was loaded with; a folder has configurations and tokenizer of its own."""
    given = recorded.given
    if Path(source).expanduser().is_dir():
        given |= {"config": None, "tokenizer": None}
    return given


def _again(
    recorded: Recorded, choice: ModelChoice, terminal: Terminal, file: Path, output: Path, *, force: bool
) -> dict[str, Any]:
    """Edit again, write the file, and say how it compares.

    Raises:
        ModelError: the recorded model is not at hand.
    """
    model, editor = recorded.record.model, load_editor(choice, terminal)
    same_weights = editor.model.identity.sha256 == model["sha256"]
    others = recorded.other_add_ons(editor.model.identity.as_dict())
    for other in others:
        terminal.warn(f"{other}; the picture will differ")
    if not same_weights:
        terminal.warn(f"the weights of {model['name']} are not those of the record; the picture will differ")
    session = editor.open(recorded.picture, resolution=recorded.settings.resolution)
    with stage_bars(terminal) as callback:
        result = session.edit(**recorded.arguments(), callback=callback)
    data = encode_image(result.image, file.suffix, result.provenance)
    write_atomic(output, data, force=force)
    return {
        "schema": 1,
        "command": "replay",
        "file": str(file),
        "output": str(output),
        "same_weights": same_weights and not others,
        **recorded.compared(data, result.provenance),
    }


def _present(device: str | None, terminal: Terminal) -> str | None:
    """Return the recorded device, or None (the best there is) where this machine has no such thing."""
    try:
        resolve_device(device)
    except SettingsError:
        terminal.warn(f"the record was made on {device}, which is not here; other hardware rounds otherwise")
        return None
    return device
