"""`wordbrush replay`: find the recorded input, check that it is the recorded one, edit again, compare."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wordbrush.cli.commands.records import ReplayCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.targets import check_free
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import ModelError, ProvenanceError, SettingsError
from wordbrush.files import write_atomic
from wordbrush.models.model import resolve_device
from wordbrush.notation import parse_loras
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import Provenance, encode_image, read_provenance
from wordbrush.region.mask import Mask
from wordbrush.settings import Settings

__all__ = ["replay"]

MASKS = ("mask", "include", "exclude")


def replay(command: ReplayCommand) -> None:
    """Edit again by the record of a file, write the result beside it, and print how the two compare.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal = Terminal(quiet=command.quiet)
    recorded = Recorded.of(command)
    outcome = _again(recorded, _choice(recorded.record, command, terminal), terminal, force=command.force)
    for name, (then, now) in outcome["other_packages"].items():
        terminal.warn(f"{name} was {then}, here it is {now}")
    if command.json:
        print_json(outcome)
        return
    terminal.note(str(recorded.output))
    print("identical" if outcome["identical"] else "same pixels" if outcome["same_pixels"] else "different")


@dataclass(frozen=True)
class Recorded:
    """A recorded edit with all it needs but the model, each checked to be the recorded one."""

    file: Path
    record: Provenance
    picture: Picture
    settings: Settings
    masks: dict[str, Mask]
    output: Path

    @classmethod
    def of(cls, command: ReplayCommand) -> Recorded:
        """Read the record and find what it needs.

        Raises:
            ProvenanceError: no record, texts withheld, or an input or mask that is not the recorded one.
            OutputError: the output exists already.
        """
        file = command.file
        record = read_provenance(file)
        if not record.replayable:
            raise ProvenanceError(f"{file}: the texts were left out of the record, so it cannot be done again")
        output = command.output or file.with_name(f"{file.stem}-replay{file.suffix}")
        check_free([str(output)], force=command.force)
        picture = _find_input(file, record, command.source)
        masks = {name: _find_mask(record, name, getattr(command, name)) for name in MASKS}
        there = {name: mask for name, mask in masks.items() if mask is not None}
        return cls(file, record, picture, _settings(record), there, output)


def _choice(record: Provenance, command: ReplayCommand, terminal: Terminal) -> ModelChoice:
    """Return the recorded model, or the one of the command.

    Raises:
        SettingsError: a LoRA item cannot be read.
        ModelError: neither says where the model is.
    """
    loras = parse_loras(command.lora or ())
    source = command.model or record.model["source"]
    if source is None:
        raise ModelError("the record does not say where its model came from; give it with --model")
    return ModelChoice(
        name=source,
        revision=None if command.model else record.model["revision"] or None,
        allow_download=command.allow_download,
        device=command.device or _present(record.model["device"], terminal),
        dtype=record.model["dtype"],
        loras=loras or tuple(_lora(item) for item in record.model["loras"]),
    )


def _again(recorded: Recorded, choice: ModelChoice, terminal: Terminal, *, force: bool) -> dict[str, Any]:
    """Edit again, write the file, and say how it compares.

    Raises:
        ModelError: the recorded model is not at hand.
    """
    record, file = recorded.record, recorded.file
    editor = load_editor(choice, terminal)
    same_weights = editor.model.identity.sha256 == record.model["sha256"]
    if not same_weights:
        terminal.warn(f"the weights of {record.model['name']} are not those of the record; the picture will differ")
    session = editor.open(recorded.picture, resolution=recorded.settings.resolution)
    with stage_bars(terminal) as callback:
        result = session.edit(
            record.query,
            record.reference,
            negative=record.negative,
            seed=record.seed,
            settings=recorded.settings,
            preset=record.preset,
            callback=callback,
            **recorded.masks,
        )
    data, original = encode_image(result.image, file.suffix, result.provenance), file.read_bytes()
    write_atomic(recorded.output, data, force=force)
    return {
        "schema": 1,
        "command": "replay",
        "file": str(file),
        "output": str(recorded.output),
        "identical": data == original,
        "same_pixels": data == original or _same_pixels(data, original),
        "same_weights": same_weights,
        "other_packages": _other_packages(record.packages, result.provenance.packages),
    }


def _find_input(file: Path, record: Provenance, source: Path | None) -> Picture:
    name = record.input["name"]
    if source is None and not name:
        raise ProvenanceError(f"{file}: the record does not name its input; give it with --input")
    # Only a name next to the file is looked up: a forged record must not point anywhere else.
    path = source or file.with_name(Path(name.replace("\\", "/")).name)
    if not path.is_file():
        raise ProvenanceError(f"the recorded input {path} is not there; give it with --input")
    picture = Picture.open(path)
    if picture.sha256 != record.input["sha256"]:
        raise ProvenanceError(f"{path} is not the recorded input: its SHA-256 is {picture.sha256}")
    return dataclasses.replace(picture, name=name)


def _find_mask(record: Provenance, kind: str, given: Path | None) -> Mask | None:
    """Return a mask that the edit was given, from the record or the file named now."""
    kept = record.mask.get(f"given_{kind}")
    if kept is None:
        if given is not None:
            raise ProvenanceError(f"--{kind} {given}: the recorded edit had none")
        return None
    if not isinstance(kept, dict) or not isinstance(kept.get("png"), str | None):
        raise ProvenanceError(f"the field mask.given_{kind} of the record is not an object with a png")
    if given is None and kept.get("png") is None:
        raise ProvenanceError(f"the record is without its {kind}, which was too large to carry; give it with --{kind}")
    mask = Mask.open(given if given is not None else _bytes(kept["png"], kind))
    if mask.digest() != kept.get("sha256"):
        raise ProvenanceError(f"{given or 'the mask in the record'} is not the recorded {kind}: the SHA-256 differs")
    return mask


def _bytes(text: str, kind: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProvenanceError(f"the field mask.given_{kind}.png of the record is not base64") from error


def _settings(record: Provenance) -> Settings:
    try:
        return Settings(**record.settings)
    except (TypeError, SettingsError) as error:
        raise ProvenanceError(f"the field settings of the record cannot be used: {error}") from error


def _lora(item: Any) -> tuple[str, float]:
    try:
        return str(item["source"]), float(item["scale"])
    except (TypeError, KeyError, ValueError) as error:
        raise ProvenanceError("the field model.loras of the record is not a list of source and scale") from error


def _present(device: str | None, terminal: Terminal) -> str | None:
    """Return the recorded device, or None (the best there is) where this machine has no such thing."""
    try:
        resolve_device(device)
    except SettingsError:
        terminal.warn(f"the record was made on {device}, which is not here; other hardware rounds otherwise")
        return None
    return device


def _same_pixels(one: bytes, other: bytes) -> bool:
    a, b = Picture.open(one), Picture.open(other)
    return a.pixels.shape == b.pixels.shape and bool(np.array_equal(a.pixels, b.pixels))


def _other_packages(recorded: Mapping[str, str], here: Mapping[str, str]) -> dict[str, list[str | None]]:
    """Return the packages whose versions differ: name to [recorded, here]."""
    names = sorted(recorded.keys() | here.keys())
    return {name: [recorded.get(name), here.get(name)] for name in names if recorded.get(name) != here.get(name)}
